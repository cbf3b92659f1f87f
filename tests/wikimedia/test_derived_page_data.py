"""The job derived_page_data: the golden as sets, replays of its rows, and what is hidden, deleted, late or too slow."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from headwater.testing.run_job import run as run_job
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, interleaved, job_named, need_library, read, run, run_files

JOB = "derived_page_data"
PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
GOLDEN = "golden/adam_himebauch.unified_diff_and_entities.jsonl.gz"
KINDS = {
    "wikilinks": "pagelinks",
    "external_links": "externallinks",
    "templates": "templatelinks",
    "categories": "categorylinks",
    "images": "imagelinks",
}
TOTALS = {
    "pagelinks": (107, 68),
    "externallinks": (76, 34),
    "templatelinks": (25, 17),
    "categorylinks": (7, 3),
    "imagelinks": (5, 5),
}
LINKS, PROPERTIES = "mediawiki.page-links-change", "mediawiki.page-properties-change"
Sets = dict[str, set[str]]


def totals(rows: list[Event]) -> dict[str, tuple[int, int]]:
    counted = Counter((row["kind"], row["changelog_kind"]) for row in rows)
    return {kind: (counted[kind, "insert"], counted[kind, "delete"]) for kind in TOTALS}


def replayed(rows: list[Event], until: int = 2**53) -> Sets:
    """What the page has after the revision `until`, by its rows alone."""
    sets: Sets = {}
    for row in rows:
        if row["rev_id"] <= until:
            names = sets.setdefault(row["kind"], set())
            (names.discard if row["changelog_kind"] == "delete" else names.add)(row["name"])
    return {kind: names for kind, names in sets.items() if names}


def expected_sets() -> dict[int, Sets]:
    """What the page has after each revision, by the differences of multisets in the golden."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS.values()}
    found = {}
    for row in at_least_one(read(GOLDEN)):
        for name, kind in KINDS.items():
            changed = row.get(name, {"added": [], "removed": []})
            counts[kind].update(changed["added"])
            counts[kind].subtract(changed["removed"])
        found[row["rev_id"]] = {kind: set(+counts[kind]) for kind in counts if +counts[kind]}
    return found


@requires_fixtures(FIXTURES)
async def test_the_rows_of_a_real_page_rebuild_what_each_revision_has() -> None:
    events = read(PAGE)
    canary = {**events[3], "meta": {**events[3]["meta"], "domain": "canary", "id": "canary"}}
    other = [{**event, "wiki_id": "otherwiki"} for event in events[:25]]
    placed = interleaved([[*events[:9], canary, *events[9:]], other], seed=5)

    ran = await run(job_named(JOB, library="mwedittypes"), placed)
    again = await run(job_named(JOB), placed, restarts=4)

    assert ran.errors == again.errors == []
    rows = [row for row in ran.outputs if row["wiki_id"] != "otherwiki"]
    assert totals(rows) == TOTALS
    links = [row for row in rows if row["kind"] != "page_props"]
    for rev_id, expected in expected_sets().items():
        assert replayed(links, rev_id) == expected, rev_id
    assert {row["meta"]["id"] for row in again.outputs} == {row["meta"]["id"] for row in ran.outputs}
    assert len(again.outputs) == len(ran.outputs)


@requires_fixtures(FIXTURES)
def test_a_shuffled_file_with_repeats_gives_the_same(tmp_path: Path) -> None:
    need_library("mwedittypes")
    events = [*read(PAGE), *read(PAGE)[:9]]
    random.Random(6).shuffle(events)
    ran = run_files(JOB, events, tmp_path)
    assert ran.errors == []
    rows = [row for row in ran.outputs if row["meta"]["stream"] == "mediawiki.page_data.v1"]
    assert totals(rows) == TOTALS
    streams = Counter(row["meta"]["stream"] for row in ran.outputs)
    assert streams[LINKS] > 0
    assert streams[PROPERTIES] > 0


async def made(*events: Event) -> tuple[list[tuple[int, str, str, str]], dict[str, list[Event]]]:
    ran = await run(job_named(JOB, library="mwedittypes"), [(0, event) for event in events])
    assert ran.errors == []
    rows = [(row["rev_id"], row["changelog_kind"], row["kind"], row["name"]) for row in ran.outputs]
    return rows, ran.others


TEXT = """[[a]] [[Category:B]] [[:Category:C]] [[File:d.jpg|thumb|[[e]]]] [https://f.example g] {{h|i=[[j]]}}
{{DEFAULTSORT: K }}{{DISPLAYTITLE:''l''}} __NOINDEX__ <nowiki>[[m]] __TOC__</nowiki> <!-- [[n]] -->"""


