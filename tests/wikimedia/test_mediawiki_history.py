"""The job mediawiki_history: the golden, mwreverts, a plain oracle in any order of arrival, what is hidden later."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.jobs.rows import KeyRows
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import WIKI, change
from wikimedia.project import FIXTURES, Event, in_project, interleaved, job_named, need_library, read, run, run_files

JOB = "mediawiki_history"
EVENTS = "derived/page_change_adam_himebauch.jsonl.gz"
GOLDEN = "golden/adam_himebauch.mw_history_reverts.json"
FACTS = "golden/adam_himebauch.history_endpoint.json"
REVERTED = "revision_is_identity_reverted"

history = in_project("content.history")


def revisions(outputs: list[Event]) -> dict[int, Event]:
    """The last row of each revision."""
    return {row["revision_id"]: row for row in outputs if row["event_entity"] == "revision"}


@requires_fixtures(FIXTURES)
async def test_the_reverts_of_a_real_page_are_those_of_the_golden() -> None:
    golden = {row["revision_id"]: row for row in at_least_one(read(GOLDEN))}
    names = {name for row in golden.values() for name in row}
    other = [{**event, "wiki_id": "otherwiki"} for event in read(EVENTS)[:30]]

    ran = await run(job_named(JOB), interleaved([read(EVENTS), other], seed=4))

    assert ran.errors == []
    rows = revisions([row for row in ran.outputs if row["wiki_id"] != "otherwiki"])
    assert {rev_id: {name: row[name] for name in names if name in row} for rev_id, row in rows.items()} == golden
    facts: Any = read(FACTS)
    assert sum("name" in row["event_user_is_bot_by"] for row in rows.values()) == facts["revisions"]["bot_by_name"]
    assert sum(REVERTED in row for row in rows.values()) == facts["revisions"]["reverted"]


@requires_fixtures(FIXTURES)
def test_a_shuffled_file_with_repeats_gives_the_same(tmp_path: Path) -> None:
    golden = {row["revision_id"]: row for row in at_least_one(read(GOLDEN))}
    events = read(EVENTS)
    random.Random(9).shuffle(events)
    for options in ([], ["--order", "arrival"]):
        ran = run_files(JOB, [*events, *events[:20]], tmp_path, *options)
        assert ran.errors == []
        rows = revisions(ran.outputs)
        assert {rev_id: row.get(REVERTED) for rev_id, row in rows.items()} == {
            rev_id: row.get(REVERTED) for rev_id, row in golden.items()
        }


Series = list[tuple[int, str | None]]


def flags(series: Series) -> dict[int, tuple[Any, ...]]:
    """Whether each revision is a revert, and which first undid it: by definition."""
    found: dict[int, list[Any]] = {rev_id: [None, None] for rev_id, _ in series}
    for at, (rev_id, sha1) in enumerate(series):
        earlier = [index for index in range(at) if sha1 is not None and series[index][1] == sha1]
        if earlier and series[at - 1][1] != sha1:
            found[rev_id][0] = True
            for undone, other in series[earlier[0] + 1 : at]:
                if other != sha1 and found[undone][1] is None:
                    found[undone][1] = rev_id
    return {rev_id: tuple(values) for rev_id, values in found.items()}


def page_of(series: Series) -> tuple[Any, dict[int, tuple[Any, ...]]]:
    """The page with these revisions added in this order, and the flags in the last row of each."""
    page, last = history.PageHistory(KeyRows()), {}
    for rev_id, sha1 in series:
        for changed in page.add({"rev_id": rev_id, "at_ms": rev_id * 1000, "sha1": sha1, "row": {}}):
            last[changed["rev_id"]] = _flags(changed["row"])
    return page, last


def _flags(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["revision_is_identity_revert"], row.get("revision_first_identity_reverting_revision_id")


SHA1S = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9)


@given(SHA1S, st.randoms())
def test_in_any_order_of_arrival_the_last_rows_are_those_of_the_definition(
    sha1s: list[str | None], chance: random.Random
) -> None:
    series = list(enumerate(sha1s, start=1))
    shuffled = list(series)
    chance.shuffle(shuffled)
    assert page_of(shuffled)[1] == flags(series)


@given(SHA1S, st.data())
def test_hiding_and_showing_a_content_changes_what_depends_on_it(sha1s: list[str | None], data: st.DataObject) -> None:
    series = list(enumerate(sha1s, start=1))
    page, last = page_of(series)
    at = data.draw(st.integers(0, len(series) - 1))
    rev_id = series[at][0]
    for sha1 in (data.draw(st.sampled_from(["a", "b", None])), series[at][1]):
        known = page.find(rev_id)
        for changed in page.change({**known, "sha1": sha1}):
            last[changed["rev_id"]] = _flags(changed["row"])
        series[at] = (rev_id, sha1)
        assert last == flags(series)


@settings(max_examples=30)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=14))
def test_what_mwreverts_finds_is_among_it(sha1s: list[str]) -> None:
    need_library("mwreverts")
    import mwreverts

    detector = mwreverts.Detector(radius=15)
    ours = flags(list(enumerate(sha1s)))
    for rev_id, sha1 in enumerate(sha1s):
        found = detector.process(sha1, rev_id)
        if found is not None:
            assert ours[rev_id][0]
            assert all(ours[undone][1] is not None for undone in found.reverteds)


def page(rev_id: int, sha1: str, kind: str = "edit", **also: Any) -> Event:
    event = change(rev_id, sha1, kind=kind, sha1=sha1, **also)
    event["meta"]["stream"] = "mediawiki.page_change.v1"
    event["performer"] = event["revision"]["editor"] = {"user_text": "Ada", "user_id": 1}
    return event


def legacy(stream: str, rev_id: int, minute: int, **also: Any) -> Event:
    at = f"2026-01-31T13:{minute:02}:00Z"
    meta = {"stream": f"mediawiki.revision-{stream}", "id": f"{stream}{rev_id}{minute}", "dt": at}
    event = {"$schema": f"/mediawiki/revision/{stream}/1.0.0", "meta": meta, "database": WIKI, "page_id": 7}
    return {**event, "rev_id": rev_id, "page_title": "River", **also}


def test_tags_visibility_and_changes_of_the_page(tmp_path: Path) -> None:
    shown, hidden = {"text": True, "user": True, "comment": True}, {"text": False, "user": False, "comment": True}
    events = [
        page(1, "a", "create"),
        page(2, "b"),
        page(3, "a"),
        page(4, "a", "move"),
        page(4, "a", "delete"),
        page(4, "a", "undelete"),
        legacy("tags-change", 2, 1, tags=["mobile edit", "android"]),
        legacy("visibility-change", 1, 2, visibility=hidden, rev_sha1="a"),
        legacy("tags-change", 99, 3, tags=["x"]),
    ]
    ran = run_files(JOB, events, tmp_path)
    assert ran.errors == []
    changes = [row["event_type"] for row in ran.outputs if row["event_entity"] == "page"]
    assert changes == ["create-page", "move", "delete", "restore"]
    rows = revisions(ran.outputs)
    assert sorted(rows) == [1, 2, 3, 4]
    assert rows[2]["revision_tags"] == ["android", "mobile edit"]
    assert rows[1]["revision_deleted_parts"] == ["text", "user"]
    assert "revision_text_sha1" not in rows[1]
    assert not rows[1].keys() & {"event_user_text", "event_user_id"}, "hidden after the row was written"
    assert (rows[1]["event_user_is_bot_by"], rows[2]["event_user_text"]) == ([], "Ada")
    assert (rows[3]["revision_is_identity_revert"], REVERTED in rows[2]) == (None, False), "its base is hidden"

    again = [*events, legacy("visibility-change", 1, 5, visibility=shown, rev_sha1="a")]
    rows = revisions(run_files(JOB, again, tmp_path).outputs)
    assert rows[3]["revision_is_identity_revert"] is True
    assert (rows[1]["event_user_text"], rows[1]["event_user_id"]) == ("Ada", 1)
    assert (rows[2][REVERTED], rows[2]["revision_seconds_to_identity_revert"]) == (True, 60)
    assert rows[2]["revision_tags"] == ["android", "mobile edit"]


def test_what_is_hidden_twice_comes_back_as_it_was(tmp_path: Path) -> None:
    event = page(1, "a", "create")
    event["revision"]["comment"] = "why"
    event["revision"]["editor"] = {"user_text": "Abbot", "user_id": 3}
    parts = [{"user"}, {"user", "comment"}, {"comment", "text"}, set()]
    events = [
        legacy(
            "visibility-change",
            1,
            minute,
            visibility={part: part not in hidden for part in ("text", "user", "comment")},
            rev_sha1="a",
        )
        for minute, hidden in enumerate(parts, start=1)
    ]
    ran = run_files(JOB, [event, *events], tmp_path)
    rows = [row for row in ran.outputs if row["event_entity"] == "revision"]
    assert [(row.get("event_user_text"), row["event_user_is_bot_by"], row.get("event_comment")) for row in rows] == [
        ("Abbot", ["name"], "why"),
        (None, [], "why"),
        (None, [], None),
        ("Abbot", ["name"], None),
        ("Abbot", ["name"], "why"),
    ]


def test_what_was_hidden_from_the_beginning_is_there_when_it_is_shown(tmp_path: Path) -> None:
    hidden, edit, shown = page(1, "a", "create"), page(2, "b"), page(1, "a", "visibility_change")
    hidden["revision"] |= {"is_editor_visible": False, "is_comment_visible": False, "is_content_visible": False}
    for name in ("editor", "rev_sha1"):
        del hidden["revision"][name]
    shown["revision"] |= {"comment": "why", "editor": {"user_text": "Abbot", "user_id": 3}}
    shown["dt"] = shown["meta"]["dt"] = "2026-01-31T13:00:00Z"
    ran = run_files(JOB, [hidden, edit, shown, {**page(3, "a"), "dt": "2026-01-31T13:01:00Z"}], tmp_path)
    created = next(row for row in ran.outputs if row["event_type"] == "create-page")
    assert "event_user_text" not in created
    rows = revisions(ran.outputs)
    names = ("event_user_text", "event_user_id", "event_user_is_bot_by", "event_comment", "revision_text_sha1")
    assert [rows[1].get(name) for name in names] == ["Abbot", 3, ["name"], "why", "a"]
    assert rows[3]["revision_is_identity_revert"] is True


def test_hiding_the_editor_alone_leaves_the_content_as_it_was(tmp_path: Path) -> None:
    parts = [{"user"}, {"text"}, set()]
    events = [
        legacy("visibility-change", 1, minute, visibility={part: part not in hidden for part in ("text", "user")})
        for minute, hidden in enumerate(parts, start=1)
    ]
    ran = run_files(JOB, [page(1, "a", "create"), *events], tmp_path)
    rows = [row for row in ran.outputs if row["event_entity"] == "revision"]
    assert [row.get("revision_text_sha1") for row in rows] == ["a", "a", None, "a"]


def test_events_without_what_they_tell_are_invalid_inputs(tmp_path: Path) -> None:
    events = [page(1, "a", "create"), legacy("tags-change", 1, 1), legacy("visibility-change", 1, 2)]
    ran = run_files(JOB, events, tmp_path)
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"] * 2


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"user_text": "ClueBot NG"}, ["name"]),
        ({"user_text": "Bot"}, ["name"]),
        ({"user_text": "botany"}, []),
        ({"user_text": "Xbot2", "groups": ["bot"]}, ["name", "group"]),
        ({"user_text": "Robotics", "groups": ["*", "bot"]}, ["group"]),
        ({"user_text": "Abbot"}, ["name"]),
        ({}, []),
    ],
)
def test_why_an_editor_counts_as_a_bot(user: Event, expected: list[str], tmp_path: Path) -> None:
    event = page(1, "a", "create")
    event["revision"]["editor"] = user
    rows = revisions(run_files(JOB, [event], tmp_path).outputs)
    assert rows[1]["event_user_is_bot_by"] == expected


def test_nothing_of_what_is_hidden_is_in_a_row_and_invalid_events_are_error_events(tmp_path: Path) -> None:
    event = page(1, "a", "create")
    event["revision"] |= {"is_editor_visible": False, "is_comment_visible": False, "is_content_visible": False}
    event["revision"]["comment"] = "secret"
    broken = [{**page(2, "b"), "page": {}}, legacy("tags-change", 1, 1, tags="x"), {**page(3, "c"), "revision": {}}]
    ran = run_files(JOB, [event, *broken], tmp_path)
    (row,) = revisions(ran.outputs).values()
    assert row["revision_deleted_parts"] == ["comment", "text", "user"]
    assert not row.keys() & {"event_user_text", "event_user_id", "event_comment", "revision_text_sha1"}
    assert len(ran.errors) == len(broken)
