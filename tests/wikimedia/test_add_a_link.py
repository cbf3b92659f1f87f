"""The job add_a_link: the two anchors of a real page, where no link may be, edits, and what people decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import run as run_job
from requirements import requires_fixtures
from wikimedia.page_events import WIKI, change
from wikimedia.project import FIXTURES, Event, Ran, job_named, need_library, only, run, run_files

JOB = "add_a_link"
RECOMMENDED = "mediawiki.revision-recommendation-create"
# The anchors of the recorded answer with its scores, which a model made.
ANCHORS = {"hunting": ("Hunting", 0.5133472084999084), "male": ("Male", 0.5318674445152283)}
Anchors = dict[str, tuple[str, float]]


def tables(anchors: Anchors) -> dict[str, Any]:
    return {
        "link_anchors": {(WIKI, text): {"target": target, "score": score} for text, (target, score) in anchors.items()}
    }


def table_file(anchors: Anchors, folder: Path) -> tuple[str, str]:
    """The same as options of a run over files."""
    file = folder / "anchors.jsonl"
    rows = [
        {"wiki_id": WIKI, "anchor": text, "target": target, "score": score} for text, (target, score) in anchors.items()
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return "--table", f"link_anchors={file}"


def real() -> tuple[Event, list[Event]]:
    """A change with the text of a real page, and the recorded recommendations for it."""
    folder = FIXTURES / "real" / "addlink"
    expected = json.loads((folder / "expected_data.json").read_text("utf-8"))
    event = change(8, (folder / "source.wikitext").read_text("utf-8"), kind="create")
    event["page"] |= {"page_title": expected["page_title"], "page_id": expected["pageid"]}
    links: list[Event] = expected["links"]
    return event, links


@requires_fixtures(FIXTURES)
async def test_the_links_of_a_real_page_are_those_of_the_recorded_answer() -> None:
    event, links = real()
    canary = {**event, "meta": {**event["meta"], "domain": "canary", "id": "canary"}}
    other = {**event, "wiki_id": "otherwiki"}
    placed = [(0, canary), (1, other), (0, event), (0, event)]
    ran = await run(job_named(JOB, library="mwparserfromhell"), placed, tables=tables(ANCHORS), restarts=2)
    assert ran.errors == []
    assert only(ran.outputs, links[0]) == links
    assert [row["changelog_kind"] for row in ran.outputs] == ["insert", "insert"]
    (recommended,) = ran.others[RECOMMENDED]
    assert (recommended["recommendation_type"], recommended["rev_id"], recommended["database"]) == ("link", 8, WIKI)


@requires_fixtures(FIXTURES)
def test_a_run_over_a_file_gives_the_same(tmp_path: Path) -> None:
    need_library("mwparserfromhell")
    event, links = real()
    ran = run_files(JOB, [event, event], tmp_path, *table_file(ANCHORS, tmp_path))
    assert ran.errors == []
    assert only([row for row in ran.outputs if row["meta"]["stream"] != RECOMMENDED], links[0]) == links


SEA: Anchors = {"sea": ("Sea", 0.6), "deep sea": ("Deep sea", 0.7), "bay": ("Bay", 0.9), "cape": ("Cape", 0.4)}


async def ran_over(*events: Event, anchors: Anchors = SEA) -> Ran:
    ran = await run(job_named(JOB, library="mwparserfromhell"), [(0, one) for one in events], tables=tables(anchors))
    assert ran.errors == []
    return ran


async def suggested(text: str) -> list[tuple[str, str, int]]:
    rows = (await ran_over(change(1, text, kind="create"))).outputs
    rows.sort(key=lambda row: row["link_index"])
    return [(row["link_text"], row["link_target"], row["wikitext_offset"]) for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        *("[[River|sea]]", "{{box|sea}}", "== sea ==", "<ref>sea</ref>", "<!-- sea -->", "[https://a.example sea]"),
        *("''sea''", "<nowiki>sea</nowiki>", "{|\n|sea\n|}", "seaside", "oversea", "Sea", "cape", "deep\nwater"),
    ],
)
async def test_what_is_no_place_for_a_link(text: str) -> None:
    assert await suggested(f"{text} x") == []


async def test_a_place_is_a_whole_word_the_first_one_and_the_longest() -> None:
    assert await suggested("é😀 seaside, sea; the deep sea and the sea.") == [
        ("sea", "Sea", 12),
        ("deep sea", "Deep sea", 21),
    ]


@pytest.mark.parametrize("link", ["[[Sea]]", "[[sea|x]]", "[[Sea#Waves]]", "{{box|[[sea]]}}"])
async def test_what_the_page_links_to_is_not_suggested(link: str) -> None:
    assert await suggested(f"the sea and the bay {link}") == [("bay", "Bay", 16)]


async def test_a_page_is_not_suggested_to_link_to_itself_and_other_content_has_no_links() -> None:
    own = change(1, "the river", kind="create")
    code = change(1, "the sea", kind="create", model="css", page_id=8)
    redirect = change(1, "the sea", kind="create", page_id=9)
    redirect["page"]["is_redirect"] = True
    ran = await ran_over(own, code, redirect, anchors={"river": ("river", 1.0), **SEA})
    assert ran.outputs == []


async def test_with_an_edit_the_suggestions_of_the_revision_before_are_no_more() -> None:
    ran = await ran_over(
        change(1, "the sea, the bay", kind="create"), change(2, "a new sea"), change(3, None), change(4, "x")
    )
    found = [(row["rev_id"], row["changelog_kind"], row["link_target"]) for row in ran.outputs]
    assert found == [
        *((1, "insert", "Bay"), (1, "insert", "Sea"), (2, "delete", "Bay"), (2, "update", "Sea"), (3, "delete", "Sea")),
    ]
    assert [event["rev_id"] for event in ran.others[RECOMMENDED]] == [1, 2]


def feedback(target: str, *, is_accepted: bool, page_id: int = 7) -> Event:
    at = "2026-01-31T12:01:30Z"
    meta = {"stream": "mediawiki.link_suggestion_feedback.v1", "id": f"{target}{page_id}", "dt": at}
    about = {"$schema": "/mediawiki/page/link_suggestion_feedback/1.0.0", "meta": meta, "dt": at, "wiki_id": WIKI}
    return {**about, "page_id": page_id, "link_target": target, "is_accepted": is_accepted}


@pytest.mark.parametrize("is_accepted", [True, False])
def test_what_people_have_decided_about_is_not_suggested_again(is_accepted: bool, tmp_path: Path) -> None:
    need_library("mwparserfromhell")
    events = [
        change(1, "the sea, the bay", kind="create"),
        feedback("sea", is_accepted=is_accepted),
        feedback("Bay", is_accepted=is_accepted, page_id=9),
        change(2, "the sea, a bay"),
        change(3, "the sea, a bay", kind="create", page_id=9),
    ]
    ran = run_files(JOB, events, tmp_path, *table_file(SEA, tmp_path))
    assert ran.errors == []
    rows = [row for row in ran.outputs if row["meta"]["stream"] != RECOMMENDED]
    found = [(row["page_id"], row["rev_id"], row["changelog_kind"], row["link_target"]) for row in rows]
    assert found == [
        *((7, 1, "insert", "Bay"), (7, 1, "insert", "Sea"), (7, 1, "delete", "Sea"), (7, 2, "update", "Bay")),
        (9, 3, "insert", "Sea"),
    ]


async def test_a_decision_without_what_it_is_about_is_an_invalid_input() -> None:
    wrong = {**feedback("Sea", is_accepted=True), "page_id": "ten"}
    ran = await run(job_named(JOB, library="mwparserfromhell"), [(0, wrong)], tables=tables(SEA))
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"]


def test_the_table_has_what_is_suggested_now() -> None:
    row = {"wiki_id": "w", "page_id": 7, "page_title": "River", "dt": "2026-01-31T12:00:00Z"}
    events = [
        {**row, "rev_id": 1, "link_target": "Sea", "score": 0.5, "changelog_kind": "insert"},
        {**row, "rev_id": 1, "link_target": "Bay", "score": 0.6, "changelog_kind": "insert"},
        {**row, "rev_id": 1, "dt": "2026-01-31T12:00:01Z", "link_target": "Sea", "changelog_kind": "delete"},
    ]
    outcome = run_job(job_named("link_suggestions"), [{**event, "meta": {"dt": event["dt"]}} for event in events])
    assert [(row["link_target"], row["score"]) for row in outcome.rows] == [("Bay", 0.6)]
