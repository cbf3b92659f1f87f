"""The job copy_edit: the golden of a real page, words that are corrected, and texts that are looked at in part."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import run as run_job
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, interleaved, job_named, read, run, run_files

JOB = "copy_edit"
PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
GOLDEN = "golden/adam_himebauch.last_revision.json"


def standing(rows: list[Event]) -> dict[str, Event]:
    """The findings in the end, by word."""
    found: dict[str, Event] = {}
    for row in rows:
        found.pop(row["word"], None)
        if row["changelog_kind"] != "delete":
            found[row["word"]] = row
    return found


@requires_fixtures(FIXTURES)
async def test_the_unknown_words_of_a_real_page_are_those_of_the_golden() -> None:
    golden: Any = at_least_one(read(GOLDEN))
    events = read(PAGE)[-15:]
    canary = {**events[-1], "meta": {**events[-1]["meta"], "domain": "canary", "id": "canary"}}
    other = [{**event, "wiki_id": "otherwiki"} for event in events[:3]]
    placed = interleaved([[*events[:4], canary, *events[4:]], other], seed=8)

    ran = await run(job_named(JOB, library="spellchecker"), placed, restarts=2)

    assert ran.errors == []
    found = standing([row for row in ran.outputs if row["wiki_id"] != "otherwiki"])
    assert sorted(found) == golden["unknown_words"]
    assert found["stappled"]["suggestions"] == ["stapled"]
    assert "stappled" in found["stappled"]["sentence"]


@requires_fixtures(FIXTURES)
def test_a_list_of_words_removes_those_that_are_right(tmp_path: Path) -> None:
    job_named(JOB, library="spellchecker")
    events = read(PAGE)[-15:]
    random.Random(4).shuffle(events)
    ran = run_files(JOB, [*events, events[3]], tmp_path, "--set", "words=immersive livestream livestreamed mashup")
    assert ran.errors == []
    assert sorted(standing(ran.outputs)) == ["stappled"]


async def made(*events: Event, domain: str = "en.wiki.example") -> list[tuple[int, str, str]]:
    events = tuple({**event, "meta": {**event["meta"], "domain": domain}} for event in events)
    ran = await run(job_named(JOB, library="spellchecker"), [(0, event) for event in events])
    assert ran.errors == []
    return [(row["rev_id"], row["changelog_kind"], row["word"]) for row in ran.outputs]


async def test_a_word_that_is_corrected_disappears() -> None:
    assert await made(
        change(1, "A brigde and a rivver.", kind="create"), change(2, "A brigde and a river."), change(3, None)
    ) == [
        *((1, "insert", "brigde"), (1, "insert", "rivver")),
        *((2, "update", "brigde"), (2, "delete", "rivver"), (3, "delete", "brigde")),
    ]


async def test_where_a_word_is_and_how_often() -> None:
    text = "{{box|zzyzx}}<ref>zzyzx</ref>[[Bridge|Bridges]] are old. Each brigde, [[x|brigde]]! The end."
    ran = await run(job_named(JOB, library="spellchecker"), [(0, change(1, text, kind="create"))])
    (row,) = ran.outputs
    assert [row[name] for name in ("word", "count", "offset", "sentence", "suggestions")] == [
        "brigde",
        2,
        22,
        "Each brigde, brigde!",
        ["bridge"],
    ]


@pytest.mark.parametrize(
    "text", ["Rivver", "RIVVER", "riv", "{{rivver}}", "<ref>rivver</ref>", "[[File:rivver.jpg|x]]"]
)
async def test_what_is_no_misspelt_word(text: str) -> None:
    assert await made(change(1, text, kind="create")) == []


async def test_only_edits_of_articles_in_known_languages_are_looked_at() -> None:
    talk = change(1, "rivver", kind="create", page_id=2)
    talk["page"]["namespace_id"] = 1
    style = change(1, "rivver", kind="create", page_id=3, model="css")
    assert await made(talk, style, change(1, "rivver", kind="undelete", page_id=4)) == []
    article = change(1, "rivver", kind="create")
    assert await made(article, domain="simple.wiki.example") == [(1, "insert", "rivver")]
    assert await made(change(1, "flusss", kind="create"), domain="de.wiki.example") == [(1, "insert", "flusss")]
    assert await made(article, domain="ja.wiki.example") == []


async def test_a_page_that_leaves_the_articles_or_is_deleted_has_no_findings() -> None:
    moved = change(2, "rivver", kind="move")
    moved["page"]["namespace_id"] = 2
    same, deleted = change(2, "rivver", kind="move", page_id=8), change(3, "rivver", kind="delete", page_id=8)
    assert await made(
        change(1, "rivver", kind="create"), change(1, "rivver", kind="create", page_id=8), moved, same, deleted
    ) == [(1, "insert", "rivver"), (1, "insert", "rivver"), (2, "delete", "rivver"), (3, "delete", "rivver")]


async def test_of_a_long_text_the_beginning_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = job_named(JOB, library="spellchecker").steps[-1].on_event.__self__.rows
    monkeypatch.setitem(rows.__globals__, "TEXT_BYTES_MAX", 20)
    assert await made(change(1, "brigde ééééééé rivver", kind="create")) == [(1, "insert", "brigde")]


def test_the_table_has_what_looks_misspelt_now() -> None:
    row = {"wiki_id": "w", "page_id": 7, "page_title": "River", "dt": "2026-01-31T12:00:00Z"}
    events = [
        {**row, "rev_id": 1, "word": "rivver", "count": 1, "changelog_kind": "insert"},
        {**row, "rev_id": 1, "word": "brigde", "count": 1, "changelog_kind": "insert"},
        {**row, "rev_id": 2, "word": "brigde", "changelog_kind": "delete"},
    ]
    outcome = run_job(job_named("copy_edit_findings"), [{**event, "meta": {"dt": event["dt"]}} for event in events])
    assert [(row["word"], row["count"]) for row in outcome.rows] == [("rivver", 1)]
