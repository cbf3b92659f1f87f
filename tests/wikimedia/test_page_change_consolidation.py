"""The job page_change_consolidation: the golden, pairs and halves of them, order, late events, what is hidden."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import WIKI
from wikimedia.project import FIXTURES, Event, interleaved, job_named, partitioned, read, run, run_files

JOB = "page_change_consolidation"
LEGACY = "derived/legacy_streams_shuffled.jsonl.gz"
SOURCES = ("derived/page_change_adam_himebauch.jsonl.gz", "derived/page_change_lifecycle_testwikidata_330275.jsonl")


def per_page(events: list[Event]) -> dict[tuple[str, int], list[tuple[int, str, str]]]:
    found: dict[tuple[str, int], list[tuple[int, str, str]]] = {}
    for event in events:
        known = found.setdefault((event["wiki_id"], event["page"]["page_id"]), [])
        known.append((event["revision"]["rev_id"], event["page_change_kind"], event["dt"]))
    return found


def of_sources() -> dict[tuple[str, int], list[tuple[int, str, str]]]:
    return per_page([event for name in SOURCES for event in at_least_one(read(name))])


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_older_streams_in_any_order_give_the_changes_they_were_made_of(seed: int | None, tmp_path: Path) -> None:
    events = at_least_one(read(LEGACY))
    if seed is not None:
        random.Random(seed).shuffle(events)
    ran = run_files(JOB, [*events, *events[:10]], tmp_path)
    assert (ran.errors, ran.late) == ([], 0)
    assert per_page(ran.outputs) == of_sources()
    assert len({event["meta"]["id"] for event in ran.outputs}) == len(ran.outputs)


@requires_fixtures(FIXTURES)
async def test_partitions_read_to_their_end_give_them_too() -> None:
    events = partitioned(at_least_one(read(LEGACY)), ["database", "page_id"], 2)
    ran = await run(job_named(JOB), interleaved(events, seed=6))
    assert ran.errors == []
    assert per_page(ran.outputs) == of_sources()


@requires_fixtures(FIXTURES)
def test_what_is_in_a_change_is_what_the_source_has_of_it(tmp_path: Path) -> None:
    source = {event["revision"]["rev_id"]: event for event in read(SOURCES[0])}
    for made in run_files(JOB, read(LEGACY), tmp_path).outputs:
        if made["wiki_id"] != "enwiki":
            continue
        wanted = source[made["revision"]["rev_id"]]
        for name in ("changelog_kind", "page", "comment"):
            assert made.get(name) == wanted.get(name)
        for name in ("rev_sha1", "rev_size", "rev_parent_id", "comment", "is_minor_edit", "content_slots"):
            assert made["revision"].get(name) == wanted["revision"].get(name)
        assert made["meta"]["uri"] == wanted["meta"]["uri"]
        assert made["performer"]["user_text"] == wanted["performer"]["user_text"]


TITLES = {
    "revision-create": "/mediawiki/revision/create/2.0.0",
    "page-create": "/mediawiki/revision/create/2.0.0",
    "page-move": "/mediawiki/page/move/1.0.0",
    "page-delete": "/mediawiki/page/delete/1.0.0",
    "page-suppress": "/mediawiki/page/delete/1.0.0",
    "page-undelete": "/mediawiki/page/undelete/1.0.0",
    "revision-visibility-change": "/mediawiki/revision/visibility-change/1.0.0",
}


def event(kind: str, rev_id: int, second: int, **also: Any) -> Event:
    at = f"2026-01-31T12:{second // 60:02}:{second % 60:02}Z"
    meta = {"stream": f"mediawiki.{kind}", "id": f"{kind}-{rev_id}-{second}", "dt": at, "domain": "en.wiki.example"}
    made = {
        "$schema": TITLES[kind],
        "meta": meta,
        "database": WIKI,
        "page_id": 7,
        "page_title": "River",
        "rev_id": rev_id,
    }
    if kind in ("revision-create", "page-create"):
        made |= {"rev_timestamp": at, "dt": at, "rev_parent_id": rev_id - 1, "rev_sha1": f"sha1 of {rev_id}"}
    return made | also


VISIBLE = {"text": True, "user": True, "comment": True}
SEEN = {"visibility": VISIBLE}


def kinds(events: list[Event]) -> list[tuple[int, str]]:
    return [(one["revision"]["rev_id"], one["page_change_kind"]) for one in events]


def test_two_halves_are_one_change_and_a_half_alone_is_one_too(tmp_path: Path) -> None:
    moved = {"page_title": "Stream", "prior_state": {"page_title": "River", "page_namespace": 0, "rev_id": 4}}
    events = [
        event("page-create", 1, 1),
        event("revision-create", 1, 3),
        event("revision-create", 2, 100),
        event("revision-create", 5, 300, page_title="Stream"),
        event("page-move", 5, 302, **moved),
        event("page-move", 6, 500, page_title="Brook", prior_state={"page_title": "Stream"}),
        event("page-create", 1, 600, page_id=8),
        event("revision-create", 1, 600, page_id=9, rev_parent_id=0),
    ]
    random.Random(1).shuffle(events)
    ran = run_files(JOB, events, tmp_path)
    assert ran.errors == []
    first = [one for one in ran.outputs if one["page"]["page_id"] == 7]
    assert kinds(first) == [(1, "create"), (2, "edit"), (5, "move"), (6, "move")]
    assert first[2]["prior_state"]["page"]["page_title"] == "River"
    assert first[2]["revision"]["rev_sha1"] == "sha1 of 5"
    assert first[2]["prior_state"]["revision"]["rev_id"] == 2, "the last one that was seen, not the parent"
    assert kinds([one for one in ran.outputs if one["page"]["page_id"] != 7]) == [(1, "create"), (1, "create")]


def test_the_life_of_a_page(tmp_path: Path) -> None:
    events = [
        event("page-create", 1, 0),
        event("revision-create", 1, 0),
        event("revision-create", 2, 100),
        event("revision-visibility-change", 1, 200, visibility={**VISIBLE, "text": False}),
        event(
            "revision-visibility-change",
            2,
            300,
            visibility={**VISIBLE, "user": False},
            prior_state={"visibility": VISIBLE},
        ),
        event("page-delete", 2, 400, rev_count=2, comment="why"),
        event("page-undelete", 2, 500, prior_state={"page_id": 3}),
        event("page-suppress", 2, 600),
    ]
    ran = run_files(JOB, events, tmp_path)
    assert ran.errors == []
    assert kinds(ran.outputs) == [
        (1, "create"),
        (2, "edit"),
        (2, "visibility_change"),
        (2, "delete"),
        (2, "undelete"),
        (2, "delete"),
    ], "what is hidden of an older revision is no change of the page"
    hidden, gone, restored = ran.outputs[2:5]
    assert (hidden["revision"]["is_editor_visible"], hidden["revision"]["is_content_visible"]) == (False, True)
    assert hidden["prior_state"]["revision"]["is_editor_visible"] is True
    assert (gone["page"]["revision_count"], gone["comment"], gone["changelog_kind"]) == (2, "why", "delete")
    assert gone["revision"]["rev_dt"] == ran.outputs[1]["revision"]["rev_dt"]
    assert (restored["prior_state"]["page"]["page_id"], restored["changelog_kind"]) == (3, "insert")


def test_what_is_hidden_of_a_revision_that_is_no_longer_the_newest_is_left_out_also_within_the_time_they_are_held(
    tmp_path: Path,
) -> None:
    events = [
        event("revision-create", 1, 0),
        event("revision-visibility-change", 1, 5, **SEEN),
        event("revision-create", 2, 10),
        event("revision-visibility-change", 1, 10, **SEEN),
        event("revision-visibility-change", 1, 20, **SEEN),
        event("revision-visibility-change", 2, 30, **SEEN),
    ]
    ran = run_files(JOB, events, tmp_path)
    assert kinds(ran.outputs) == [(1, "create"), (1, "visibility_change"), (2, "edit"), (2, "visibility_change")]


def test_events_are_put_in_order_within_the_time_they_are_held_and_are_late_after_it(tmp_path: Path) -> None:
    events = [
        event("revision-create", 3, 30),
        event("revision-create", 2, 20),
        event("revision-create", 4, 65),
        event("revision-create", 1, 10, rev_parent_id=0),
        event("revision-create", 9, 400),
        event("revision-create", 5, 120),
        event("revision-create", 10, 401),
    ]
    late = tmp_path / "late.jsonl"
    ran = run_files(JOB, events, tmp_path, "--order", "arrival", "--late", str(late))
    assert (ran.errors, ran.late) == ([], 1)
    (written,) = [json.loads(line) for line in late.read_text("utf-8").splitlines()]
    assert (written["stream"], written["event"]) == ("mediawiki.revision-create", events[5])
    assert [rev_id for rev_id, _ in kinds(ran.outputs)] == [1, 2, 3, 4, 9, 10]


def test_an_invalid_event_is_an_error_event(tmp_path: Path) -> None:
    good = event("revision-create", 1.0, 1, rev_parent_id=0, page_id=7.0)  # type: ignore[arg-type]
    wrong = [{**good, "page_id": "ten"}, {**good, "rev_id": None}, {**good, "database": ""}]
    untitled = {name: value for name, value in event("page-delete", 1, 9).items() if name != "page_title"}
    ran = run_files(JOB, [*wrong, untitled, good], tmp_path)
    assert Counter(kind for _, kind in kinds(ran.outputs)) == {"create": 1}
    assert len(ran.errors) == 4
