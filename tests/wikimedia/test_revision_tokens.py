"""The job revision_tokens: the golden of WikiWho rebuilt from changes, restarts, and what is hidden or missing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import run as run_job
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change, unannounced
from wikimedia.project import FIXTURES, Event, Ran, in_project, interleaved, job_named, read, run, run_files

JOB = "revision_tokens"
PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
GOLDEN = "real/wikiwho/adam_himebauch_golden.json"
# The bytes that are kept of a page, for each byte of its text: those of the real page, with room for other ones.
BYTES_PER_BYTE_MAX = 8
SPAM = 704860357
CHANGES, REBUILD = "mediawiki.page_token_change.v1", "mediawiki.page_token_rebuild.v1"


def rebuilt(changes: list[Event]) -> list[Event]:
    """All words that a page ever had, by the changes of its revisions alone."""
    words: dict[int, Event] = {}
    for row in changes:
        for token in row.get("added", ()):
            names = ("str", "token_id", "o_rev_id")
            words[token["token_id"]] = {**{name: token[name] for name in names}, "in": [], "out": []}
        for name, part in (("out", "removed"), ("in", "reintroduced")):
            for token in row.get(part, ()):
                words[token["token_id"]][name].append(row["rev_id"])
    return [words[number] for number in sorted(words)]


@requires_fixtures(FIXTURES)
async def test_the_words_of_a_real_page_are_those_of_the_golden_with_a_restart() -> None:
    golden = at_least_one(read(GOLDEN))
    events = read(PAGE)
    canary = {**events[3], "meta": {**events[3]["meta"], "domain": "canary", "id": "canary"}}
    other = [{**event, "wiki_id": "otherwiki"} for event in events[:5]]
    placed = interleaved([[*events[:9], canary, *events[9:]], other], seed=5)

    ran = await run(job_named(JOB, library="WikiWho"), placed, restarts=1)

    assert ran.errors == []
    changes = [row for row in ran.others[CHANGES] if row["wiki_id"] != "otherwiki"]
    assert rebuilt(changes) == golden
    assert [row["rev_id"] for row in changes if row["status"] == "spam"] == [SPAM]
    assert len(changes) == len(events)
    # A revision that protected the page was never announced, but has the text of the one before.
    assert ran.others[REBUILD] == []

    *_, last = [row for row in ran.outputs if row["wiki_id"] != "otherwiki"]
    by_number = {token["token_id"]: token for token in golden}
    assert last["tokens"] == [by_number[token["token_id"]] for token in last["tokens"]]
    assert (last["rev_id"], last["tokens_total"]) == (events[-1]["revision"]["rev_id"], len(last["tokens"]))
    removed = [token for token in golden if len(token["out"]) > len(token["in"])]
    assert len(last["tokens"]) + len(removed) == len(golden)


@requires_fixtures(FIXTURES)
def test_a_shuffled_file_gives_the_same(tmp_path: Path) -> None:
    job_named(JOB, library="WikiWho")
    events = read(PAGE)[:60]
    golden = {token["token_id"]: token for token in read(GOLDEN)}
    last = events[-1]["revision"]["rev_id"]
    random.Random(2).shuffle(events)
    ran = run_files(JOB, [*events, *events[:5]], tmp_path)
    assert ran.errors == []
    words = rebuilt([row for row in ran.outputs if "status" in row])
    assert words
    for word in words:
        expected = golden[word["token_id"]]
        assert word == {
            **expected,
            **{name: [rev_id for rev_id in expected[name] if rev_id <= last] for name in ("in", "out")},
        }


@requires_fixtures(FIXTURES)
async def test_what_is_kept_of_a_page_is_bounded() -> None:
    job_named(JOB, library="WikiWho")
    find = in_project("jobs.revision_tokens").provenance
    packed, size = None, 0
    for event in read(PAGE)[::12]:
        text = event["revision"]["content_slots"]["main"]["content_body"]
        revision = {"revid": event["revision"]["rev_id"], "*": text, "timestamp": "", "comment": ""}
        packed, size = find(packed=packed, revision=revision, chars_max=10**7)["packed"], len(text.encode())
    assert len(packed) < BYTES_PER_BYTE_MAX * size
    # The earlier half of what the page has not any more is forgotten, as often as it takes.
    less = find(packed=packed, revision={**revision, "revid": 9 * 10**9, "*": text + " x"}, chars_max=len(packed) - 99)
    assert less["forgotten"] > 0
    assert len(less["packed"]) < len(packed)
    assert [token["str"] for token in less["tokens"]][-1] == "x"
    again = find(packed=less["packed"], revision=None, chars_max=10**7)
    assert (again["packed"], again["tokens"]) == (less["packed"], less["tokens"])


async def made(*events: Event) -> Ran:
    ran = await run(job_named(JOB, library="WikiWho"), [(0, event) for event in events])
    assert ran.errors == []
    return ran


def later(event: Event, minute: int, **revision: Any) -> Event:
    at = f"2026-01-31T13:{minute:02}:00Z"
    changed = {**event["revision"], **revision}
    return {**event, "dt": at, "meta": {**event["meta"], "dt": at, "id": f"{minute}"}, "revision": changed}


def words(row: Event, part: str = "tokens") -> list[str]:
    return [token.get("str", "?") for token in row[part]]


async def test_words_that_come_go_and_come_back() -> None:
    ran = await made(change(1, "one two.", kind="create"), change(2, "one three."), change(3, "one two."))
    changed = [[words(row, part) for part in ("added", "removed", "reintroduced")] for row in ran.others[CHANGES]]
    assert changed == [[["one", "two", "."], [], []], [["three"], ["two"], []], [[], ["three"], ["two"]]]
    assert [words(row) for row in ran.outputs] == [
        ["one", "two", "."],
        ["one", "three", "."],
        ["one", "two", "."],
    ]
    assert [row["changelog_kind"] for row in ran.outputs] == ["insert", "update", "update"]


async def test_a_deletion_that_looks_like_vandalism_is_flagged_and_changes_no_words() -> None:
    text = " ".join(f"word{number}" for number in range(300))
    ran = await made(change(1, text, kind="create"), change(2, "gone"), change(3, f"{text} end"))
    assert [row["status"] for row in ran.others[CHANGES]] == ["tokens", "spam", "tokens"]
    assert words(ran.others[CHANGES][2], "added") == ["end"]
    assert ran.others[REBUILD] == []


async def test_a_revision_out_of_order_asks_for_a_rebuild_and_changes_nothing() -> None:
    ran = await made(change(1, "a", kind="create"), change(3, "a c", parent=1), change(2, "a b"), change(4, "a c d"))
    assert [(row["rev_id"], row["reason"]) for row in ran.others[REBUILD]] == [(2, "out_of_order")]
    assert [row["rev_id"] for row in ran.others[CHANGES]] == [1, 3, 4]
    assert words(ran.others[CHANGES][-1], "added") == ["d"]


async def test_a_parent_that_never_came_asks_for_a_rebuild_unless_its_text_is_known() -> None:
    ran = await made(
        change(5, "a"),
        change(7, "a b", prior_state=unannounced(6, "sha")),
        change(9, "a b c", prior_state=unannounced(8, f"sha1-of-{hash('a b')}")),
    )
    assert [(row["rev_id"], row["reason"]) for row in ran.others[REBUILD]] == [
        (5, "history_missing"),
        (7, "parent_missing"),
    ]


async def test_a_hidden_revision_is_a_gap_and_what_is_hidden_later_is_known_by_number_only() -> None:
    secret = change(2, "one secret")
    ran = await made(
        change(1, "one", kind="create"),
        secret,
        change(3, None),
        change(4, "one secret two"),
        later(change(2, None, kind="visibility_change"), 1, is_content_visible=False),
        later(change(4, None, kind="visibility_change"), 2, is_content_visible=False),
        later(change(4, "one secret two", kind="visibility_change"), 3, is_content_visible=True),
    )
    assert [row["status"] for row in ran.others[CHANGES]] == ["tokens", "tokens", "hidden", "tokens"]
    shown = [(row["changelog_kind"], words(row) if "tokens" in row else None) for row in ran.outputs]
    assert shown == [
        ("insert", ["one"]),
        ("update", ["one", "secret"]),
        ("delete", None),
        ("insert", ["one", "secret", "two"]),
        ("update", ["one", "?", "two"]),
        ("delete", None),
        ("insert", ["one", "?", "two"]),
    ]


async def test_a_deleted_page_has_no_words_until_it_is_restored() -> None:
    ran = await made(
        change(1, "one", kind="create"),
        later(change(1, "one", kind="delete"), 1),
        later(change(1, "one", kind="undelete"), 2),
        {**change(90, "one two", parent=1)},
        later(change(1, "x", kind="undelete", page_id=8), 3),
    )
    shown = [(row["changelog_kind"], row.get("rev_id")) for row in ran.outputs]
    assert shown == [("insert", 1), ("delete", 1), ("insert", 1), ("update", 90)]
    assert words(ran.others[CHANGES][-1], "added") == ["two"]
    assert [(row["page_id"], row["reason"]) for row in ran.others[REBUILD]] == [(8, "history_missing")]


def test_a_page_that_cannot_be_kept_is_an_error_event(tmp_path: Path) -> None:
    job_named(JOB, library="WikiWho")
    events = [change(1, "one two three", kind="create"), change(2, "x", kind="create", model="css", page_id=9)]
    ran = run_files(JOB, events, tmp_path, "--set", "page_chars_max=9")
    assert [error["error_type"] for error in ran.errors] == ["PAGE_TOO_LARGE"]
    assert ran.outputs == []


def test_the_table_has_the_words_of_pages() -> None:
    row = {"wiki_id": "w", "page_id": 7, "page_title": "River", "dt": "2026-01-31T12:00:00Z", "tokens_total": 0}
    events = [
        {**row, "rev_id": 1, "changelog_kind": "insert", "tokens": []},
        {**row, "rev_id": 2, "changelog_kind": "update", "tokens": []},
        {**row, "rev_id": 3, "page_id": 8, "changelog_kind": "insert", "tokens": []},
        {**row, "rev_id": 4, "page_id": 8, "changelog_kind": "delete"},
    ]
    outcome = run_job(job_named("page_tokens"), [{**event, "meta": {"dt": event["dt"]}} for event in events])
    assert [(row["page_id"], row["rev_id"]) for row in outcome.rows] == [(7, 2)]


@pytest.mark.parametrize("wrong", [{"dt": "yesterday"}, {"page": {}}, {"revision": {"rev_id": 1}}])
async def test_an_invalid_event_is_an_error_event(wrong: Event) -> None:
    ran = await run(job_named(JOB, library="WikiWho"), [(0, {**change(1, "a", kind="create"), **wrong})])
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"]
