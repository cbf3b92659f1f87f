"""The job referrer_spikes: the golden, which referrers count, the pause after an alert, and what is kept private."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, in_project, interleaved, job_named, only, read, run, run_files
from wikimedia.web_requests import FIXTURE, request

JOB = "referrer_spikes"
GOLDEN = "synthetic/SYNTHETIC_referrer_spikes.expected.jsonl"
NAMES = ("minute", "referrer_host", "count", "baseline_median", "score")


@requires_fixtures(FIXTURES / GOLDEN)
def test_a_shuffled_file_with_repeats_gives_the_golden(tmp_path: Path) -> None:
    events = at_least_one(read(FIXTURE))
    random.Random(2).shuffle(events)
    ran = run_files(JOB, [*events, *events[:300]], tmp_path)
    assert (only(ran.outputs, NAMES), ran.errors) == (read(GOLDEN), [])


@requires_fixtures(FIXTURES / GOLDEN)
@pytest.mark.parametrize("restarts", [0, 3])
async def test_live_over_partitions_with_canaries_and_restarts_it_is_the_golden(restarts: int) -> None:
    events = at_least_one(read(FIXTURE))
    canaries = [{**event, "meta": {**event["meta"], "domain": "canary"}} for event in events[5::300]]
    mixed = sorted([*events, *canaries], key=lambda event: event["dt"])
    placed = interleaved([mixed[::2], mixed[1::2]], seed=3) if restarts == 0 else [(0, event) for event in mixed]
    ran = await run(job_named(JOB), placed, restarts=restarts)
    assert (only(ran.outputs, NAMES), ran.errors) == (read(GOLDEN), [])


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        ("https://News.Example.net:8443/story?a=b", "news.example.net"),
        ("http://news.example.net.", "news.example.net"),
        ("https://notwikipedia.org/", "notwikipedia.org"),
        ("https://wikipedia.org/", None),
        ("https://en.m.wikipedia.org/wiki/River", None),
        ("-", None),
        ("", None),
        (None, None),
        ("android-app://org.example", None),
        ("https://[::1", None),
        ("https:///path", None),
        (f"https://{'a' * 254}/", None),
    ],
)
def test_the_external_host_of_a_referrer(referrer: Any, host: str | None) -> None:
    assert in_project("content.referrers").external_host(referrer, ["wikipedia.org"]) == host


def visits(minute: int, count: int, **more: Any) -> list[Event]:
    given = {"referer": "https://news.example.net/", **more}
    return [request(minute * 1000 + n, minute * 60 + n % 60, **given) for n in range(count)]


def quiet(minutes: range) -> list[Event]:
    return [event for minute in minutes for event in visits(minute, 1, referer="-")]


def minutes(ran: Any) -> list[int]:
    return [int(row["minute"][14:16]) for row in ran.outputs]


def test_after_an_alert_ten_minutes_are_silent(tmp_path: Path) -> None:
    events = quiet(range(40))
    # Every second minute: the median stays that of the other ones.
    for minute in (15, 17, 21, 25, 27):
        events += visits(minute, 80)
    assert minutes(run_files(JOB, events, tmp_path)) == [15, 27]


@pytest.mark.parametrize(("count", "alerts"), [(49, []), (50, [12])])
def test_fewer_than_fifty_are_no_spike(count: int, alerts: list[int], tmp_path: Path) -> None:
    assert minutes(run_files(JOB, [*quiet(range(12)), *visits(12, count)], tmp_path)) == alerts


def test_with_few_minutes_before_nothing_is_known(tmp_path: Path) -> None:
    assert run_files(JOB, [*quiet(range(9)), *visits(9, 500)], tmp_path).outputs == []


def test_what_is_often_is_no_spike(tmp_path: Path) -> None:
    events = [event for minute in range(30) for event in visits(minute, 60 + minute % 4)]
    assert run_files(JOB, events, tmp_path).outputs == []


def test_no_client_is_told_and_no_page_that_few_asked_for(tmp_path: Path) -> None:
    events = [*quiet(range(12)), *visits(12, 60), *visits(12, 9, uri_path="/wiki/Secret", uri_query="?token=1")]
    events = [{**event, "meta": {**event["meta"], "id": str(n)}} for n, event in enumerate(events)]
    (spike,) = run_files(JOB, events, tmp_path).outputs
    assert (spike["count"], spike["pages"]) == (69, [{"page": "en.wiki.example/wiki/River", "count": 60}])
    assert not {"192.0.2.1", "Secret", "token"} & set(json.dumps(spike).replace('"', " ").split())
    assert spike["meta"].keys() == {"stream", "id", "dt"}
