"""The job traffic_anomalies: the golden, a real day without any, silence, canaries and the statistics."""

from __future__ import annotations

import random
import statistics
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, in_project, interleaved, job_named, only, read, run, run_files

JOB = "traffic_anomalies"
REQUESTS = "synthetic/SYNTHETIC_webrequest.jsonl.gz"
GOLDEN = "synthetic/SYNTHETIC_webrequest_anomalies.expected.jsonl"
DAY = "derived/recentchange_2016-06-27.jsonl.gz"
NAMES = ["mad", "median", "minute", "score", "value"]


@requires_fixtures(FIXTURES)
def test_a_shuffled_file_gives_the_anomalies_of_the_golden(tmp_path: Path) -> None:
    events = at_least_one(read(REQUESTS))
    random.Random(2).shuffle(events)
    ran = run_files(JOB, [*events, *events[:100]], tmp_path)
    assert (ran.errors, ran.late) == ([], 0)
    assert only(ran.outputs, NAMES) == read(GOLDEN)


@requires_fixtures(FIXTURES)
async def test_shuffled_partitions_give_them_too() -> None:
    events = at_least_one(read(REQUESTS))
    ran = await run(job_named(JOB), interleaved([events[::2], events[1::2]], seed=1))
    assert ran.errors == []
    assert only(ran.outputs, NAMES) == read(GOLDEN)


@requires_fixtures(FIXTURES)
def test_a_real_day_has_none(tmp_path: Path) -> None:
    ran = run_files(JOB, at_least_one(read(DAY))[::4], tmp_path)
    assert (ran.outputs, ran.errors) == ([], [])


def requests(minute: int, count: int, *, canary: bool = False) -> list[Event]:
    at = [f"2026-01-31T12:{minute:02}:{second % 60:02}Z" for second in range(count)]
    domain = "canary" if canary else "a.example"
    return [
        {
            "$schema": "/webrequest/1.0.0",
            "meta": {"stream": "webrequest.text", "id": f"{minute}-{number}-{domain}", "dt": dt, "domain": domain},
            "dt": dt,
        }
        for number, dt in enumerate(at)
    ]


def usual(minutes: range, count: int = 60) -> list[Event]:
    return [event for minute in minutes for event in requests(minute, count + minute % 3)]


def test_a_silent_minute_is_an_anomaly_only_if_a_canary_was_seen(tmp_path: Path) -> None:
    events = [*usual(range(12)), *requests(12, 1, canary=True), *usual(range(14, 16)), *requests(16, 1, canary=True)]
    ran = run_files(JOB, [*requests(0, 1, canary=True), *events], tmp_path)
    assert only(ran.outputs, ["minute", "value"]) == [
        {"minute": "2026-01-31T12:12:00Z", "value": 0},
        {"minute": "2026-01-31T12:16:00Z", "value": 0},
    ]
    assert all(row["score"] < 0 for row in ran.outputs)


def test_anomalous_and_unknown_minutes_are_no_points_of_comparison(tmp_path: Path) -> None:
    events = [*usual(range(12)), *requests(12, 600), *usual(range(15, 17)), *requests(17, 600)]
    ran = run_files(JOB, events, tmp_path)
    assert only(ran.outputs, ["minute", "value", "median", "mad"]) == [
        {"minute": f"2026-01-31T12:{minute}:00Z", "value": 600, "median": 61, "mad": mad}
        for minute, mad in (("12", 1.0), ("17", 1.0))
    ]


def test_a_series_starts_at_its_first_event_and_is_not_compared_with_few_minutes(tmp_path: Path) -> None:
    assert run_files(JOB, [*requests(0, 1), *requests(1, 500)], tmp_path).outputs == []


@given(st.lists(st.integers(0, 50), min_size=10, max_size=30), st.integers(0, 500))
def test_the_score_is_that_of_median_and_mad(before: list[int], value: int) -> None:
    found = in_project("content.unusual").unusual(value, before)
    median = statistics.median(before)
    mad = statistics.median(abs(one - median) for one in before)
    score = 0.6745 * (value - median) / max(mad, 1)
    assert (found is not None) == (abs(score) > 6)
    if found is not None:
        assert (found.median, found.mad, found.score) == (median, mad, round(score, 3))
