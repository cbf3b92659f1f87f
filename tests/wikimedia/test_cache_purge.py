"""The job cache_purge: which purges are sent to which caches, in which order, and what is counted."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import JobOutcome, JobTest
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, Ran, job_named, read, run_files
from wikimedia.recording_service import recording

JOB = "cache_purge"
EVENTS = "synthetic/SYNTHETIC_resource_purge.jsonl"
EXPECTED = "synthetic/SYNTHETIC_resource_purge_http.expected.jsonl"
DELAY = ("--set", "frontend_delay=20ms")


def purge(number: int, uri: Any = "https://en.wiki.example/wiki/River", **more: Any) -> Event:
    meta = {"stream": "resource-purge", "id": f"purge-{number}", "dt": "2026-01-31T12:00:00Z", "uri": uri}
    meta |= more.pop("meta", {})
    return {"$schema": "/resource_change/1.0.0", "meta": {k: v for k, v in meta.items() if v is not None}, **more}


def run_with(events: list[Event], folder: Path, backends: str, frontends: str, *options: str) -> Ran:
    servers = ("--set", f"backends={backends}", "--set", f"frontends={frontends}")
    return run_files(JOB, events, folder, *servers, *options)


@requires_fixtures(FIXTURES / EXPECTED)
def test_the_requests_are_the_expected_ones_in_both_layers_a_second_apart(tmp_path: Path) -> None:
    expected = at_least_one(read(EXPECTED))
    with recording() as back, recording() as front:
        # Through the intake two of them would never come: they violate formats of the schema.
        ran = run_with(read(EVENTS), tmp_path, back.url, front.url, "--no-validate", "--order", "arrival")
    assert ran.errors == []
    wanted = sorted(
        (row["http"]["method"], row["http"]["target"], row["http"]["Host"]) for row in expected if "http" in row
    )
    for layer in (back, front):
        assert sorted((asked.method, asked.target, asked.headers["host"]) for asked in layer.requests) == wanted
    for asked in front.requests:
        (before,) = [one for one in back.requests if one.target == asked.target]
        assert asked.at - before.at >= 1.0
    statuses = {row["event_id"]: row["status"] for row in ran.outputs}
    assert statuses == {row["meta.id"]: row["status"] for row in expected}


@requires_fixtures(FIXTURES / EVENTS)
def test_what_violates_the_schema_is_an_error_event(tmp_path: Path) -> None:
    with recording() as back:
        ran = run_with(at_least_one(read(EVENTS)), tmp_path, back.url, "", *DELAY)
    assert {error["error_type"] for error in ran.errors} == {"INVALID_INPUT"}
    assert len(ran.outputs) + len(ran.errors) == len(read(EVENTS))


@pytest.mark.parametrize(
    ("uri", "host", "target"),
    [
        ("https://en.wiki.example", "en.wiki.example", "/"),
        ("https://en.wiki.example?a=b", "en.wiki.example", "/?a=b"),
        ("http://en.wiki.example:8080/wiki/River#bank", "en.wiki.example:8080", "/wiki/River"),
        ("https://user:word@en.wiki.example/wiki/River", "en.wiki.example", "/wiki/River"),
        ("https://en.wiki.example/wiki/A%2FB?x=%26", "en.wiki.example", "/wiki/A%2FB?x=%26"),
    ],
)
def test_what_is_sent_for_an_address(uri: str, host: str, target: str, tmp_path: Path) -> None:
    with recording() as back:
        ran = run_with([purge(1, uri)], tmp_path, back.url, "")
    assert ran.errors == []
    assert [(asked.headers["host"], asked.target) for asked in back.requests] == [(host, target)]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (purge(1, None), "discarded"),
        (purge(1, "/wiki/River"), "discarded"),
        (purge(1, "ftp://en.wiki.example/x"), "discarded"),
        (purge(1, "https://"), "discarded"),
        (purge(1, "https://upload.wiki.example/x.jpg"), "filtered"),
        (purge(1, root_event={"dt": "2026-01-30T11:59:59Z"}), "expired"),
        (purge(1, root_event={"dt": "2026-01-30T12:00:00Z"}), "ok"),
        (purge(1, root_event={"dt": "yesterday"}), "ok"),
        (purge(1, root_event={"signature": "s"}), "ok"),
        (purge(1, root_event={"dt": "2026-02-01T12:00:00Z"}), "ok"),
    ],
)
def test_what_becomes_of_an_event(event: Event, status: str, tmp_path: Path) -> None:
    with recording() as back:
        ran = run_with([event], tmp_path, back.url, "")
    assert [row["status"] for row in ran.outputs] == [status]
    assert len(back.requests) == (status == "ok")


def live(events: list[Event], at: str, **settings: Any) -> JobOutcome:
    answers = {"PURGE http://*.test/*": 200}
    chosen = {"backends": "http://back.test", "frontends": "", "frontend_delay": "1ms", **settings}
    with JobTest(job_named(JOB), http=answers, settings=chosen, at=at) as test:
        test.put(*events)
        return test.process()


@pytest.mark.parametrize(("at", "status"), [("2026-02-01T12:00:00Z", "ok"), ("2026-02-01T12:00:01Z", "expired")])
def test_in_a_live_run_age_is_by_the_clock(at: str, status: str) -> None:
    assert [row["status"] for row in live([purge(1)], at).values] == [status]


def test_a_repeated_id_is_purged_once() -> None:
    events = [purge(1), purge(1), purge(2), purge(1)]
    assert [row["event_id"] for row in live(events, "2026-01-31T12:00:00Z").values] == ["purge-1", "purge-2"]


def test_a_server_that_is_down_delays_and_stops_no_other(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with recording() as back, recording() as front:
            events = [purge(number, f"https://en.wiki.example/wiki/{number}") for number in range(20)]
            ran = run_with(events, tmp_path, f"{down} {back.url}", f"{front.url} {down}", *DELAY)
    assert ran.errors == []
    assert [row["servers_failed"] for row in ran.outputs] == [2] * len(events)
    for layer in (back, front):
        assert len(layer.requests) == len(events)


def test_a_server_that_fails_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    with recording(lambda number, asked: 503 if number == 0 else 404) as back:
        ran = run_with([purge(1)], tmp_path, back.url, "")
    assert [row["servers_failed"] for row in ran.outputs] == [0]
    assert len(back.requests) == 2


def test_without_caches_nothing_is_lost(tmp_path: Path) -> None:
    ran = run_with([purge(1)], tmp_path, "", "")
    assert ran.outputs == []
    assert "backends" in ran.errors[0]["message"]