async def test_each_kind_of_what_a_page_has() -> None:
    rows, others = await made(change(1, TEXT, kind="create"), change(2, "{{DEFAULTSORT:x}}"))
    first = {(kind, name) for rev_id, action, kind, name in rows if (rev_id, action) == (1, "insert")}
    assert first >= {
        *(("pagelinks", name) for name in ("a", ":Category:C", "e", "j")),
        *(("categorylinks", "Category:B"), ("imagelinks", "File:d.jpg"), ("externallinks", "https://f.example")),
        *(("templatelinks", "h"), ("page_props", "defaultsort"), ("page_props", "displaytitle")),
        ("page_props", "noindex"),
    }
    assert not {name for _, name in first} & {"m", "n"}
    assert (2, "update", "page_props", "defaultsort") in rows
    links, removing = others[LINKS]
    assert {"link": "/wiki/Template:h", "external": False} in links["added_links"]
    assert {"link": "/wiki/Category:C", "external": False} in links["added_links"]
    assert {"link": "https://f.example", "external": True} in removing["removed_links"]
    assert (links["page_title"], links["database"], links["rev_id"]) == ("River", "examplewiki", 1)
    added, changed = others[PROPERTIES]
    assert added["added_properties"] == {"defaultsort": "K", "displaytitle": "''l''", "noindex": ""}
    assert (changed["added_properties"], sorted(changed["removed_properties"])) == (
        {"defaultsort": "x"},
        ["displaytitle", "noindex"],
    )


def later(event: Event, minute: int) -> Event:
    at = f"2026-01-31T13:{minute:02}:00Z"
    return {**event, "dt": at, "meta": {**event["meta"], "dt": at}}


async def test_a_deletion_removes_all_an_undeletion_restores_and_what_is_hidden_changes_nothing() -> None:
    rows, _ = await made(
        change(1, "[[a]] [[b]]", kind="create"),
        change(2, None),
        change(3, "[[a]] [[c]]"),
        later(change(3, "[[a]] [[c]]", kind="delete"), 1),
        later(change(3, None, kind="undelete"), 2),
        later(change(3, "[[a]] [[c]]", kind="visibility_change"), 3),
        later(change(3, None, kind="visibility_change"), 4),
    )
    assert rows == [
        *((1, "insert", "pagelinks", "a"), (1, "insert", "pagelinks", "b")),
        *((3, "delete", "pagelinks", "b"), (3, "insert", "pagelinks", "c")),
        *((3, "delete", "pagelinks", "a"), (3, "delete", "pagelinks", "c")),
        *((3, "insert", "pagelinks", "a"), (3, "insert", "pagelinks", "c")),
    ]


async def test_changes_that_come_late_change_nothing() -> None:
    delete = later(change(3, "[[b]]", kind="delete"), 1)
    rows, _ = await made(
        change(2, "[[a]]", kind="create"),
        change(1, "[[x]]"),
        delete,
        change(3, "[[b]]"),
        {**delete, "comment": "again"},
    )
    assert rows == [(2, "insert", "pagelinks", "a"), (3, "delete", "pagelinks", "a")]


async def test_a_text_that_takes_too_long_is_an_error_event_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_named(JOB, library="mwedittypes")
    find = job.steps[-1].on_event.__self__.rows.__globals__["find"]
    monkeypatch.setattr(find, "_seconds", 1.0)
    find.close()
    slow = "{{a|" * 8_000
    events = [change(1, "[[a]]", kind="create"), change(2, slow), change(3, "[[a]] [[b]]")]
    ran = await run(job, [(0, event) for event in events])
    find.close()
    assert [error["error_type"] for error in ran.errors] == ["TIMEOUT"]
    assert [(row["rev_id"], row["changelog_kind"], row["name"]) for row in ran.outputs] == [
        (1, "insert", "a"),
        (3, "insert", "b"),
    ]


def test_the_table_has_what_pages_have_now() -> None:
    row = {"wiki_id": "w", "page_id": 7, "page_title": "River", "kind": "pagelinks", "dt": "2026-01-31T12:00:00Z"}
    events = [
        {**row, "rev_id": 1, "name": "a", "changelog_kind": "insert"},
        {**row, "rev_id": 2, "name": "b", "changelog_kind": "insert"},
        {**row, "rev_id": 2, "name": "a", "changelog_kind": "delete"},
        {**row, "rev_id": 2, "name": "p", "kind": "page_props", "value": "v", "changelog_kind": "update"},
    ]
    outcome = run_job(job_named("page_data"), [{**event, "meta": {"dt": event["dt"]}} for event in events])
    assert sorted((row["kind"], row["name"], row.get("value")) for row in outcome.rows) == [
        ("page_props", "p", "v"),
        ("pagelinks", "b", None),
    ]
