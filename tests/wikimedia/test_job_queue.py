"""The jobs of job_queue.py: which jobs of wikis run, in which lane, when, how often, and what is said of failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.testing.answers import Answer
from headwater.testing.run_job import JobOutcome, JobTest
from requirements import at_least_one, requires_fixtures
from wikimedia.project import FIXTURES, Event, in_project, interleaved, job_named, read, run, run_files
from wikimedia.recording_service import Asked, recording

ADMISSION, QUEUE, LOW = "job_queue_admission", "job_queue", "job_queue_low"
JOBS = "synthetic/SYNTHETIC_jobs.jsonl"
EXPECTED = "synthetic/SYNTHETIC_jobs.expected.jsonl"
START = "2026-01-15T12:01:00Z"
EXECUTOR = "https://executor.test/rpc"
DEFAULT, LANE_LOW, RETRIES = "cpjobqueue.partitioned.default", "cpjobqueue.partitioned.low", "cpjobqueue.retry.v1"


def admitted(events: list[Event], at: str = START) -> JobOutcome:
    with JobTest(job_named(ADMISSION), at=at) as test:
        test.put(*events)
        return test.process()


def numbers(claims: list[Event]) -> list[int]:
    return [claim["job"]["params"]["n"] for claim in claims]


def queue(answer: Any, *, name: str = QUEUE, at: str = START) -> JobTest:
    return JobTest(job_named(name), http={f"POST {EXECUTOR}": answer}, settings={"executor": EXECUTOR}, at=at)


def asked(test: JobTest) -> list[int]:
    return [json.loads(request.body)["params"]["n"] for request in test.http.requests]  # type: ignore[union-attr]


@requires_fixtures(FIXTURES / EXPECTED)
def test_which_jobs_run_and_in_which_lane_is_as_expected() -> None:
    expected = at_least_one(read(EXPECTED))
    found = admitted(read(JOBS))
    dropped = {row["n"] for row in expected if row["expect"].startswith("dedupe")}
    low = {row["n"] for row in expected if "low-priority" in row["expect"]}
    assert sorted(numbers(found[DEFAULT])) == [row["n"] for row in expected if row["n"] not in dropped | low]
    assert numbers(found[LANE_LOW]) == sorted(low)
    shards = {claim["database"]: claim["shard"] for claim in found[DEFAULT]}
    assert shards == {"enwiki": 0, "commonswiki": 3, "wikidatawiki": 7}
    assert found.errors == []


@requires_fixtures(FIXTURES / EXPECTED)
def test_when_and_how_often_they_run_and_what_is_written_is_as_expected() -> None:
    claims = admitted(at_least_one(read(JOBS)))[DEFAULT]
    times: dict[int, list[int]] = {}
    test = queue(lambda request: _golden_answer(json.loads(request.body)["params"]["n"], times))
    with test:
        test.put(*claims)
        waited = 0
        for seconds in (0, 59, 1, 359, 1, 1_000):
            waited += seconds
            before = len(asked(test))
            outcome = test.advance(f"{seconds}s") if seconds else test.process()
            for number in asked(test)[before:]:
                times.setdefault(number, []).append(waited)
    assert times == {0: [0], 2: [0], 3: [0], 5: [0], 6: [60], 8: [0, 60, 420], 9: [0, 60, 420]}
    retries = [(retry["original_event"]["params"]["n"], retry["retries_left"]) for retry in outcome[RETRIES]]
    assert sorted(retries) == [(8, 1), (8, 2), (9, 1), (9, 2)]
    assert {retry["emitter_id"] for retry in outcome[RETRIES]} == {"cpjobqueue#refreshLinks"}
    (error,) = outcome.errors
    assert (error["error_type"], json.loads(error["raw_event"])["job"]["params"]["n"]) == ("UNAVAILABLE", 9)


def _golden_answer(number: int, times: dict[int, list[int]]) -> int:
    return 500 if number == 9 or (number == 8 and len(times.get(8, ())) < 2) else 200


@requires_fixtures(FIXTURES / EXPECTED)
async def test_live_over_partitions_with_repeats_and_restarts_each_is_passed_on_once() -> None:
    events = at_least_one(read(JOBS))
    canary = {**events[2], "meta": {**events[2]["meta"], "domain": "canary", "id": "canary"}}
    events = [*events, canary, *events[5:]]
    # As in a log, by wiki.
    of_one = [event for event in events if event["database"] == "enwiki"]
    placed = interleaved([of_one, [event for event in events if event["database"] != "enwiki"]], seed=1)
    ran = await run(job_named(ADMISSION), placed, restarts=3)
    assert ran.errors == []
    once = [claim["meta"]["id"] for name in (DEFAULT, LANE_LOW) for claim in admitted(events)[name]]
    passed = [claim["meta"]["id"] for claims in ran.others.values() for claim in claims]
    assert sorted(passed) == sorted(once)
    assert len(once) == 8


@requires_fixtures(FIXTURES / JOBS)
def test_over_files_the_jobs_are_sent_to_the_executor(tmp_path: Path) -> None:
    claims = run_files(ADMISSION, at_least_one(read(JOBS)), tmp_path)
    assert claims.errors == []
    of_lane = [claim for claim in claims.outputs if claim["lane"] == "default"]
    with recording(lambda number, one: 500 if json.loads(one.body)["params"]["n"] == 9 else 200) as service:
        ran = run_files(QUEUE, of_lane, tmp_path, "--set", f"executor={service.url}")
    sent = [json.loads(one.body)["params"]["n"] for one in service.requests]
    assert sorted(sent) == sorted([*numbers(of_lane), 9, 9])
    assert [retry["retries_left"] for retry in ran.outputs] == [2, 1]
    assert [error["error_type"] for error in ran.errors] == ["UNAVAILABLE"]


def wiki_job(number: int, *, kind: str = "refreshLinks", **more: Any) -> Event:
    meta = {"stream": "mediawiki.job.refreshLinks", "id": f"job-{number}", "domain": "en.wiki.example"}
    meta |= {"dt": "2026-01-15T12:00:00Z"} | more.pop("meta", {})
    return {
        "$schema": "/mediawiki/job/1.0.0",
        "meta": meta,
        "database": "enwiki",
        "type": kind,
        "params": {"n": number},
        **more,
    }


def test_an_id_is_one_within_its_wiki() -> None:
    found = admitted([wiki_job(1), wiki_job(1), wiki_job(1, meta={"domain": "de.wiki.example"})])
    assert len(found[DEFAULT]) == 2


@pytest.mark.parametrize(
    ("made", "root", "runs"),
    [
        ("2026-01-15T12:00:58Z", None, False),
        ("2026-01-15T12:00:59Z", None, True),
        ("2026-01-15T12:01:00Z", "2026-01-15T12:00:58Z", False),
        ("2026-01-15T12:01:00Z", "2026-01-15T12:01:00Z", True),
    ],
)
def test_the_same_work_runs_again_only_if_it_was_wanted_after_it_ran(made: str, root: str | None, runs: bool) -> None:
    again = wiki_job(2, sha1="a", meta={"dt": made})
    if root is not None:
        again["root_event"] = {"signature": "s", "dt": root}
    found = admitted([wiki_job(1, sha1="a"), again])
    assert numbers(found[DEFAULT]) == ([1, 2] if runs else [1])


@pytest.mark.parametrize(("dt", "runs"), [("2026-01-08T12:01:00Z", True), ("2026-01-08T12:00:59Z", False)])
def test_a_root_event_of_more_than_seven_days_ago_is_abandoned(dt: str, runs: bool) -> None:
    found = admitted([wiki_job(1, root_event={"signature": "s", "dt": dt})])
    assert len(found[DEFAULT]) == runs


def test_a_newer_root_event_wins_for_a_day() -> None:
    roots = ("12:00:30", "12:00:20", "12:00:40")
    events = [wiki_job(n, root_event={"signature": "s", "dt": f"2026-01-15T{at}Z"}) for n, at in enumerate(roots)]
    assert numbers(admitted(events)[DEFAULT]) == [0, 2]
    with JobTest(job_named(ADMISSION), at=START) as test:
        test.put(events[0])
        test.advance("23h")
        test.put(events[1])
        assert numbers(test.process()[DEFAULT]) == [0]
        test.advance("2h")
        test.put({**events[1], "meta": {**events[1]["meta"], "id": "later"}})
        assert numbers(test.process()[DEFAULT]) == [0, 1]


def test_an_unknown_type_is_in_the_default_lane() -> None:
    (claim,) = admitted([wiki_job(1, kind="newest", database="newwiki")])[DEFAULT]
    assert (claim["lane"], claim["shard"]) == ("default", 2)


def claims(*jobs: Event) -> list[Event]:
    found = admitted(list(jobs))
    return [*found[DEFAULT], *found[LANE_LOW]]


def test_a_job_waits_for_its_time_and_then_has_all_its_retries() -> None:
    (claim,) = claims(wiki_job(1, delay_until="2026-01-15T12:02:00Z"))
    with queue(503) as test:
        test.put(claim)
        test.process()
        test.advance("59s")
        assert asked(test) == []
        test.advance("1s")
        assert asked(test) == [1]
        test.advance("60s")
        outcome = test.advance("360s")
        assert asked(test) == [1, 1, 1]
        assert [retry["retries_left"] for retry in outcome[RETRIES]] == [2, 1]
        assert [error["error_type"] for error in outcome.errors] == ["UNAVAILABLE"]


def test_a_read_only_wiki_costs_no_retry() -> None:
    read_only = Answer({}, 503, {"x-readonly": "true"})
    with queue((read_only, read_only, 500, read_only, 500, 200)) as test:
        test.put(*claims(wiki_job(1)))
        test.process()
        assert len(asked(test)) == 1
        test.advance("29s")
        assert len(asked(test)) == 1
        for seconds in (31, 60, 60, 60, 360):
            outcome = test.advance(f"{seconds}s")
        assert len(asked(test)) == 6
        assert [retry["retries_left"] for retry in outcome[RETRIES]] == [2, 1]
        assert outcome.errors == []


@pytest.mark.parametrize(
    ("answer", "retries", "errors"),
    [(200, 0, []), (412, 0, []), (404, 0, ["REJECTED"]), (500, 1, []), (ConnectionError("gone"), 1, [])],
)
def test_which_answers_are_failures(answer: Any, retries: int, errors: list[str]) -> None:
    with queue(answer) as test:
        test.put(*claims(wiki_job(1)))
        outcome = test.process()
        assert len(outcome[RETRIES]) == retries
        assert [error["error_type"] for error in outcome.errors] == errors


def test_an_executor_that_hangs_is_a_failure(tmp_path: Path) -> None:
    made = run_files(ADMISSION, [wiki_job(1)], tmp_path).outputs
    with recording(_hanging(2)) as service:
        options = ("--set", f"executor={service.url}", "--set", "timeout_max=100ms")
        ran = run_files(QUEUE, made, tmp_path, *options)
    assert [retry["retries_left"] for retry in ran.outputs] == [2, 1]
    assert ran.errors == []
    assert "error_status" not in ran.outputs[0]


def _hanging(times: int) -> Callable[[int, Asked], int]:
    from threading import Event as Flag

    never = Flag()

    def answer(number: int, asked: Asked) -> int:
        if number < times:
            never.wait(1)
        return 200

    return answer


def test_each_call_of_a_job_has_one_key_and_without_an_executor_it_is_refused() -> None:
    with queue((500, 200)) as test:
        test.put(*claims(wiki_job(1)))
        test.process()
        test.advance("60s")
        keys = {request.headers["Idempotency-Key"] for request in test.http.requests}  # type: ignore[union-attr]
        assert (len(asked(test)), len(keys)) == (2, 1)
    with JobTest(job_named(LOW)) as test:
        test.put(*claims(wiki_job(1, kind="webVideoTranscode")))
        (error,) = test.process().errors
        assert "executor" in error["message"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("shards: {default: 0}\ntypes: {a: {lane: fast}}", "one of default, low"),
        ("shards: {default: 0}\ntypes: {a: {concurrency: 0}}", "a number from 1"),
        ("shards: {enwiki: 0}", "one is for `default`"),
        ("lanes: {}", "and nothing else"),
    ],
)
def test_a_file_that_describes_no_queue_is_refused(text: str, why: str) -> None:
    module = in_project("content.job_types")
    with pytest.raises(module.InvalidQueue, match=why):
        module.queue_of(text)
