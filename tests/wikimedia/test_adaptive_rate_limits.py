"""The job adaptive_rate_limits and its table: the golden, the bucket of a client, and what holds without state."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.run_job import run as run_in_memory
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, in_project, interleaved, job_named, only, read, run, run_files
from wikimedia.web_requests import FIXTURE, request

JOB = "adaptive_rate_limits"
TABLE = "rate_limits"
GOLDEN = "synthetic/SYNTHETIC_rate_limit_decisions.expected.jsonl"
MINUTES, DECISIONS = "rate_limit_minute.v1", "rate_limit_decision.v1"
NAMES = ("minute", "limit_per_client_per_minute", "requests", "allowed", "denied", "denied_clients")


def of(outputs: list[Event], stream: str) -> list[Event]:
    return [event for event in outputs if event["meta"]["stream"] == stream]


@requires_fixtures(FIXTURES / GOLDEN)
def test_a_shuffled_file_with_repeats_gives_the_golden(tmp_path: Path) -> None:
    events = at_least_one(read(FIXTURE))
    random.Random(2).shuffle(events)
    ran = run_files(JOB, [*events, *events[:300]], tmp_path)
    assert (only(of(ran.outputs, MINUTES), NAMES), ran.errors, ran.late) == (read(GOLDEN), [], 0)


@requires_fixtures(FIXTURES / GOLDEN)
@pytest.mark.parametrize("restarts", [0, 3])
async def test_live_over_partitions_with_canaries_and_restarts_it_is_the_golden(restarts: int) -> None:
    events = at_least_one(read(FIXTURE))
    canaries = [{**event, "meta": {**event["meta"], "domain": "canary"}} for event in events[5::300]]
    mixed = sorted([*events, *canaries], key=lambda event: event["dt"])
    placed = interleaved([mixed[::2], mixed[1::2]], seed=3) if restarts == 0 else [(0, event) for event in mixed]
    ran = await run(job_named(JOB), placed, restarts=restarts)
    assert (only(of(ran.outputs, MINUTES), NAMES), ran.errors) == (read(GOLDEN), [])


def burst(count: int, second: float, *, number: int = 0, **more: Any) -> list[Event]:
    return [request(number + n, second + n / 1000, **more) for n in range(count)]


def rows(ran: Any) -> list[tuple[float, int, int]]:
    return [(row["limit_per_client_per_minute"], row["requests"], row["denied"]) for row in of(ran.outputs, MINUTES)]


def test_a_bucket_is_full_at_first_and_refills_with_time(tmp_path: Path) -> None:
    events = [*burst(61, 0), *burst(2, 1.5, number=100), *burst(61, 200, number=200)]
    assert rows(run_files(JOB, events, tmp_path)) == [(60.0, 63, 2), (60.0, 61, 1)]


def test_each_client_has_a_bucket_of_its_own(tmp_path: Path) -> None:
    events = [*burst(60, 0), *burst(60, 0.1, number=100, ip="192.0.2.2")]
    assert rows(run_files(JOB, events, tmp_path)) == [(60.0, 120, 0)]


def test_the_limit_is_halved_down_to_the_least_and_rises_by_six_also_in_silent_minutes(tmp_path: Path) -> None:
    failing = [event for m in range(5) for event in burst(10, m * 60, number=m * 100, http_status="503")]
    after = [event for m in (5, 6, 9) for event in burst(1, m * 60, number=m * 100)]
    limits = [limit for limit, _, _ in rows(run_files(JOB, [*failing, *after], tmp_path))]
    assert limits == [60.0, 30.0, 15.0, 7.5, 6.0, 6.0, 12.0, 30.0]


def test_five_percent_of_failures_are_none_and_denied_requests_count(tmp_path: Path) -> None:
    few = [*burst(5, 0, http_status="500"), *burst(95, 0.1, number=100), *burst(1, 60, number=300)]
    more = [*burst(5, 0, http_status="500"), *burst(94, 0.1, number=100), *burst(1, 60, number=300)]
    assert [limit for limit, _, _ in rows(run_files(JOB, few, tmp_path))] == [60.0, 60.0]
    assert [limit for limit, _, _ in rows(run_files(JOB, more, tmp_path))] == [60.0, 30.0]


def test_the_table_says_who_has_to_wait_until_when_and_forgets_them(tmp_path: Path) -> None:
    denied = run_files(JOB, burst(70, 0), tmp_path)
    table = {row["client"]: row for row in run_in_memory(job_named(TABLE), of(denied.outputs, DECISIONS)).rows}
    assert (table["192.0.2.1"]["decision"], table["192.0.2.1"]["limit"]) == ("deny", 60.0)
    assert table["192.0.2.1"]["expires_at"] == "2026-01-31T12:00:02Z"
    assert len(of(denied.outputs, DECISIONS)) == 2, "one is enough while it is in force"

    later = run_files(JOB, [*burst(70, 0), *burst(1, 150, number=200, ip="192.0.2.2")], tmp_path)
    clients = {row["client"] for row in run_in_memory(job_named(TABLE), of(later.outputs, DECISIONS)).rows}
    assert clients == {"*"}


def test_a_lower_limit_is_said_as_long_as_it_holds(tmp_path: Path) -> None:
    failing = [event for m in range(7) for event in burst(10, m * 60, number=m * 100, http_status="503")]
    found = of(run_files(JOB, failing, tmp_path).outputs, DECISIONS)
    limits = [(row["dt"][14:16], row["expires_at"][14:16], row["limit"]) for row in found if row["client"] == "*"]
    assert limits[3:6] == [("03", "04", 7.5), ("04", "05", 6.0), ("05", "06", 6.0)]


@pytest.mark.parametrize(("setting", "limit"), [("open", 60.0), ("closed", 6.0)])
def test_without_state_it_begins_open_or_closed_and_says_so(setting: str, limit: float, tmp_path: Path) -> None:
    ran = run_files(JOB, burst(60, 0), tmp_path, "--set", f"without_state={setting}")
    (first, *_) = of(ran.outputs, DECISIONS)
    assert (first["client"], first["decision"], first["limit"]) == ("*", "state_lost", limit)
    assert rows(ran) == [(limit, 60, 60 - int(limit))]


def test_a_request_without_a_client_is_an_error_event(tmp_path: Path) -> None:
    event = request(1, 0)
    del event["ip"]
    assert [error["error_type"] for error in run_files(JOB, [event], tmp_path).errors] == ["INVALID_INPUT"]


def test_a_token_comes_when_the_bucket_says() -> None:
    buckets = in_project("content.token_buckets")
    assert buckets.seconds_to_token(0.5, 60.0) == 0.5
    assert buckets.refilled(0.0, buckets.seconds_to_token(0.0, 7.5), 7.5) == 1.0
    assert buckets.refilled(5.0, -3.0, 60.0) == 5.0
