"""The jobs of change_propagation.yaml, over files: from changes of wikis to requests, and what becomes of these."""

from __future__ import annotations

from pathlib import Path

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, Ran, job_named, read, run_files
from wikimedia.recording_service import Asked, RecordingService, recording

RULES, SENDING = "change_propagation_rules", "change_propagation"
REAL = "derived/page_change_adam_himebauch.jsonl.gz"


def page(rev_id: int, kind: str = "edit", **more: object) -> Event:
    event = change(rev_id, "text", kind=kind)
    title = more.pop("title", "River")
    redirect = more.pop("is_redirect", False)
    meta = {
        **event["meta"],
        "stream": "mediawiki.page_change.v1",
        "uri": "https://en.wiki.example/wiki/River",
        "request_id": f"request-{rev_id}",
    }
    return {**event, "meta": meta, "page": {**event["page"], "page_title": title, "is_redirect": redirect}, **more}


def resource(number: int, uri: str, **more: object) -> Event:
    meta = {
        "stream": "resource_change",
        "id": f"resource-{number}",
        "domain": "en.wiki.example",
        "dt": f"2026-01-31T12:{number:02}:00Z",
        "uri": uri,
    }
    return {"$schema": "/resource_change/1.0.0", "meta": meta, **more}


def requests(events: list[Event], folder: Path, *options: str) -> Ran:
    return run_files(RULES, events, folder, *options)


def sent(events: list[Event], folder: Path, service: RecordingService) -> Ran:
    """Both jobs, one after the other."""
    made = requests(events, folder)
    assert made.errors == []
    return run_files(SENDING, made.outputs, folder, "--set", f"base_url={service.url}")


def test_an_edit_asks_for_the_page_to_be_rendered_again(tmp_path: Path) -> None:
    with recording() as service:
        ran = sent([page(7, title="A/B c")], tmp_path, service)
    assert (ran.outputs, ran.errors) == ([], [])
    (asked,) = service.requests
    assert (asked.method, asked.target) == ("GET", "/api/rest_v1/page/html/A%2FB%20c/7")
    assert (asked.headers["host"], asked.headers["cache-control"]) == ("en.wiki.example", "no-cache")
    chain = "req:request-7,mediawiki.page_change.v1:https://en.wiki.example/wiki/River"
    assert asked.headers["x-triggered-by"] == chain


@pytest.mark.parametrize(
    ("event", "asked"),
    [
        (page(7, "delete"), [("GET", "/api/rest_v1/page/title/River")]),
        (page(7, is_redirect=True), [("GET", "/api/rest_v1/page/title/River")]),
        (page(7, "visibility_change"), []),
        (
            resource(1, "https://en.wiki.example/wiki/Caf%C3%A9_A%2FB"),
            [("GET", "/api/rest_v1/page/summary/Caf%C3%A9_A%2FB")],
        ),
        (
            resource(1, "https://en.wiki.example/wiki/River?action=raw", tags=["purge"]),
            [("PURGE", "/wiki/River?action=raw")],
        ),
        (resource(1, "https://en.wiki.example/w/index.php?title=River"), []),
    ],
)
def test_what_each_change_leads_to(event: Event, asked: list[tuple[str, str]], tmp_path: Path) -> None:
    with recording() as service:
        ran = sent([event], tmp_path, service)
    assert ran.errors == []
    assert [(one.method, one.target) for one in service.requests] == asked


def test_two_failures_are_two_retry_events_and_then_a_success(tmp_path: Path) -> None:
    with recording(lambda number, asked: 503 if number < 2 else 200) as service:
        ran = sent([page(7)], tmp_path, service)
    assert len(service.requests) == 3
    assert ran.errors == []
    assert [retry["retries_left"] for retry in ran.outputs] == [2, 1]
    assert {retry["emitter_id"] for retry in ran.outputs} == {"change_propagation#page_html"}
    assert {retry["meta"]["stream"] for retry in ran.outputs} == {f"{SENDING}.retry.mediawiki.page_change.v1"}
    assert [retry["original_event"]["revision"]["rev_id"] for retry in ran.outputs] == [7, 7]
    assert len({retry["meta"]["id"] for retry in ran.outputs}) == 2


