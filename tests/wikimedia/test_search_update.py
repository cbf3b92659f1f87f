"""The jobs for a search index: the life of a real page change by change and merged, real edits, tags, redirects."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import WIKI
from wikimedia.page_events import change as change_with_content
from wikimedia.project import FIXTURES, Event, in_project, read, run, run_files

LIFE = "derived/page_change_lifecycle_testwikidata_330275.jsonl"
ADAM = "derived/page_change_adam_himebauch.jsonl.gz"
CHAINS = "golden/page_change_chains.json"
DAY_MS = 86_400_000


def change(rev_id: int, text: str, **also: Any) -> Event:
    """A change of the page in the stream that the jobs read."""
    event = change_with_content(rev_id, text, **also)
    event["meta"]["stream"] = "mediawiki.page_change.v1"
    return event


def tags(minute: int, **changed: Any) -> Event:
    """Tags of the page of `change` that are set or cleared so many minutes after noon."""
    at = f"2026-01-31T12:{minute:02}:00Z"
    return {
        "$schema": "/development/cirrussearch/page_weighted_tags_change/1.0.0",
        "meta": {"stream": "cirrussearch.page_weighted_tags_change.v1", "id": f"tags-{minute}", "dt": at},
        "dt": at,
        "wiki_id": WIKI,
        "page": {"page_id": 7, "page_title": "River", "namespace_id": 0},
        "weighted_tags": changed,
    }


def rerender(minute: int) -> Event:
    at = f"2026-01-31T12:{minute:02}:00Z"
    return {
        "$schema": "/mediawiki/cirrussearch/page_rerender/1.0.0",
        "meta": {"stream": "mediawiki.cirrussearch.page_rerender.v1", "id": f"render-{minute}", "dt": at},
        "dt": at,
        "wiki_id": WIKI,
        "page_id": 7,
    }


def merged_within(events: list[Event], milliseconds: int) -> list[Event]:
    """What the job makes of the events if updates are merged for so long."""
    made = in_project("content.search_updates").SearchUpdates(f"{milliseconds}ms")
    job = made.job("search_update", "mediawiki.search_update.v1", "As the project's job, with another time.")
    ran = asyncio.run(run(job, [(0, event) for event in events]))
    assert ran.errors == []
    return ran.outputs


def operations(updates: list[Event]) -> list[str | int]:
    """The revision that is indexed, or `delete`."""
    removes = ("PAGE_DELETE", "REDIRECT_UPDATE")
    return ["delete" if update["change_type"] in removes else update["rev_id"] for update in updates]


@requires_fixtures(FIXTURES)
def test_the_life_of_a_page_is_indexed_and_deleted_change_by_change(tmp_path: Path) -> None:
    ran = run_files("search_update_each", at_least_one(read(LIFE)), tmp_path)
    assert operations(ran.outputs) == [686138, 686139, "delete", 686140, "delete", 686140, 686140]
    assert ran.errors == []


@requires_fixtures(FIXTURES)
def test_within_one_merge_it_is_one_document() -> None:
    assert operations(merged_within(at_least_one(read(LIFE)), DAY_MS)) == [686140]


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("seed", range(3))
def test_the_last_document_has_the_last_revision_in_whatever_order_changes_come(seed: int, tmp_path: Path) -> None:
    changes = at_least_one(read(ADAM))
    (last,) = (chain["last_rev"] for chain in dict(read(CHAINS))["adam_himebauch"].values())  # type: ignore[arg-type]
    random.Random(seed).shuffle(changes)
    ran = run_files("search_update_each", changes, tmp_path, "--order", "arrival")
    assert ran.outputs[-1]["rev_id"] == last
    revisions = [update["rev_id"] for update in ran.outputs]
    assert revisions == sorted(revisions)
    assert ran.errors == []


def test_tags_are_set_and_cleared_by_prefix(tmp_path: Path) -> None:
    events = [
        change(1, "a", kind="create"),
        tags(2, set={"A": [{"tag": "A.1", "score": 0.5}, {"tag": "A.2"}], "B": [{"tag": "B.1"}]}),
        tags(3, clear=["B"]),
        tags(4, clear=["C"], set={"A": [{"tag": "A.1"}]}),
        change(5, "b"),
        change(5, "b", kind="delete"),
        change(6, "b", kind="undelete"),
    ]
    updates = run_files("search_update_each", events, tmp_path).outputs
    assert [update["weighted_tags"] for update in updates] == [
        [],
        ["A/A.1|500", "A/A.2", "B/B.1"],
        ["A/A.1|500", "A/A.2"],
        ["A/A.1"],
        ["A/A.1"],
        [],
        [],
    ]
    assert [update["change_type"] for update in updates][1:5] == [*["TAGS_UPDATE"] * 3, "REV_BASED_UPDATE"]


def test_of_what_is_merged_a_revision_counts_more_than_another_look_and_tags_are_taken_over(tmp_path: Path) -> None:
    events = [
        change(1, "a", kind="create"),
        rerender(2),
        tags(3, set={"A": [{"tag": "A.1"}]}),
        rerender(20),
        tags(21, clear=["A"]),
        tags(40, set={"B": [{"tag": "B.1"}]}),
    ]
    updates = run_files("search_update", events, tmp_path).outputs
    assert [(update["change_type"], update["weighted_tags"]) for update in updates] == [
        ("REV_BASED_UPDATE", ["A/A.1"]),
        ("PAGE_RERENDER", []),
        ("TAGS_UPDATE", ["B/B.1"]),
    ]


def test_tags_of_a_page_that_is_not_known_yet_wait_for_it(tmp_path: Path) -> None:
    events = [tags(1, set={"A": [{"tag": "A.1"}]}), rerender(2), change(3, "a", kind="create")]
    updates = run_files("search_update_each", events, tmp_path).outputs
    assert [(update["rev_id"], update["weighted_tags"]) for update in updates] == [(3, ["A/A.1"])]


def test_a_page_that_becomes_a_redirect_is_no_document(tmp_path: Path) -> None:
    page = {
        "page_id": 7,
        "page_title": "River",
        "namespace_id": 0,
        "is_redirect": True,
        "redirect_page_link": {"page_title": "Stream", "namespace_id": 0},
    }
    events = [change(1, "a", kind="create"), change(2, "#REDIRECT [[Stream]]", page=page), rerender(3), change(4, "b")]
    updates = run_files("search_update_each", events, tmp_path).outputs
    assert [update["change_type"] for update in updates] == ["REV_BASED_UPDATE", "REDIRECT_UPDATE", "REV_BASED_UPDATE"]
    assert [update.get("redirect_to") for update in updates] == [None, "Stream", None]


@pytest.mark.parametrize(
    "wrong", [{"set": {"A": "x"}}, {"set": {"A": [{"score": 1}]}}, {"set": {"A": [{"tag": "a", "score": 2}]}}]
)
def test_tags_that_are_none_are_errors(wrong: dict[str, Any], tmp_path: Path) -> None:
    ran = run_files("search_update_each", [tags(1, **wrong)], tmp_path)
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"]
