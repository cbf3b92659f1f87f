"""The job history_gaps and its table: real links of each revision again, other things, and events that do not fit."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headwater.cli import main
from headwater.testing.run_job import run as run_in_memory
from requirements import at_least_one, requires_fixtures
from wikimedia.project import (
    FIXTURES,
    PROJECT,
    Event,
    Ran,
    in_project,
    interleaved,
    job_named,
    need_library,
    read,
    run,
    run_files,
)

JOB, TABLE = "history_gaps", "spans"
PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
LINKS = "mediawiki.page-links-change"


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The changes of links and properties of a real page."""
    need_library("mwparserfromhell")
    ran = run_files("derived_page_data", at_least_one(read(PAGE)), tmp_path_factory.mktemp("links"))
    streams = (LINKS, "mediawiki.page-properties-change")
    return [event for event in ran.outputs if event["meta"]["stream"] in streams]


def at_revision(rows: list[Event], rev_id: int, kind: str) -> set[str]:
    """What was so at a revision, of the rows of the table alone."""
    return {
        row["name"]
        for row in rows
        if row["kind"] == kind and row["from_number"] <= rev_id < (row.get("to_number") or rev_id + 1)
    }


def check_every_revision(outputs: list[Event], changes: list[Event]) -> None:
    rows = run_in_memory(job_named(TABLE), outputs).rows
    page_data = in_project("content.wikitext").page_data
    known: set[str] = set()
    by_revision = {event["rev_id"]: event for event in changes if event["meta"]["stream"] == LINKS}
    revisions = read(PAGE)
    for event in revisions:
        rev_id = event["revision"]["rev_id"]
        change = by_revision.get(rev_id, {})
        known -= {link["link"] for link in change.get("removed_links", ()) if not link["external"]}
        known |= {link["link"] for link in change.get("added_links", ()) if not link["external"]}
        assert at_revision(rows, rev_id, "link") == known
        text = event["revision"]["content_slots"]["main"]["content_body"]
        external = set(page_data(text=text, language="en")["externallinks"])
        assert at_revision(rows, rev_id, "external_link") == external
    assert len(revisions) == 145
    assert known


@requires_fixtures(FIXTURES / PAGE)
def test_the_links_of_every_real_revision_are_in_the_rows_of_a_shuffled_file(
    changes: list[Event], tmp_path: Path
) -> None:
    shuffled = [*changes, *changes[:20]]
    random.Random(5).shuffle(shuffled)
    ran = run_files(JOB, shuffled, tmp_path)
    assert ran.errors == []
    check_every_revision(ran.outputs, changes)


@requires_fixtures(FIXTURES / PAGE)
@pytest.mark.parametrize("restarts", [0, 3])
async def test_live_over_partitions_with_canaries_and_restarts_too(changes: list[Event], restarts: int) -> None:
    canary = {**changes[3], "meta": {**changes[3]["meta"], "domain": "canary", "id": "canary"}}
    of_links = [event for event in changes if event["meta"]["stream"] == LINKS]
    others = [event for event in changes if event["meta"]["stream"] != LINKS]
    placed = interleaved([[*of_links[:9], canary, *of_links[4:]], others], seed=restarts)
    ran = await run(job_named(JOB), placed, restarts=restarts)
    assert ran.errors == []
    check_every_revision(ran.outputs, changes)


def event(stream: str, schema: str, number: int, **more: Any) -> Event:
    at = f"2026-01-31T12:{number:02}:00Z"
    meta = {"stream": stream, "id": f"{stream}-{number}", "domain": "en.wiki.example", "dt": at}
    return {"$schema": schema, "meta": meta, "dt": at, **more}


def of_links(number: int, added: list[str], removed: list[str]) -> Event:
    return event(
        LINKS,
        "/mediawiki/page/links-change/1.0.0",
        number,
        database="w",
        page_id=7,
        page_title="River",
        rev_id=number,
        added_links=[{"link": link, "external": False} for link in added],
        removed_links=[{"link": link, "external": False} for link in removed],
    )


def of_tags(number: int, tags: list[str]) -> Event:
    about = {"database": "w", "page_id": 7, "page_title": "River", "rev_id": 3, "tags": tags}
    return event("mediawiki.revision-tags-change", "/mediawiki/revision/tags-change/1.0.0", number, **about)


def of_user(number: int, name: str, groups: list[str]) -> Event:
    user = {"user_id": 5, "user_text": name, "groups": groups}
    about = {"wiki_id": "w", "user": user, "user_change_kind": "rename"}
    return event("mediawiki.user_change.dev0", "/mediawiki/user/change/1.0.0", number, **about)


