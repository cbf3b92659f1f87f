"""The job revision_diff: the golden, hidden and missing texts, and parents that are looked up."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.mediawiki import MediaWikiStandIn, serving_in_thread
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change, unannounced
from wikimedia.project import FIXTURES, Event, Ran, in_project, only, read, run_files

JOB = "revision_diff"
EVENTS = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
GOLDEN = "golden/adam_himebauch.unified_diff_and_entities.jsonl.gz"
STORE = FIXTURES / "derived/fake_mediawiki_store.jsonl.gz"
NAMES = ["rev_id", "parent_id", "diff", "lines_added", "lines_removed"]


def with_wiki(rows: list[dict[str, Any]] | MediaWikiStandIn, events: list[Event], folder: Path, *options: str) -> Ran:
    stand_in = MediaWikiStandIn(rows) if isinstance(rows, list) else rows
    with serving_in_thread(stand_in) as url:
        return run_files(JOB, events, folder, "--set", f"lookups.mediawiki.url={url}/w/api.php", *options)


def expected() -> list[Event]:
    announced = {event["revision"]["rev_id"] for event in read(EVENTS)}
    return only([row for row in at_least_one(read(GOLDEN)) if row["diff"] and row["rev_id"] in announced], NAMES)


@requires_fixtures(FIXTURES)
def test_the_diffs_of_a_real_page_are_those_of_the_golden_without_asking_anybody(tmp_path: Path) -> None:
    ran = run_files(JOB, read(EVENTS), tmp_path, "--set", "lookups.mediawiki.url=http://127.0.0.1:9/")
    assert ran.errors == []
    assert only(ran.outputs, NAMES) == expected()


@requires_fixtures(FIXTURES)
def test_in_another_order_the_missing_parents_are_looked_up_and_the_diffs_are_the_same(tmp_path: Path) -> None:
    events = read(EVENTS)
    ran = with_wiki(MediaWikiStandIn.read(STORE), events[60:] + events[:60], tmp_path, "--order", "arrival")
    assert ran.errors == []
    made = {row["rev_id"]: row for row in only(ran.outputs, NAMES)}
    assert made == {row["rev_id"]: row for row in expected()}


def outcome(ran: Ran) -> dict[int, Any]:
    assert ran.errors == []
    return {row["rev_id"]: row["diff"] or row["reason"] for row in ran.outputs}


def row(rev_id: int, content: str | None) -> dict[str, Any]:
    known = {"domain": "en.wiki.example", "page_id": 7, "title": "River", "rev_id": rev_id}
    return known | ({"texthidden": True} if content is None else {"content": content})


def plus(line: str, after: str = "") -> str:
    return "\n".join(difflib.unified_diff(after.splitlines(), [*after.splitlines(), line], lineterm=""))


def test_what_is_compared_with_what(tmp_path: Path) -> None:
    events = [
        change(1, "a", kind="create"),
        change(2, None),
        change(3, "a\nb"),
        change(4, "a\nb", kind="move"),
        change(5, "a\nb\n"),
        change(6, "a\nb\nc"),
        change(6, "a\nb\nc", kind="delete"),
        change(6, "a\nb\nc", kind="undelete"),
        change(6, None, kind="visibility_change"),
        change(7, "d"),
    ]
    assert outcome(with_wiki([], events, tmp_path)) == {
        1: plus("a"),
        2: "hidden",
        3: "parent_hidden",
        6: plus("c", "a\nb"),
        7: "parent_hidden",
    }


def test_a_parent_that_was_not_seen_is_looked_up(tmp_path: Path) -> None:
    events = [change(11, "a\nb"), change(13, "a\nb\nc"), change(15, "x"), change(17, "y"), change(20, "z", page_id=8)]
    rows = [row(10, "a"), row(12, "a\nb"), row(14, None)]
    found = outcome(with_wiki(rows, events, tmp_path))
    assert found == {
        11: plus("b", "a"),
        13: plus("c", "a\nb"),
        15: "parent_hidden",
        17: "parent_missing",
        20: "parent_missing",
    }


def test_a_wiki_that_cannot_be_reached_is_not_asked_for_each_parent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = [change(number, "a", parent=number + 500) for number in range(1, 40)]
    url = "lookups.mediawiki.url=http://127.0.0.1:1/w/api.php"
    ran = run_files(JOB, events, tmp_path, "--set", url, "--set", "lookups.attempts_max=1")
    assert ([row["reason"] for row in ran.outputs], ran.errors) == (["parent_missing"] * len(events), [])
    assert sum("is missing" in record.message for record in caplog.records) == 3


def test_an_unannounced_revision_with_a_known_text_is_not_looked_up(tmp_path: Path) -> None:
    events = [
        change(1, "a", kind="create", sha1="x"),
        change(3, "a\nb", prior_state=unannounced(2, "x")),
        change(5, "c", prior_state=unannounced(4, "y", visible=False)),
    ]
    assert outcome(with_wiki([], events, tmp_path)) == {1: plus("a"), 3: plus("b", "a"), 5: "parent_hidden"}


def test_other_content_is_skipped_and_an_invalid_event_is_an_error_event(tmp_path: Path) -> None:
    events = [change(1, "{}", kind="create", model="wikibase-item"), {**change(2, "a"), "revision": {"rev_id": "two"}}]
    ran = run_files(JOB, [*events, change(3, "x{}", kind="create", model="css", page_id=9)], tmp_path)
    assert (len(ran.errors), [row["rev_id"] for row in ran.outputs]) == (1, [3])


def test_a_long_diff_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module = in_project("jobs.revision_diff")
    monkeypatch.setattr(module, "DIFF_BYTES_MAX", 20)
    compared = {"model": "wikitext", "before": "", "after": "é" * 30, "reason": None, "rev_id": 1, "parent_id": 0}
    made = module.difference({**change(1, "x"), "compared": compared}, None)
    assert made["truncated"]
    assert len(made["diff"].encode()) <= 20
    assert made["lines_added"] == 1
