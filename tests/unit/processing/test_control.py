"""Pausing, resuming, resetting and rewinding a job: carried out by its supervisor, and kept across restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headwater.errors import LogUnavailable
from headwater.jobs import NotYet, Retry
from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Await, Context, Each, PerKey, Transition
from headwater.processing.control import JobControl, consequences
from headwater.processing.embedded.partitioned import SharedRunner
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.supervisor import Supervisor
from headwater.testing.clock import ManualClock
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit, open_gate, streams_of
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog
from headwater.testing.oracle_log import OracleLog

Event = dict[str, Any]
SETTINGS = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01)


def counted(state: Any, event: Event, context: Context) -> Transition:
    number = (state or 0) + 1
    return Transition(number, events=[{"$schema": "/out/1.0.0", "n": event["n"], "number": number}])


async def parked(event: Event, context: Context) -> Event:
    if event["n"] == 1:
        raise NotYet("later")
    return event


def by_all(event: Event, context: Context) -> str:
    return "all"


COUNT = PerKey("count", by_all, counted)
STATELESS = Job(
    "job",
    ("in",),
    (Each("pass", lambda event, context: {"$schema": "/out/1.0.0", "n": event["n"], "number": 0}),),
    ToStream("out"),
)
COUNTING = Job("job", ("in",), (COUNT,), ToStream("out"))
PARKING = Job("job", ("in",), (Await("call", parked, 8, Retry("1ms", "1ms", park="1h")), COUNT), ToStream("out"))


class Process:
    """A process that runs the job on the log of the test."""

    def __init__(self, kit: JobKit) -> None:
        self.kit = kit
        self.control = JobControl(kit.log, kit.job, ["in"])
        self.supervisor = Supervisor(kit.runner, pause_seconds=0.01, control=self.control)

    @property
    def state(self) -> str:
        return self.supervisor.report().state

    async def put(self, *numbers: int) -> None:
        await self.kit.put(*({"n": n} for n in numbers))

    async def written(self) -> list[tuple[int, int]]:
        return [(event["n"], event["number"]) for event in await self.kit.events()]

    async def has_written(self, *expected: tuple[int, int]) -> None:
        async def has() -> bool:
            return await self.written() == list(expected)

        await eventually(has)

    async def ask(self, change: Callable[[JobControl], Any]) -> None:
        await change(self.control)
        self.supervisor.look()


@asynccontextmanager
async def process(job: Job, log: OracleLog) -> AsyncIterator[Process]:
    kit = JobKit(job, settings=SETTINGS, log=log)
    await kit.open()
    running = Process(kit)
    running.supervisor.start()
    try:
        yield running
    finally:
        async with asyncio.timeout(60):
            await running.supervisor.stop()


@pytest.mark.parametrize("job", [STATELESS, COUNTING, PARKING])
async def test_a_paused_job_processes_nothing_until_it_is_resumed_even_if_it_is_restarted(job: Job) -> None:
    log = OracleLog()
    async with process(job, log) as first:
        await first.put(0)
        await eventually(first.written)
        await first.ask(lambda control: control.pause(paused=True, by="me"))
        await eventually(lambda: first.state == "paused")
        await first.put(2)
        assert first.supervisor.report().trouble is None
    async with process(job, log) as second:
        await eventually(lambda: second.state == "paused")
        await asyncio.sleep(0.1)
        assert len(await second.written()) == 1
        await second.ask(lambda control: control.pause(paused=False, by="me"))
        await second.put(3)

        async def has_all() -> bool:
            return [n for n, _ in await second.written()] == [0, 2, 3]

        await eventually(has_all)
        assert second.state == "running"
        assert second.supervisor.report().restarts == 0


class Broken:
    """Whether the job fails on the event 1."""

    def __init__(self) -> None:
        self.is_broken = True
        self.failed = 0

    def __call__(self, event: Event, context: Context) -> Event:
        if self.is_broken and event["n"] == 1:
            self.failed += 1
            raise ValueError("unforeseen")
        return {"$schema": "/out/1.0.0", "n": event["n"], "number": 0}

    async def awaited(self, event: Event, context: Context) -> Event:
        return self(event, context)


def stopping(step: Each | Await) -> Job:
    return Job("job", ("in",), (step,), ToStream("out"), on_error="stop")


@pytest.mark.parametrize("awaits", [False, True])
async def test_a_job_that_has_stopped_continues_at_the_event_when_it_is_resumed(
    awaits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken()
    job = stopping(Await("ask", broken.awaited) if awaits else Each("pass", broken))
    async with process(job, OracleLog()) as first:
        await first.put(0, 1, 2)
        for _ in range(2):
            await eventually(lambda: first.state == "stopped_on_error")
            await first.has_written((0, 0))
            assert "in/0/1" in (await first.control.read()).stopped
            trouble = first.supervisor.report().trouble or ""
            assert trouble.startswith("stopped: ")
            assert "ValueError: unforeseen (at in/0/1" in trouble
            failed = broken.failed
            await first.ask(lambda control: control.pause(paused=False, by="me"))
            await eventually(lambda before=failed: broken.failed > before)
        await eventually(lambda: first.state == "stopped_on_error")
        broken.is_broken = False
        await first.ask(lambda control: control.pause(paused=False, by="me"))
        await first.has_written((0, 0), (1, 0), (2, 0))
        assert (await first.control.read()).stopped == ""
        await eventually(lambda: first.supervisor.report().trouble is None)
    [text, *_] = [record.getMessage() for record in caplog.records if "is stopped" in record.getMessage()]
    assert "headwater job resume job" in text


async def test_a_job_that_has_stopped_is_tried_again_by_the_next_process_unless_it_is_paused() -> None:
    log, broken = OracleLog(), Broken()
    job = stopping(Each("pass", broken))
    async with process(job, log) as first:
        await first.put(0, 1)
        await eventually(lambda: first.state == "stopped_on_error")
    async with process(job, log) as second:
        await eventually(lambda: second.state == "stopped_on_error")
        await second.ask(lambda control: control.pause(paused=True, by="me"))
        await asyncio.sleep(0.05)
        assert (await second.control.read()).stopped
    broken.is_broken = False
    async with process(job, log) as third:
        await eventually(lambda: third.state == "paused")
        assert await third.written() == [(0, 0)]
        await third.ask(lambda control: control.pause(paused=False, by="me"))
        await third.has_written((0, 0), (1, 0))


async def test_a_job_that_has_stopped_can_be_rewound_past_the_event() -> None:
    clock = ManualClock()
    async with process(stopping(Each("pass", Broken())), OracleLog(clock=clock)) as one:
        await one.put(0, 1)
        await eventually(lambda: one.state == "stopped_on_error")
        clock.advance(10)
        await one.put(2)
        at_ms = int(clock() * 1000)
        await one.ask(lambda control: control.move(at_ms, by="me"))
        await one.has_written((0, 0), (2, 0))


async def test_all_that_share_a_job_stop_when_one_of_them_does() -> None:
    brokers, broken = OracleBrokers(), Broken()
    job = stopping(Each("pass", broken))
    logs = [OracleKafkaLog(brokers) for _ in range(2)]
    kits = [JobKit(job, log=log, partitions=2) for log in logs]
    for kit in kits:
        await kit.open()
    controls = [JobControl(log, job, ["in"]) for log in logs]
    runners = [SharedRunner(job, log, open_gate(streams_of(job)), settings=SETTINGS) for log in logs]
    supervisors = [
        Supervisor(runner, pause_seconds=0.01, control=control)
        for runner, control in zip(runners, controls, strict=True)
    ]
    for one in supervisors:
        one.start()
    try:
        await eventually(lambda: all(len(runner.partitions) == 1 for runner in runners))
        await kits[0].put({"n": 0}, partition=0)
        await kits[0].put({"n": 1}, {"n": 3}, partition=1)
        await eventually(lambda: all(one.report().state == "stopped_on_error" for one in supervisors), seconds=20)
        broken.is_broken = False
        await controls[0].pause(paused=False, by="me")

        async def all_written() -> bool:
            return sorted(event["n"] for event in await kits[0].events()) == [0, 1, 3]

        await eventually(all_written, seconds=20)
    finally:
        async with asyncio.timeout(60):
            await asyncio.gather(*(one.stop() for one in supervisors))
        for log in logs:
            await log.close()


async def test_a_reset_job_processes_everything_again_without_what_it_kept() -> None:
    log = OracleLog()
    async with process(COUNTING, log) as running:
        await running.put(0, 1)
        await running.has_written((0, 1), (1, 2))
        await running.ask(lambda control: control.move(None, by="me"))
        await running.has_written((0, 1), (1, 2), (0, 1), (1, 2))
        await running.put(2)
        await running.has_written((0, 1), (1, 2), (0, 1), (1, 2), (2, 3))
        ids = [event["meta"]["id"] for event in await running.kit.events()]
        assert ids[:2] == ids[2:4]
    async with process(COUNTING, log) as running:
        await running.put(3)
        await running.has_written((0, 1), (1, 2), (0, 1), (1, 2), (2, 3), (3, 4))


async def test_a_job_is_rewound_to_a_time_of_receipt() -> None:
    log = OracleLog()
    async with process(COUNTING, log) as running:
        await running.put(0)
        placement = None
        await running.has_written((0, 1))
        await asyncio.sleep(0.01)
        await running.put(1, 2)
        await running.has_written((0, 1), (1, 2), (2, 3))
        (placement,) = [record for record in await log.read(await log.first(["in"])) if record.offset == 1]
        await running.ask(lambda control: control.move(placement.timestamp_ms, by="me"))
        await running.has_written((0, 1), (1, 2), (2, 3), (1, 1), (2, 2))


async def test_a_paused_job_that_is_reset_stays_paused() -> None:
    log = OracleLog()
    async with process(COUNTING, log) as running:
        await running.put(0)
        await running.has_written((0, 1))
        await running.ask(lambda control: control.pause(paused=True, by="me"))
        await running.ask(lambda control: control.move(None, by="me"))
        await eventually(lambda: running.state == "paused")
        await asyncio.sleep(0.1)
        assert await running.written() == [(0, 1)]
        await running.ask(lambda control: control.pause(paused=False, by="me"))
        await running.has_written((0, 1), (0, 1))


async def test_a_reset_that_was_interrupted_is_made_again_before_the_job_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    log = OracleLog()
    async with process(COUNTING, log) as running:
        await running.put(0, 1)
        await running.has_written((0, 1), (1, 2))
    failures = [LogUnavailable("gone")]
    commit = log.commit

    async def failing(group: str, token: str) -> None:
        if "applied" in group and failures:
            raise failures.pop()
        await commit(group, token)

    monkeypatch.setattr(log, "commit", failing)
    await JobControl(log, COUNTING, ["in"]).move(None, by="me")
    async with process(COUNTING, log) as running:
        await running.has_written((0, 1), (1, 2), (0, 1), (1, 2))
        await running.put(2)
        await running.has_written((0, 1), (1, 2), (0, 1), (1, 2), (2, 3))
    assert failures == []


async def test_a_reset_deletes_what_is_parked() -> None:
    log = OracleLog()
    async with process(PARKING, log) as running:
        await running.put(0, 1)
        await eventually(lambda: running.supervisor.report().calls.parked == 1)
        await running.ask(lambda control: control.pause(paused=True, by="me"))
        await eventually(lambda: running.state == "paused")
        await running.ask(lambda control: control.move(None, by="me"))

        async def is_gone() -> bool:
            return await log.state_scan("job/job/park") == [] and await log.state_scan("job/job/count/cells") == []

        await eventually(is_gone)


def test_the_consequences_name_what_is_deleted_and_what_stays() -> None:
    found = " ".join(consequences(PARKING, begins_at="the beginning"))
    for part in ("in is deleted", "the beginning", "count", "parked", "out stays", "same ids"):
        assert part in found
    assert "state" not in " ".join(consequences(STATELESS, begins_at="the beginning"))