def of_preference(number: int, value: str) -> Event:
    said = {"property": "skin", "value": value, "userId": 5, "isDefault": False}
    return event("eventlogging_PrefUpdate", "/analytics/legacy/prefupdate/1.1.0", number, event=said, wiki="w")


def of_property(number: int, added: dict[str, str], removed: list[str]) -> Event:
    about = {"database": "w", "page_id": 7, "page_title": "River", "rev_id": number}
    return event(
        "mediawiki.page-properties-change",
        "/mediawiki/page/properties-change/1.0.0",
        number,
        **about,
        added_properties=added,
        removed_properties=dict.fromkeys(removed, ""),
    )


def spans(ran: Ran) -> list[tuple[Any, ...]]:
    """Kind, name, value, and from which minute to which, of the last version of each span."""
    rows = run_in_memory(job_named(TABLE), ran.outputs).rows
    found = [
        (
            row["kind"],
            row["name"],
            row.get("value"),
            int(row["valid_from"][14:16]),
            int(row["valid_to"][14:16]) if row.get("valid_to") else None,
        )
        for row in rows
    ]
    return sorted(found, key=str)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([of_links(1, ["/a"], []), of_links(2, [], ["/a"]), of_links(4, ["/a"], [])], [(1, 2), (4, None)]),
        ([of_tags(1, ["a"]), of_tags(3, ["a", "b"]), of_tags(5, ["b"])], [(1, 5), (3, None)]),
        ([of_property(1, {"k": "x"}, []), of_property(2, {"k": "y"}, []), of_property(3, {}, ["k"])], [(1, 2), (2, 3)]),
        ([of_preference(1, "vector"), of_preference(2, "vector"), of_preference(3, "minerva")], [(1, 3), (3, None)]),
    ],
)
def test_what_was_so_from_when_to_when(events: list[Event], expected: list[Any], tmp_path: Path) -> None:
    ran = run_files(JOB, events, tmp_path)
    assert ran.errors == []
    assert sorted((start, end) for *_, start, end in spans(ran)) == expected


def test_names_and_groups_of_an_account(tmp_path: Path) -> None:
    ran = run_files(JOB, [of_user(1, "Ada", ["user"]), of_user(2, "Ada L", ["user", "sysop"])], tmp_path)
    assert ran.errors == []
    assert spans(ran) == [
        ("group", "sysop", None, 2, None),
        ("group", "user", None, 1, None),
        ("name", "name", "Ada L", 2, None),
        ("name", "name", "Ada", 1, 2),
    ]


def counted(events: list[Event], folder: Path) -> dict[str, int]:
    """What a run has counted."""
    source = folder / "input.jsonl"
    source.write_text("".join(f"{json.dumps(event)}\n" for event in events), "utf-8")
    arguments = ["job", "run", JOB, "--project", str(PROJECT), "--from", str(source), "--to", str(folder / "o.jsonl")]
    answer = CliRunner().invoke(main, [*arguments, "--order", "arrival", "--restart"])
    assert answer.exit_code == 0, answer.output
    lines = [line.split("counted: inconsistent.")[1] for line in answer.output.splitlines() if "inconsistent." in line]
    return {line.rstrip("0123456789 "): int(line[len(line.rstrip("0123456789")) :]) for line in lines}


def test_what_does_not_fit_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    events = [of_links(1, ["/a"], ["/b"]), of_links(2, ["/a"], []), of_links(4, ["/c"], []), of_links(3, [], ["/a"])]
    assert counted(events, tmp_path) == {"removed_unknown": 1, "added_twice": 1, "out_of_order": 1}
    ran = run_files(JOB, events, tmp_path, "--order", "arrival")
    assert [(name, start, end) for _, name, _, start, end in spans(ran)] == [("/a", 1, None), ("/c", 4, None)]


def test_a_long_name_is_kept_whole(tmp_path: Path) -> None:
    name = "/wiki/" + "ü" * 2_000
    ran = run_files(JOB, [of_links(1, [name], []), of_links(2, [], [name])], tmp_path)
    assert [(found, start, end) for _, found, _, start, end in spans(ran)] == [(name, 1, 2)]


def test_an_event_that_cannot_be_read_is_an_error_event(tmp_path: Path) -> None:
    broken = of_links(1, ["/a"], [])
    del broken["rev_id"]
    assert [error["error_type"] for error in run_files(JOB, [broken], tmp_path).errors] == ["INVALID_INPUT"]