@pytest.mark.parametrize(
    ("status", "times", "retries", "errors"), [(412, 1, 0, 0), (404, 1, 0, 1), (400, 1, 0, 1), (500, 3, 2, 1)]
)
def test_which_failures_are_repeated(status: int, times: int, retries: int, errors: int, tmp_path: Path) -> None:
    with recording(lambda number, asked: status) as service:
        ran = sent([page(7)], tmp_path, service)
    assert (len(service.requests), len(ran.outputs), len(ran.errors)) == (times, retries, errors)


def test_a_chain_that_comes_back_to_its_beginning_ends(tmp_path: Path) -> None:
    uris = {"A": "https://en.wiki.example/wiki/A", "B": "https://en.wiki.example/wiki/B"}
    events, asked = [resource(1, uris["A"])], []
    for number, following in ((2, "B"), (3, "A"), (4, "B")):
        with recording() as service:
            sent(events, tmp_path, service)
        asked += [request.target.rpartition("/")[2] for request in service.requests]
        # What was asked for changes the next resource, which says why.
        events = [
            resource(number, uris[following], triggered_by=request.headers["x-triggered-by"])
            for request in service.requests
        ]
    assert asked == ["A", "B"]


def test_a_rule_without_its_field_is_an_error_event_and_the_others_run(tmp_path: Path) -> None:
    # Without `meta.domain` there is no address to ask.
    event = resource(1, "https://en.wiki.example/wiki/River")
    del event["meta"]["domain"]
    purge = resource(2, "https://en.wiki.example/wiki/River", tags=["purge"])
    ran = requests([event, purge], tmp_path)
    assert [request["rule"] for request in ran.outputs] == ["page_purged"]
    assert [error["error_type"] for error in ran.errors] == ["RULE_FAILED"]
    assert "the rule page_summary" in ran.errors[0]["message"]


def test_canaries_lead_to_nothing(tmp_path: Path) -> None:
    event = page(7)
    event["meta"]["domain"] = "canary"
    assert requests([event, page(8)], tmp_path).outputs[0]["event"]["revision"]["rev_id"] == 8


def test_each_stream_has_its_retries_and_the_failures_a_stream() -> None:
    job = job_named(SENDING)
    assert job.writes().errors == f"{SENDING}.error"
    streams = job_named(RULES).reads()
    assert job.writes().outputs == tuple(f"{SENDING}.retry.{stream}" for stream in streams)


@requires_fixtures(FIXTURES / REAL)
def test_each_edit_of_a_real_page_is_rendered_once(tmp_path: Path) -> None:
    events = at_least_one(read(REAL))
    kinds = ("create", "edit", "move", "undelete")
    edits = [event for event in events if event["page_change_kind"] in kinds and not event["page"]["is_redirect"]]
    failed = {event["revision"]["rev_id"] for event in edits if event["revision"]["rev_id"] % 17 == 0}
    assert 0 < len(failed) < 10
    left = {f"/{rev_id}" for rev_id in failed}

    def status(number: int, asked: Asked) -> int:
        """A few edits fail once: fewer than their page may have in an hour."""
        rev_id = asked.target[asked.target.rindex("/") :]
        is_first = rev_id in left
        left.discard(rev_id)
        return 503 if is_first else 200

    with recording(status) as service:
        ran = sent(events, tmp_path, service)
    assert ran.errors == []
    rendered = [asked.target for asked in service.requests if "/page/html/" in asked.target]
    assert len(set(rendered)) == len(edits)
    assert len(rendered) == len(edits) + len(failed)
    assert {retry["original_event"]["revision"]["rev_id"] for retry in ran.outputs} == failed
    assert len(ran.outputs) == len(failed)
