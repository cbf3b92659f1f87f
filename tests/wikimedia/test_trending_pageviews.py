"""The job trending_pageviews: the golden, the score, and statistics that come late or never."""

from __future__ import annotations

import random
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, in_project, job_named, only, read, run, run_files

JOB = "trending_pageviews"
VIEWS, STATS = (
    FIXTURES / "synthetic/SYNTHETIC_pageview_hour.jsonl",
    FIXTURES / "synthetic/SYNTHETIC_pageview_stats.jsonl",
)
GOLDEN = "synthetic/SYNTHETIC_pageview_trending.expected.jsonl"
NAMES = ["page_id", "score", "views", "wiki_id"]


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("files", list(permutations((VIEWS, STATS))), ids=["views first", "statistics first"])
def test_the_pages_are_those_of_the_golden_the_most_unusual_first(files: tuple[Path, ...], tmp_path: Path) -> None:
    named = [part for file in files for part in ("--from", str(file))]
    ran = run_files(JOB, [], tmp_path, *named)
    assert ran.errors == []
    assert only(ran.outputs, NAMES) == at_least_one(read(GOLDEN))


@requires_fixtures(FIXTURES)
def test_shuffled_rows_give_the_golden_too(tmp_path: Path) -> None:
    rows = at_least_one([*read(str(VIEWS)), *read(str(STATS))])
    random.Random(7).shuffle(rows)
    ran = run_files(JOB, rows, tmp_path)
    assert ran.errors == []
    assert only(ran.outputs, NAMES) == read(GOLDEN)


def views(page: int, count: int, at: str = "2026-01-31T12:00:00Z", **also: Any) -> Event:
    meta = {"stream": "pageview.v1", "id": f"v{page}-{count}-{at}", "dt": at}
    return {
        "$schema": "/traffic/pageview_hour/1.0.0",
        "meta": meta,
        "dt": at,
        "wiki_id": "a",
        "page_id": page,
        "views": count,
    } | also


def stats(page: int, mean: float, stddev: float, hour: int = 12, at: str = "2026-01-31T11:00:00Z") -> Event:
    meta = {"stream": "pageview.stats.v1", "id": f"s{page}-{mean}", "dt": at}
    event = {"$schema": "/traffic/pageview_stats/1.0.0", "meta": meta, "dt": at, "wiki_id": "a", "page_id": page}
    return {**event, "hour": hour, "mean": mean, "stddev": stddev}


@pytest.mark.parametrize(
    ("count", "mean", "stddev", "expected"),
    [
        (210, 100.0, 10.0, 11.0),
        (500, 50.0, 0.0, 63.6396),
        (120, 0.0, 0.0, 120.0),
        (120, 0.25, 0.1, 119.75),
        (200, 100.0, 10.0, 10.0),
        (199, 100.0, 10.0, None),
        (119, 0.0, 0.0, None),
        (2000, 1000.0, 400.0, None),
    ],
)
def test_the_score(count: int, mean: float, stddev: float, expected: float | None, tmp_path: Path) -> None:
    ran = run_files(JOB, [stats(1, mean, stddev), views(1, count)], tmp_path)
    assert [row["score"] for row in ran.outputs] == ([] if expected is None else [expected])


def test_pages_and_hours_are_apart_and_the_newest_statistics_count(tmp_path: Path) -> None:
    events = [
        stats(1, 1000, 1, at="2026-01-31T09:00:00Z"),
        stats(1, 100, 10, at="2026-01-31T10:00:00Z"),
        stats(1, 1000, 1, hour=13),
        views(1, 210),
        views(1, 210, "2026-01-31T13:00:00Z"),
        views(2, 9999),
        views(1, 9999, wiki_id="b"),
        views(1, 220, "2026-01-31T11:59:00Z", hour=12),
        views(3, 5, views="many"),
    ]
    ran = run_files(JOB, events, tmp_path)
    assert [(row["views"], row["hour"], row["dt"]) for row in ran.outputs] == [
        (220, 12, "2026-01-31T11:59:00Z"),
        (210, 12, "2026-01-31T12:00:00Z"),
    ]
    assert len(ran.errors) == 1


async def test_views_wait_for_their_statistics() -> None:
    events = [views(1, 210), views(2, 9999), stats(1, 100, 10, at="2026-01-31T12:30:00Z")]
    ran = await run(job_named(JOB), [(0, event) for event in events])
    assert (ran.errors, [row["page_id"] for row in ran.outputs]) == ([], [1])


def test_only_so_many_pages_of_an_hour_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    module = in_project("jobs.trending_pageviews")
    monkeypatch.setattr(module, "TOP_MAX", 2)
    state = [[{"score": float(n % 3), "wiki_id": "a", "page_id": n}, f"id{n}"] for n in range(6)]
    made = [element.value for element in module.top(state, "top", module.Context(0)).events]
    assert [(row["score"], row["page_id"]) for row in made] == [(2.0, 2), (2.0, 5)]


def test_views_whose_statistics_come_in_the_next_hour_are_of_their_own_hour_and_have_ids_of_their_own(
    tmp_path: Path,
) -> None:
    late = [views(1, 500, "2026-01-31T12:50:00Z"), stats(1, 100, 10, at="2026-01-31T13:20:00Z")]
    usual = [stats(2, 100, 10, at="2026-01-31T11:00:00Z"), views(2, 400, "2026-01-31T12:10:00Z")]
    ran = run_files(JOB, [*late, *usual], tmp_path)
    assert sorted((row["page_id"], row["hour"], row["dt"]) for row in ran.outputs) == [
        (1, 12, "2026-01-31T12:50:00Z"),
        (2, 12, "2026-01-31T12:10:00Z"),
    ]
    assert len({row["meta"]["id"] for row in ran.outputs}) == 2
