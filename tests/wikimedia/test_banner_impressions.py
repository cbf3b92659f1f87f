"""The job banner_impressions: the golden with its late events, the weight of a sample, and what cannot be counted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, interleaved, job_named, only, read, run, run_files

JOB = "banner_impressions"
INPUT = "synthetic/SYNTHETIC_centralnotice_impression.jsonl.gz"
GOLDEN = "synthetic/SYNTHETIC_banner_impressions_minutely.expected.jsonl"
LATE = "synthetic/SYNTHETIC_banner_impressions_late.expected.jsonl"


def rows(events: list[Event]) -> list[list[tuple[str, Any]]]:
    golden = at_least_one(read(GOLDEN))
    return sorted(sorted(row.items()) for row in only(events, golden[0]))


@requires_fixtures(FIXTURES)
def test_the_minutes_are_those_of_the_golden_without_repeats_canaries_and_late_events(tmp_path: Path) -> None:
    late = {row["meta.id"] for row in at_least_one(read(LATE))}
    events = at_least_one(read(INPUT))
    file = tmp_path / "late.jsonl"

    ran = run_files(JOB, events, tmp_path, "--late", str(file))

    assert ran.errors == []
    assert rows(ran.outputs) == rows(read(GOLDEN))
    assert ran.late == len(late)
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert {event["meta"]["id"] for event in written} == late


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("seed", [1, 2])
def test_sorted_by_time_a_shuffled_file_gives_the_minutes_of_the_golden_too(seed: int, tmp_path: Path) -> None:
    late = {row["meta.id"] for row in read(LATE)}
    events = [event for event in read(INPUT) if event["meta"]["id"] not in late]
    random.Random(seed).shuffle(events)
    ran = run_files(JOB, events, tmp_path, "--order", "event-time")
    assert (ran.errors, ran.late) == ([], 0)
    assert rows(ran.outputs) == rows(read(GOLDEN))


@requires_fixtures(FIXTURES)
async def test_shuffled_partitions_give_the_minutes_of_the_golden() -> None:
    late = {row["meta.id"] for row in read(LATE)}
    known = {event["meta"]["id"]: event for event in read(INPUT) if event["meta"]["id"] not in late}
    countries: dict[str, list[Event]] = {}
    for event in known.values():
        countries.setdefault(event["event"]["country"], []).append(event)
    ran = await run(job_named(JOB), interleaved(list(countries.values()), seed=2))
    assert ran.errors == []
    assert rows(ran.outputs) == rows(read(GOLDEN))


def impression(second: float, rate: float = 0.1, **also: Any) -> Event:
    at = f"2026-01-31T12:{int(second) // 60:02}:{int(second) % 60:02}Z"
    fields = {"campaign": "c", "banner": "b", "project": "p", "country": "FR", "uselang": "en", "device": "d"}
    event = {**fields, "statusCode": "6", "impressionEventSampleRate": rate, **also}
    meta = {"stream": "eventlogging_CentralNoticeImpression", "id": f"{second}{rate}{also}", "dt": at}
    uri = "/analytics/legacy/centralnoticeimpression/1.1.0"
    return {"$schema": uri, "meta": meta, "dt": at, "event": {k: v for k, v in event.items() if v is not None}}


@pytest.mark.parametrize(
    ("rates", "expected"),
    [([0.3], 3), ([0.3] * 3, 10), ([1], 1), ([0.01, 1, 0.5], 103), ([0.4], 2), ([2.0], 0), ([2.0, 2.0], 1)],
)
def test_the_weights_of_a_row_are_rounded_once(rates: list[float], expected: int, tmp_path: Path) -> None:
    ran = run_files(JOB, [impression(number, rate) for number, rate in enumerate(rates)], tmp_path)
    assert only(ran.outputs, ["events", "impressions"]) == [{"events": len(rates), "impressions": expected}]


def test_what_cannot_be_counted_is_an_error_event(tmp_path: Path) -> None:
    wrong = [impression(3, 0.0), impression(4, -0.1), impression(5, country=""), impression(6, country=None)]
    wrong += [impression(9, 1e-300), impression(10, 1e-320)]
    wrong += [impression(7, "0.1"), impression(8, True)]  # type: ignore[arg-type]
    ran = run_files(JOB, [*wrong, impression(1), impression(2, banner=None)], tmp_path)
    assert len(ran.errors) == len(wrong)
    assert sorted(row["banner"] for row in ran.outputs) == ["", "b"]


def test_one_clock_that_is_a_day_ahead_makes_no_other_event_late(tmp_path: Path) -> None:
    events = [impression(number) for number in range(0, 300, 20)]
    ahead = impression(100, country="DE")
    ahead["dt"] = ahead["meta"]["dt"] = "2026-02-01T12:00:00Z"
    alone = run_files(JOB, events, tmp_path)
    ran = run_files(JOB, [*events[:5], ahead, *events[5:]], tmp_path)
    assert (ran.late, ran.errors) == (0, [])
    assert rows([row for row in ran.outputs if row["country"] == "FR"]) == rows(alone.outputs)
    assert [row["events"] for row in ran.outputs if row["country"] == "DE"] == [1]


def test_an_event_is_late_when_its_minute_ended_a_minute_before_the_newest_event(tmp_path: Path) -> None:
    on_time = [impression(10), impression(119), impression(20), impression(120), impression(61)]
    ran = run_files(JOB, [*on_time, impression(30)], tmp_path)
    assert ran.late == 1
    assert only(ran.outputs, ["minute", "events"]) == [
        {"minute": "2026-01-31T12:00:00Z", "events": 2},
        {"minute": "2026-01-31T12:01:00Z", "events": 2},
        {"minute": "2026-01-31T12:02:00Z", "events": 1},
    ]
