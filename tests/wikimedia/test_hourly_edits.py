"""The jobs hourly_edits and trending_edits: the goldens of a real day, which changes count, and what is late."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, interleaved, job_named, only, read, run, run_files

DAY = "derived/recentchange_2016-06-27.jsonl.gz"
HOURLY = "golden/recentchange_2016.hourly_by_wiki.json"
TRENDING = "golden/recentchange_2016.trending_hourly_min3.json"
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def rows(events: list[Event], names: list[str]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.get(name) for name in names) for row in only(events, names))


def sorted_runs(events: list[Event]) -> list[list[Event]]:
    """The events as the file has them: in runs, each of which is in order."""
    runs: list[list[Event]] = []
    for event in events:
        if not runs or event["meta"]["dt"] < runs[-1][-1]["meta"]["dt"]:
            runs.append([])
        runs[-1].append(event)
    return runs


@requires_fixtures(FIXTURES)
async def test_the_edits_of_a_real_day_read_as_two_partitions_are_those_of_the_golden() -> None:
    runs = sorted_runs(at_least_one(read(DAY)))
    assert len(runs) == 2
    ran = await run(job_named("hourly_edits"), interleaved(runs, seed=1))
    names = ["wiki", "window_start", "edits"]
    assert ran.errors == []
    assert rows(ran.outputs, names) == rows(read(HOURLY), names)


@requires_fixtures(FIXTURES)
def test_the_pages_of_a_real_day_in_a_shuffled_file_are_those_of_the_golden(tmp_path: Path) -> None:
    events = at_least_one(read(DAY))
    random.Random(3).shuffle(events)
    ran = run_files("trending_edits", events, tmp_path)
    names = ["wiki", "title", "window_start", "edits", "editors"]
    assert (ran.errors, ran.late) == ([], 0)
    assert rows(ran.outputs, names) == rows(read(TRENDING), names)


@requires_fixtures(FIXTURES)
def test_read_in_the_order_of_the_file_what_is_behind_the_watermark_is_late(tmp_path: Path) -> None:
    runs = sorted_runs(at_least_one(read(DAY)))
    events = [event for one in runs for event in one[::20]]
    late, counted, newest = 0, Counter[tuple[str, int]](), 0
    for event in events:
        at = int(datetime.fromisoformat(event["meta"]["dt"]).timestamp() * 1000)
        end = at - at % HOUR_MS + HOUR_MS
        if end <= newest - MINUTE_MS:
            late += 1
        else:
            counted[event["wiki"], end] += 1
        newest = max(newest, at)

    ran = run_files("hourly_edits", events, tmp_path, "--order", "arrival")

    assert ran.late == late > 0
    assert ran.errors == []
    made = {
        (row["wiki"], int(datetime.fromisoformat(row["dt"]).timestamp() * 1000)): row["edits"] for row in ran.outputs
    }
    assert made == counted


def edit(number: int, **also: Any) -> Event:
    meta = {"stream": "mediawiki.recentchange", "id": f"id{number}", "dt": f"2026-01-31T12:{number:02}:00Z"}
    fields = {"wiki": "a", "title": "T", "type": "edit", "bot": False, "namespace": 0, "user": f"u{number % 2}"}
    return {"$schema": "/mediawiki/recentchange/1.0.0", "meta": meta, **fields, **also}


@pytest.mark.parametrize(
    ("also", "is_edit", "is_trending"),
    [
        ({}, True, True),
        ({"type": "new"}, True, True),
        ({"type": "log"}, False, False),
        ({"type": "categorize"}, False, False),
        ({"bot": True}, True, False),
        ({"namespace": 4}, True, False),
        ({"namespace": None}, True, False),
        ({"user": ""}, True, True),
    ],
)
async def test_which_changes_count(also: Event, is_edit: bool, is_trending: bool) -> None:
    events = [edit(number) for number in range(4)]
    changed = {name: value for name, value in edit(5, **also).items() if value is not None}
    hourly = await run(job_named("hourly_edits"), [(0, event) for event in [*events, changed]])
    trending = await run(job_named("trending_edits"), [(0, event) for event in [*events, changed]])
    assert only(hourly.outputs, ["edits"]) == [{"edits": 4 + is_edit}]
    assert [row["edits"] for row in trending.outputs] == [4 + is_trending]


async def test_an_article_without_a_title_is_an_error_event() -> None:
    untitled = {name: value for name, value in edit(5).items() if name != "title"}
    ran = await run(job_named("trending_edits"), [(0, event) for event in [untitled, *map(edit, range(3))]])
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"]
    assert [row["edits"] for row in ran.outputs] == [3]


async def test_hours_wikis_and_titles_are_apart_and_editors_are_counted_once() -> None:
    events = [edit(n) for n in range(3)] + [edit(n, wiki="b") for n in range(3, 6)]
    events += [edit(n, title="t") for n in range(6, 8)]
    late = {**edit(9), "meta": {**edit(9)["meta"], "dt": "2026-01-31T13:00:00Z", "id": "x"}}
    ran = await run(job_named("trending_edits"), [(0, event) for event in [*events, late, edit(10, wiki=5)]])
    names = ["wiki", "title", "edits", "editors", "window_start", "dt"]
    hour = ("2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z")
    assert rows(ran.outputs, names) == [("a", "T", 3, 2, *hour), ("b", "T", 3, 2, *hour)]
