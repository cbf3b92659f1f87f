"""The jobs of page_dependencies.yaml: each page that uses what has changed is an event, and is rendered again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from wikimedia.page_events import change
from wikimedia.project import Event, Ran, job_named, run_files
from wikimedia.recording_service import Asked, RecordingService, recording

RULES, ASKING = "page_dependencies_rules", "page_dependencies"
DEPENDANTS = "change-prop.transcludes.resource-change"
CONTINUED = "page_dependencies.continue.mediawiki.page_change.v1"
RETRIES = "page_dependencies.retry.mediawiki.page_change.v1"
CHANGED_AT = "2026-01-31T12:07:00Z"


class Wiki:
    """A wiki that lists the pages which use another one, so many in an answer, however many it is asked for."""

    def __init__(self, titles: list[str], per_answer: int = 500) -> None:
        self.titles = titles
        self.per_answer = per_answer
        # What it answers first, one after the other, instead.
        self.instead: dict[int, int | dict[str, Any]] = {}

    def answer(self, number: int, asked: Asked) -> int | dict[str, Any]:
        if number in self.instead:
            return self.instead[number]
        query = parse_qs(urlsplit(asked.target).query)
        is_file = query.get("list") == ["imageusage"]
        name = "iucontinue" if is_file else "ticontinue"
        start = int(query.get(name, ["0"])[0])
        listed = [{"ns": 0, "title": title} for title in self.titles[start : start + self.per_answer]]
        found = {"imageusage": listed} if is_file else {"pages": [{"title": "x", "transcludedin": listed}]}
        if not is_file and not listed:
            del found["pages"][0]["transcludedin"]
        after = start + self.per_answer
        following = {"continue": {name: str(after), "continue": "||"}} if after < len(self.titles) else {}
        return {**following, "query": found}


def page(rev_id: int, title: str, namespace: int, kind: str = "edit") -> Event:
    event = change(rev_id, "text", kind=kind)
    uri = f"https://en.wiki.example/wiki/{title}"
    meta = {**event["meta"], "stream": "mediawiki.page_change.v1", "uri": uri, "request_id": f"request-{rev_id}"}
    return {
        **event,
        "meta": meta,
        "page": {**event["page"], "page_title": title, "namespace_id": namespace, "is_redirect": False},
    }


def asked_about(events: list[Event], folder: Path, service: RecordingService) -> Ran:
    made = run_files(RULES, events, folder)
    assert made.errors == []
    return run_files(ASKING, made.outputs, folder, "--set", f"base_url={service.url}")


def of(ran: Ran, stream: str) -> list[Event]:
    return [event for event in ran.outputs if event["meta"]["stream"] == stream]


def titles(count: int) -> list[str]:
    return [f"Page {number}" for number in range(count)]


@pytest.mark.parametrize(
    ("count", "per_answer", "pages"), [(0, 500, 1), (1, 500, 1), (500, 500, 1), (1200, 500, 3), (7, 3, 3)]
)
def test_each_page_that_uses_a_template_is_an_event_once(
    count: int, per_answer: int, pages: int, tmp_path: Path
) -> None:
    with recording(Wiki(titles(count), per_answer).answer) as service:
        ran = asked_about([page(7, "Template:River", 10)], tmp_path, service)
    assert ran.errors == []
    assert len(service.requests) == pages
    found = of(ran, DEPENDANTS)
    expected = [f"https://en.wiki.example/wiki/{title.replace(' ', '_')}" for title in titles(count)]
    assert sorted(event["meta"]["uri"] for event in found) == sorted(expected)
    assert len({event["meta"]["id"] for event in found}) == count
    chain = "req:request-7,mediawiki.page_change.v1:https://en.wiki.example/wiki/Template:River"
    for event in found:
        assert event["tags"] == ["transcludes", "templates"]
        assert (event["triggered_by"], event["meta"]["domain"]) == (chain, "en.wiki.example")
        assert event["root_event"]["dt"] == CHANGED_AT
    assert len({event["root_event"]["signature"] for event in found}) == min(count, 1)
    continued = of(ran, CONTINUED)
    assert [(event["sequence_num"], event["continue"]["ticontinue"]) for event in continued] == [
        (number, str(number * per_answer)) for number in range(1, pages)
    ]
    for event in continued:
        assert event["original_event"]["revision"]["rev_id"] == 7
        assert (event["emitter_id"], event["triggered_by"]) == ("page_dependencies#template", chain)


@pytest.mark.parametrize(
    ("event", "asks"),
    [
        (page(7, "Module:Rivers", 828), {"prop": ["transcludedin"], "titles": ["Module:Rivers"], "tilimit": ["500"]}),
        (page(7, "File:A&B.jpg", 6), {"list": ["imageusage"], "iutitle": ["File:A&B.jpg"], "iulimit": ["500"]}),
        (page(7, "Template:R", 10, "delete"), {"prop": ["transcludedin"], "titles": ["Template:R"]}),
        (page(7, "River", 0), None),
        (page(7, "Template:R", 10, "visibility_change"), None),
    ],
)
def test_which_changes_are_asked_about(event: Event, asks: dict[str, list[str]] | None, tmp_path: Path) -> None:
    with recording(Wiki(titles(2)).answer) as service:
        ran = asked_about([event], tmp_path, service)
    assert ran.errors == []
    if asks is None:
        assert service.requests == []
        return
    (asked,) = service.requests
    assert parse_qs(urlsplit(asked.target).query).items() >= asks.items()
    assert len(of(ran, DEPENDANTS)) == 2


MAXLAG = {"error": {"code": "maxlag", "info": "Waiting for a database server: 6 seconds lagged."}}


@pytest.mark.parametrize(("failure", "at"), [(503, 0), (MAXLAG, 1), (503, 2)])
def test_an_answer_that_fails_is_asked_for_again_and_the_others_are_not(failure: Any, at: int, tmp_path: Path) -> None:
    wiki = Wiki(titles(7), 3)
    wiki.instead = {at: failure}
    with recording(wiki.answer) as service:
        ran = asked_about([page(7, "Template:River", 10)], tmp_path, service)
    assert ran.errors == []
    assert len(service.requests) == 4
    assert len({event["meta"]["uri"] for event in of(ran, DEPENDANTS)}) == len(of(ran, DEPENDANTS)) == 7
    (retry,) = of(ran, RETRIES)
    assert retry["retries_left"] == 2
    assert "maxlag" in retry["reason"] or retry["error_status"] == 503


def test_what_fails_each_time_is_given_up_after_three_answers_whatever_was_done_before(tmp_path: Path) -> None:
    wiki = Wiki(titles(7), 3)
    wiki.instead = {1: 503, 2: 503, 3: 503}
    with recording(wiki.answer) as service:
        ran = asked_about([page(7, "Template:River", 10)], tmp_path, service)
    assert len(service.requests) == 4
    assert len(of(ran, DEPENDANTS)) == 3
    assert [retry["retries_left"] for retry in of(ran, RETRIES)] == [2, 1]
    assert [error["error_type"] for error in ran.errors] == ["UNAVAILABLE"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"query": {"pages": [{"transcludedin": [{"ns": 0}]}]}}, "item.title"),
        ({"continue": {"ticontinue": "1"}, "query": {}}, "same page"),
    ],
)
def test_what_is_no_usable_answer_is_an_error_event(answer: dict[str, Any], says: str, tmp_path: Path) -> None:
    with recording(lambda number, asked: answer) as service:
        ran = asked_about([page(7, "Template:River", 10)], tmp_path, service)
    assert of(ran, DEPENDANTS) == []
    assert [(error["error_type"], says in error["message"]) for error in ran.errors] == [("REJECTED", True)]


def test_a_page_is_rendered_again_whatever_its_title_is(tmp_path: Path) -> None:
    names = ["A b", "A/B?", "Café", "Mary, Queen", "AC/DC: 100% &c. #1"]
    with recording(Wiki(names).answer) as service:
        ran = asked_about([page(7, "Template:River", 10)], tmp_path, service)
    made = run_files("change_propagation_rules", of(ran, DEPENDANTS), tmp_path)
    assert made.errors == []
    with recording() as service:
        assert run_files("change_propagation", made.outputs, tmp_path, "--set", f"base_url={service.url}").errors == []
    expected = [f"/api/rest_v1/page/html/{quote(name.replace(' ', '_'), safe='')}" for name in names]
    assert sorted(asked.target for asked in service.requests) == sorted(expected)
    for asked in service.requests:
        assert asked.headers["x-restbase-mode"] == "templates"
        assert asked.headers["if-unmodified-since"] == CHANGED_AT


def test_no_stream_leads_back_to_the_rules_that_fill_it() -> None:
    writes = Counter(stream for name in (RULES, ASKING) for stream in job_named(name).writes().outputs)
    assert writes.keys() >= {DEPENDANTS, CONTINUED, RETRIES}
    assert writes.keys().isdisjoint(job_named(RULES).reads())
    assert DEPENDANTS in job_named("change_propagation_rules").reads()
