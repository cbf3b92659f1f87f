"""The job knowledge_store: the objects of a real page, which of them change with it, and pages that are gone."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.answers import Answer
from headwater.testing.mediawiki import MediaWikiStandIn, serving_in_thread
from headwater.testing.run_job import JobOutcome, JobTest
from headwater.testing.run_job import run as run_in_memory
from requirements import requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, Ran, job_named, need_library, run_files

JOB, TABLE = "knowledge_store", "knowledge_objects"
OBJECTS, STORED = "knowledge_store.object.v1", "knowledge_store.node_stored.v1"
SAMPLE = FIXTURES / "real/parsoid_html/sample_page_html.txt"
ADDRESS, ANY = "http://wiki.example/revision/{rev_id}/html", "http://wiki.example/*"
AT = "2026-01-31T14:00:00Z"
REVISION, PAGE = 1321555271, 70793851


@pytest.fixture(autouse=True)
def _library() -> None:
    need_library("mwparserfromhtml")


def changed(rev_id: int, kind: str = "edit", **more: Any) -> Event:
    event = change(rev_id % 60, "", kind=kind, **more)
    del event["revision"]["content_slots"]["main"]["content_body"]
    event["revision"]["rev_id"] = rev_id
    event["meta"] |= {"stream": "mediawiki.page_change.v1", "id": f"{event['page']['page_id']}-{rev_id}-{kind}"}
    event["meta"]["uri"] = "https://en.wiki.example/wiki/River"
    return event


def section(number: int, heading: str, text: str, inner: str = "", level: int = 2) -> str:
    title = f"<h{level}>{heading}</h{level}>" if heading else ""
    return f'<section data-mw-section-id="{number}">{title}<p>{text}</p>{inner}</section>'


def whole(*sections: str) -> str:
    head = '<head><title>River</title><base href="//en.wiki.example/wiki/"/></head>'
    return f"<!DOCTYPE html><html>{head}<body>{''.join(sections)}</body></html>"


def stored(htmls: dict[int, Any], events: list[Event], **settings: Any) -> JobOutcome:
    return run_in_memory(
        job_named(JOB), events, http={ANY: answers(htmls)}, settings={"html": ADDRESS, **settings}, at=AT
    )


def answers(htmls: dict[int, Any]) -> Any:
    def answer(request: Any) -> Answer:
        found = htmls.get(int(request.url.split("/")[-2]))
        return Answer(status=404) if found is None else found if isinstance(found, Answer) else Answer(found)

    return answer


def told(outcome: JobOutcome) -> list[tuple[str, str, str | None]]:
    return [(one["changelog_kind"], one["type"], one.get("name")) for one in outcome.events]


@requires_fixtures(SAMPLE)
def test_a_real_page_is_eleven_objects_and_nothing_is_written_twice(tmp_path: Path) -> None:
    from bs4 import BeautifulSoup

    # The file is a literal of Python, and of this revision.
    html = ast.literal_eval(SAMPLE.read_text("utf-8"))
    row = {"domain": "en.wiki.example", "page_id": PAGE, "title": "Anees (musician)", "rev_id": REVISION}
    stand_in = MediaWikiStandIn([{**row, "content": "", "html": html}])
    event = changed(REVISION, page_id=PAGE)
    again = {**event, "dt": "2026-01-31T13:00:00Z", "meta": {**event["meta"], "id": "again"}}
    ran = over_files(stand_in, [event, event, again], tmp_path)
    assert ran.errors == []
    objects = [one for one in ran.outputs if one["meta"]["stream"] == OBJECTS]
    (page,) = (one for one in objects if one["type"] == "page")
    nodes = [one for one in objects if one["type"] == "node"]
    assert page["name"] == "Anees (musician)"
    assert page["counts"] == {
        "wikilinks": 71,
        "external_links": 25,
        "categories": 17,
        "citations": 52,
        "references": 19,
        "infoboxes": 1,
    }
    assert len(page["about"]) <= 17
    assert len(nodes) == 10
    assert page["has_part"] == [one["object_id"] for one in nodes]
    assert {one["is_part_of"] for one in nodes} == {page["object_id"]}
    assert [one["name"] for one in nodes[:2]] == ["", "Life and career"]
    # What is in the sections is in the parts, once.
    texts = ["".join(BeautifulSoup(one["unsafe_html"], "html.parser").get_text().split()) for one in nodes]
    assert "".join(texts) == "".join(BeautifulSoup(html, "html.parser").body.get_text().split())
    said = [one for one in ran.outputs if one["meta"]["stream"] == STORED]
    assert [one["object_id"] for one in said] == [one["object_id"] for one in objects]
    assert len(ran.outputs) == 22


def over_files(stand_in: MediaWikiStandIn, events: list[Event], folder: Path) -> Ran:
    with serving_in_thread(stand_in) as url:
        return run_files(JOB, events, folder, "--set", f"html={url}/w/rest.php/v1/revision/{{rev_id}}/html")


BEFORE = whole(
    section(0, "", "A river flows."),
    section(1, "Source", "High.", section(2, "Springs", "Wet.", level=3)),
    section(3, "Mouth", "Wide."),
)


def test_only_what_has_changed_is_stored_again() -> None:
    after = BEFORE.replace("Wet.", "Very wet.").replace("Mouth", "Delta")
    outcome = stored({1: BEFORE, 2: after}, [changed(1, "create"), changed(2)])
    assert told(outcome)[:5] == [
        ("insert", "page", "River"),
        ("insert", "node", ""),
        ("insert", "node", "Source"),
        ("insert", "node", "Springs"),
        ("insert", "node", "Mouth"),
    ]
    # A heading is what a node is known by.
    assert told(outcome)[5:] == [
        ("delete", "node", None),
        ("update", "page", "River"),
        ("update", "node", "Springs"),
        ("insert", "node", "Delta"),
    ]
    assert len(outcome[STORED]) == 8


def test_parts_with_the_same_heading_are_told_apart_and_a_move_changes_the_page_only() -> None:
    html = whole(section(0, "", "Lead."), section(1, "Notes", "One."), section(2, "Notes", "Two."))
    moved = changed(2, "move")
    moved["page"]["page_title"] = "Stream"
    moved["meta"]["uri"] = "https://en.wiki.example/wiki/Stream"
    outcome = stored({1: html, 2: html.replace("<title>River", "<title>Stream")}, [changed(1, "create"), moved])
    assert len({one["object_id"] for one in outcome.events}) == 4
    assert told(outcome)[4:] == [("update", "page", "Stream")]


def test_html_without_sections_is_one_node() -> None:
    html = "<html><head><title>River</title></head><body><p>A river flows.</p></body></html>"
    outcome = stored({1: html}, [changed(1, "create")])
    assert told(outcome) == [("insert", "page", "River"), ("insert", "node", "")]
    assert outcome.events[1]["unsafe_html"] == "<p>A river flows.</p>"
    assert outcome.events[0]["counts"] == {}


@pytest.mark.parametrize("gone", ["delete", "hidden", "refused"])
def test_the_objects_of_a_page_that_is_deleted_or_hidden_are_removed_and_come_back(gone: str) -> None:
    event = changed(2, "delete" if gone == "delete" else "visibility_change")
    if gone == "hidden":
        event["revision"]["is_content_visible"] = False
    back = changed(3, "undelete")
    htmls: dict[int, Any] = {1: BEFORE, 2: Answer("hidden", 403), 3: BEFORE}
    outcome = stored(htmls, [changed(1, "create"), event, back])
    assert outcome.errors == []
    kinds = [one["changelog_kind"] for one in outcome.events]
    assert kinds == ["insert"] * 5 + ["delete"] * 5 + ["insert"] * 5
    assert all("unsafe_html" not in one for one in outcome.events[5:10])
    rows = run_in_memory(job_named(TABLE), outcome.events).rows
    assert {row["type"] for row in rows} == {"page", "node"}
    assert len(rows) == 5
    assert run_in_memory(job_named(TABLE), outcome.events[:10]).rows == []


def test_what_cannot_be_had_is_an_error_event_and_the_next_goes_on() -> None:
    events = [changed(1, "create"), changed(2, page_id=8), changed(3, page_id=9), changed(4, page_id=10)]
    del events[2]["meta"]["domain"]
    outcome = stored({1: BEFORE, 2: None, 3: BEFORE, 4: "no html"}, events)
    assert len(outcome.events) == 5
    assert sorted(one["error_type"] for one in outcome.errors) == ["INVALID_INPUT", "NOT_FOUND", "UNEXPECTED_RESPONSE"]


def test_an_older_change_and_other_pages_than_those_asked_for_are_left_out() -> None:
    talk, item = changed(3, page_id=8), changed(4, page_id=9)
    talk["page"]["namespace_id"] = 1
    item["revision"]["content_slots"]["main"]["content_model"] = "wikibase-item"
    outcome = stored(dict.fromkeys(range(1, 5), BEFORE), [changed(2), changed(1), talk, item])
    assert {one["rev_id"] for one in outcome.events} == {2}
    assert {one["page_id"] for one in outcome.events} == {7}
    assert {one["page_id"] for one in stored({3: BEFORE}, [talk], namespaces="0 1").events} == {8}


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_pages_with_canaries_repeats_and_restarts_leave_the_same_table(seed: int) -> None:
    chance = random.Random(seed)
    htmls: dict[int, Any] = {}
    events: list[Event] = []
    for page_id in (7, 8, 9):
        for number in range(1, 7):
            rev_id = page_id * 10 + number
            parts = [section(n, f"H{n % 3}", str(chance.randint(1, 3))) for n in range(1, chance.randint(2, 6))]
            htmls[rev_id] = whole(*parts)
            event = changed(rev_id, "create" if number == 1 else "edit", page_id=page_id)
            event["dt"] = event["revision"]["rev_dt"] = event["meta"]["dt"] = f"2026-01-31T12:{number:02}:{page_id:02}Z"
            events.append(event)
    expected = table(stored(htmls, events).events)
    chance.shuffle(events)
    with JobTest(job_named(JOB), http={ANY: answers(htmls)}, settings={"html": ADDRESS}) as test:
        for event in events:
            canary = {**event, "meta": {**event["meta"], "domain": "canary", "id": f"c{event['meta']['id']}"}}
            test.put(canary, event, event)
            if chance.random() < 0.3:
                test.process()
                test.restart(test.job)
        outcome = test.finish()
    assert outcome.errors == []
    assert table(outcome.events) == expected


def table(events: list[Event]) -> list[Any]:
    rows = run_in_memory(job_named(TABLE), events).rows
    kept = [{name: row[name] for name in row if name not in ("rev_id", "dt")} for row in rows]
    return sorted(kept, key=lambda row: str(row["object_id"]))
