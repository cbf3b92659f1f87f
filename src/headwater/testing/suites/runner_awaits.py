"""What every `Runner` must do with jobs that wait for other services; a part of `RunnerSuite`.

How this works: `RunnerKit` has what all tests of runners use: the streams of one job, and ways to read what it wrote.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headwater.event import decode_stored, json_bytes
from headwater.intake.gate import Gate
from headwater.jobs.job import Job, ToStream
from headwater.jobs.outcomes import NotYet, Retry
from headwater.jobs.steps import Await, Context, Each
from headwater.log.contract import Log, Record, TopicSettings
from headwater.processing.contract import Runner
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import open_gate, streams_of
from headwater.testing.suites.contract_suite import ContractSuite

# Bounds only a test that fails.
SECONDS_MAX = 60.0

NewRunner = Callable[[Job, Gate], Runner]


def passed_on(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The function of the suite's job: one event each, none for some, an error for others, and once it cancels its
    task.
    """
    if event.get("does") == "fail":
        raise ValueError("this one fails")
    if event.get("does") == "cancel":
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        # Long enough for a runner to yield to the event loop, where it notices the cancellation.
        time.sleep(0.01)
    return None if event.get("does") == "nothing" else {"$schema": "/passed/1.0.0", "number": event["number"]}


async def passed_on_later(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The same, after the event loop has run other tasks; and a copy for another output."""
    await asyncio.sleep(0)
    made = passed_on(event, context)
    if made is not None:
        context.emit(made, to="also")
    return made


async def answered(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """A slow answer for every third event, and for some none at the first attempt, which has changed the event."""
    number = event["number"]
    await asyncio.sleep(0.005 if number % 3 == 0 else 0)
    if number % 5 == 0 and context.attempt == 1:
        event["number"] = -1
        raise NotYet("there is no answer yet")
    return {"$schema": "/passed/1.0.0", "number": number}


async def unanswered(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """No answer for the event 3 and what follows, as if the service hung."""
    if event["number"] >= 3:
        await asyncio.sleep(SECONDS_MAX)
    return {"$schema": "/passed/1.0.0", "number": event["number"]}


def one_key(event: dict[str, Any], context: Context) -> str:
    return "all"


JOB = Job("passing", ("edits",), (Each("function", passed_on),), ToStream("passed"))
AWAITING = Job(
    "passing", ("edits",), (Await("function", passed_on_later),), ToStream("passed"), outputs=(ToStream("also"),)
)
RETRY = Retry("60s", "1ms", "5ms")
ANSWERED = Job("passing", ("edits",), (Await("call", answered, 8, RETRY, key=one_key),), ToStream("passed"))
UNANSWERED = Job("passing", ("edits",), (Await("call", unanswered, 8, RETRY),), ToStream("passed"))


class RunnerKit(ContractSuite):
    """The streams of a runner's job, and what is in them."""

    @pytest.fixture
    async def gate(self, log: Log) -> Gate:
        streams = streams_of(AWAITING)
        for stream in streams.all():
            await log.ensure_topic(stream.name, TopicSettings())
        return open_gate(streams)

    @pytest.fixture
    async def runner(self, gate: Gate, new_runner: NewRunner) -> Runner:
        return new_runner(JOB, gate)

    async def put(self, log: Log, *numbers: int, does: str = "") -> None:
        events = [{"$schema": "/edit/1.0.0", "meta": {"id": f"id-{n}"}, "number": n, "does": does} for n in numbers]
        await log.append([Record("edits", json_bytes(event), partition=0) for event in events])

    async def events(self, log: Log, stream: str) -> list[dict[str, Any]]:
        position = await log.first([stream])
        found: list[dict[str, Any]] = []
        while records := await log.read(position):
            for record in records:
                found.append(decode_stored(record.value, record.headers))
                position = position.after(record)
        return found

    async def numbers(self, log: Log) -> list[int]:
        """The output of the job, in order."""
        return [event["number"] for event in await self.events(log, "passed")]

    async def wait_for(self, log: Log, numbers: Sequence[int]) -> None:
        """Wait until the job has written this much; then it must be exactly that."""

        async def has_come() -> bool:
            return len(await self.numbers(log)) >= len(numbers)

        await eventually(has_come)
        assert await self.numbers(log) == list(numbers)


class RunnerAwaitSuite(RunnerKit):
    """Jobs that wait for other services."""

    async def test_what_is_awaited_comes_in_order_and_what_fails_emits_nothing(
        self, log: Log, gate: Gate, new_runner: NewRunner
    ) -> None:
        if new_runner(JOB, gate).unsupported_reasons(AWAITING):
            pytest.skip("this runner awaits nothing")
        runner = new_runner(AWAITING, gate)
        await self.put(log, *range(20))
        await self.put(log, *range(20, 23), does="fail")
        await self.put(log, 23)
        await runner.run(drain=True)
        expected = [*range(20), 23]
        assert await self.numbers(log) == expected
        also = await self.events(log, "also")
        assert [event["number"] for event in also] == expected
        assert len({event["meta"]["id"] for event in [*also, *await self.events(log, "passed")]}) == 42
        errors = await self.events(log, "passing.error")
        assert [error["meta"]["failure"]["exception"] for error in errors] == ["ValueError"] * 3
        report = runner.status.report()
        assert (report.read, report.written, report.errors, report.emitted) == (24, 42, 3, {"also": 21})

    async def test_calls_that_fail_for_a_while_are_made_again_and_their_key_keeps_its_order(
        self, log: Log, gate: Gate, new_runner: NewRunner
    ) -> None:
        if new_runner(JOB, gate).unsupported_reasons(ANSWERED):
            pytest.skip("this runner awaits nothing")
        await self.put(log, *range(30))
        await new_runner(ANSWERED, gate).run(drain=True)
        assert await self.numbers(log) == list(range(30))
        assert await self.events(log, "passing.error") == []

    async def test_events_that_wait_for_an_answer_when_the_run_ends_are_processed_once_by_the_next(
        self, log: Log, gate: Gate, new_runner: NewRunner
    ) -> None:
        if new_runner(JOB, gate).unsupported_reasons(UNANSWERED):
            pytest.skip("this runner awaits nothing")
        await self.put(log, *range(6))
        for end in ("stop", "cancel"):
            runner = new_runner(UNANSWERED, gate)
            running = asyncio.create_task(runner.run())
            await self.wait_for(log, range(3))
            if end == "stop":
                runner.stop()
            else:
                running.cancel()
            async with asyncio.timeout(SECONDS_MAX):
                await asyncio.wait((running,))
        await new_runner(ANSWERED, gate).run(drain=True)
        assert await self.numbers(log) == list(range(6))
        assert len({event["meta"]["id"] for event in await self.events(log, "passed")}) == 6
