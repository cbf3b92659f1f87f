"""The job client_errors: the golden, signatures, the limit of a minute, and what an error does not say."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.project import (
    FIXTURES,
    Event,
    in_project,
    interleaved,
    job_named,
    only,
    partitioned,
    read,
    run,
    run_files,
)

JOB = "client_errors"
ERRORS = "synthetic/SYNTHETIC_client_error.jsonl.gz"
GOLDEN = "synthetic/SYNTHETIC_client_error_summaries.expected.jsonl"
FIELDS = ("count", "first_id", "kind", "signature", "wiki", "window_start", "dropped")


def rows(events: list[Event]) -> list[list[tuple[str, Any]]]:
    return sorted(sorted(row.items()) for row in only(events, FIELDS))


@requires_fixtures(FIXTURES)
@pytest.mark.parametrize("seed", [1, 2])
async def test_errors_of_shuffled_partitions_give_the_summaries_of_the_golden(seed: int) -> None:
    events = partitioned(at_least_one(read(ERRORS)), ["error_context.wiki"], 3)
    ran = await run(job_named(JOB), interleaved(events, seed))
    assert ran.errors == []
    assert rows(ran.outputs) == rows(read(GOLDEN))


@requires_fixtures(FIXTURES)
def test_a_shuffled_file_with_repeats_and_canaries_gives_them_too(tmp_path: Path) -> None:
    events = at_least_one(read(ERRORS))
    canaries = [
        {**event, "meta": {**event["meta"], "id": f"c{n}", "domain": "canary"}} for n, event in enumerate(events)
    ]
    given = [*events, *events[:40], *canaries[:40]]
    random.Random(4).shuffle(given)
    ran = run_files(JOB, given, tmp_path)
    assert (ran.errors, ran.late) == ([], 0)
    assert rows(ran.outputs) == rows(read(GOLDEN))


def error(second: float, message: Any = "m", **also: Any) -> Event:
    at = f"2026-01-31T12:{int(second) // 60:02}:{second % 60:06.3f}Z"
    meta = {"stream": "mediawiki.client.error", "id": f"id-{second}-{message}", "dt": at, "domain": "a.example"}
    return {
        "$schema": "/mediawiki/client/error/2.0.0",
        "meta": meta,
        "message": message,
        "error_context": {"wiki": "a"},
    } | also


def test_known_signatures_pass_when_the_limit_is_reached_and_dropped_counts_events(tmp_path: Path) -> None:
    letters = [chr(ord("a") + number) for number in range(22)]
    events = [error(n, letter) for n, letter in enumerate([*letters, "a", "v", "v", "t"])]
    events += [error(60, "v"), error(61, "v", error_context={"wiki": "b"})]
    ran = run_files(JOB, events, tmp_path)
    first = [row for row in ran.outputs if row["window_start"] == "2026-01-31T12:00:00Z"]
    summaries = [row for row in first if row["kind"] == "summary"]
    assert [row["first_id"] for row in summaries] == [event["meta"]["id"] for event in events[:20]]
    assert [row["count"] for row in summaries] == [2, *[1] * 18, 2]
    assert [row["dropped"] for row in first if row["kind"] == "rate_limited"] == [4]
    assert sorted((row["wiki"], row["count"]) for row in ran.outputs if row not in first) == [("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"message": "x 12 y"}, {"message": "x 7 y"}, True),
        ({"message": "at https://a.example/1?q in"}, {"message": "at http://b.example/ in"}, True),
        ({"message": "x ٣"}, {"message": "x 3"}, True),
        ({"message": "x"}, {"message": "y"}, False),
        ({"file_url": "https://a.example/x.js?v=1"}, {"file_url": "https://a.example/x.js?v=2"}, True),
        ({"file_url": "https://a.example/x1.js"}, {"file_url": "https://a.example/x2.js"}, False),
        ({"stack_trace": "at f:1\nat g"}, {"stack_trace": "at f:22\r\nat h"}, True),
        ({"stack_trace": "at f:1"}, {"stack_trace": "at g:1"}, False),
        ({"error_class": ""}, {}, True),
        ({"error_class": "TypeError"}, {}, False),
        ({"stack_trace": "\n"}, {}, True),
    ],
)
def test_errors_with_the_same_cause_have_the_same_signature(one: Event, other: Event, same: bool) -> None:
    signature = in_project("jobs.client_errors").signature
    assert (signature({"message": "m", **one}) == signature({"message": "m", **other})) is same


def test_the_first_error_of_each_cause_passes_at_once(tmp_path: Path) -> None:
    letters = [chr(ord("a") + number) for number in range(22)]
    events = [error(n, letter) for n, letter in enumerate([*letters, "a", "v", "t"])]
    events += [error(60, "v"), error(61, "v", error_context={"wiki": "b"}), error(62, "v", stack_trace="x" * 50_000)]
    ran = run_files(f"{JOB}_first", events, tmp_path)
    assert (ran.errors, ran.late) == ([], 0)
    expected = [*events[:20], events[25], events[26], events[27]]
    assert only(ran.outputs, ["message"]) == only(expected, ["message"])
    assert len(ran.outputs[-1]["stack_trace"]) == 10_000
    first = {row["first_id"] for row in run_files(JOB, events, tmp_path).outputs if row["kind"] == "summary"}
    assert first == {event["meta"]["id"] for event in expected}, "the same ones"


@pytest.mark.parametrize("job", [JOB, f"{JOB}_first"])
def test_an_error_is_late_when_its_minute_is_over(job: str, tmp_path: Path) -> None:
    events = [error(10), error(69, "b"), error(20, "c"), error(70, "d"), error(30, "e")]
    file = tmp_path / "late.jsonl"
    ran = run_files(job, events, tmp_path, "--order", "arrival", "--late", str(file))
    assert (ran.late, len(ran.outputs)) == (1, 4)
    assert [json.loads(line)["message"] for line in file.read_text("utf-8").splitlines()] == ["e"]


def test_an_error_without_a_wiki_belongs_to_its_domain_and_one_without_a_message_is_refused(
    tmp_path: Path,
) -> None:
    nameless = error(1)
    del nameless["error_context"]
    broken = error(2)
    del broken["message"]
    ran = run_files(JOB, [nameless, broken, error(3, 5), "{", error(4, error_context={})], tmp_path)
    assert only(ran.outputs, ["wiki", "count"]) == [{"wiki": "a.example", "count": 2}]
    assert len(ran.errors) == 3
