"""Answers of a Flink cluster, right and wrong ones; `tests/flink` asks a real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from headwater.errors import FlinkRefused, FlinkUnavailable, JobUnknown
from headwater.processing.flink.cluster.answers import JobFailure, latest_reason
from headwater.processing.flink.cluster.rescaling import rescale
from unit.processing.flink.cluster.answers import FAILED, RUNNING, cluster_of, vertices


@pytest.fixture
def ticking() -> Callable[[], float]:
    """A clock on which a minute passes each time."""
    minutes = iter(range(10_000))
    return lambda: 60.0 * next(minutes)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.processing.flink.cluster.client.ASK_AGAIN_SECONDS", 0)


async def test_the_job_that_runs_comes_before_those_that_have_ended() -> None:
    later = FAILED | {"jid": "a2", "start-time": 9}
    async with cluster_of({"GET /jobs/overview": {"jobs": [FAILED, RUNNING, later]}}) as cluster:
        assert (await cluster.running("counts")).id == "a1"
        assert [job.id for job in await cluster.jobs()] == ["a2", "a1", "a0"]
    async with cluster_of({"GET /jobs/overview": {"jobs": [FAILED, later]}}) as cluster:
        newest = await cluster.newest("counts")
        assert newest is not None
        assert (newest.id, newest.has_ended, newest.ended_ms) == ("a2", True, 4)
        with pytest.raises(JobUnknown, match="runs no job named counts; the last one has ended as FAILED"):
            await cluster.running("counts")
        assert await cluster.newest("other") is None


async def test_an_unknown_job_is_refused_with_those_there_are() -> None:
    async with cluster_of({"GET /jobs/overview": {"jobs": [RUNNING]}}) as cluster:
        with pytest.raises(JobUnknown) as unknown:
            await cluster.running("count")
    assert unknown.value.hint == "It runs: counts."


async def test_two_jobs_of_one_name_are_refused() -> None:
    async with cluster_of({"GET /jobs/overview": {"jobs": [RUNNING, RUNNING | {"jid": "a2"}]}}) as cluster:
        with pytest.raises(FlinkRefused, match="runs 2 jobs named counts: a1, a2"):
            await cluster.newest("counts")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.ConnectError("connection refused"), "does not answer: connection refused"),
        (httpx.ReadTimeout(""), "does not answer: ReadTimeout"),
        (httpx.Response(200, text="<html>"), "it is not JSON, and its status is 200"),
        (httpx.Response(502, text="bad gateway"), "it is not JSON, and its status is 502"),
        (httpx.Response(200, json=[1]), "it is not a JSON object"),
        (httpx.Response(200, json={"jobs": [{"jid": "a"}]}), "has answered about its jobs what cannot be read"),
        (httpx.Response(200, json={"jobs": None}), "has answered about its jobs what cannot be read"),
        (httpx.Response(503, json={"errors": ["Service temporarily unavailable due to an election"]}), "is not ready"),
    ],
)
async def test_what_is_no_answer_of_flink_is_reported_with_the_address(answer: Any, message: str) -> None:
    async with cluster_of({"GET /jobs/overview": answer}) as cluster:
        with pytest.raises(FlinkUnavailable, match=message):
            await cluster.jobs()


async def test_an_answer_that_does_not_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.processing.flink.cluster.rest.ANSWER_BYTES_MAX", 1_000)
    async with cluster_of({"GET /overview": httpx.Response(200, content=b" " * 2_000)}) as cluster:
        with pytest.raises(FlinkUnavailable, match="it has more than 1000 bytes"):
            await cluster.overview()


async def test_the_reason_of_a_refusal_is_that_of_flink() -> None:
    said = "org.apache.flink.runtime.rest.NotFoundException: Job a1 not found\n\tat a.b(C.java:1)"
    answers = {
        "GET /jobs/overview": {"jobs": [RUNNING]},
        "PATCH /jobs/a1": httpx.Response(404, json={"errors": ["Internal server error.", said]}),
    }
    async with cluster_of(answers) as cluster:
        job = await cluster.running("counts")
        with pytest.raises(FlinkRefused, match="refused: NotFoundException: Job a1 not found"):
            await cluster.cancel(job)


async def test_a_savepoint_that_fails_is_reported_with_the_reason() -> None:
    cause = "org.apache.flink.X: y\nCaused by: java.io.IOException: No space left on device\n\tat a.b(C.java:1)"
    failed = {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": {"class": "X", "stack-trace": cause}}}
    answers = {
        "GET /jobs/overview": {"jobs": [RUNNING]},
        "POST /jobs/a1/stop": {"request-id": "t"},
        "GET /jobs/a1/savepoints/t": iter([{"status": {"id": "IN_PROGRESS"}}, failed]),
    }
    asked: list[httpx.Request] = []
    async with cluster_of(answers, asked) as cluster:
        job = await cluster.running("counts")
        with pytest.raises(FlinkRefused, match="made no savepoint of counts: IOException: No space left on device"):
            await cluster.stop(job, "s3://bucket/s", drain=True)
    [posted] = [json.loads(request.content) for request in asked if request.method == "POST"]
    assert posted == {"targetDirectory": "s3://bucket/s", "drain": True}


async def test_a_savepoint_survives_that_the_cluster_is_away_for_a_while() -> None:
    done = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/s/savepoint-1"}}
    answers = {
        "GET /jobs/overview": iter(
            [{"jobs": [RUNNING]}, {"jobs": [RUNNING]}, {"jobs": [RUNNING | {"state": "FINISHED"}]}]
        ),
        "POST /jobs/a1/stop": {"request-id": "t"},
        "GET /jobs/a1/savepoints/t": iter([httpx.ConnectError("away"), done]),
    }
    async with cluster_of(answers) as cluster:
        assert await cluster.stop(await cluster.running("counts")) == "file:/s/savepoint-1"


async def test_what_does_not_end_is_given_up(ticking: Callable[[], float]) -> None:
    answers = {
        "GET /jobs/overview": {"jobs": [RUNNING]},
        "POST /jobs/a1/savepoints": {"request-id": "t"},
        "GET /jobs/a1/savepoints/t": {"status": {"id": "IN_PROGRESS"}},
    }
    async with cluster_of(answers, clock=ticking) as cluster:
        with pytest.raises(FlinkUnavailable, match="not within 600 s: the savepoint of counts is complete"):
            await cluster.savepoint(await cluster.running("counts"))


async def test_too_few_slots_are_reported_before_the_job_is_touched() -> None:
    answers = {
        "GET /jobs/overview": {"jobs": [RUNNING]},
        "GET /jobs/a1": vertices(),
        "GET /overview": {"flink-version": "2.2.1", "taskmanagers": 1, "slots-total": 4, "slots-available": 2},
    }
    asked: list[httpx.Request] = []
    async with cluster_of(answers, asked) as cluster:
        with pytest.raises(FlinkRefused, match="has 3 slots for counts, too few for 4"):
            await rescale(cluster, await cluster.running("counts"), 4)
    assert {request.method for request in asked} == {"GET"}


def test_what_the_users_code_raised_comes_before_what_it_led_to() -> None:
    lost = JobFailure(12_000, "TaskManager with id x is no longer reachable", False, None, "")
    raised = JobFailure(11_000, "ValueError: broken (counts.py:14, in count)", True, "count", "")
    long_ago = JobFailure(1_000, "KeyError: 'a'", True, "count", "")
    assert latest_reason([]) is None
    assert latest_reason([lost, raised, long_ago]) == raised.reason
    assert latest_reason([lost, long_ago]) == lost.reason
