"""What is retried, after which pauses, and what ends it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator

import pytest

from headwater.errors import BACK_OFF_SECONDS_MAX, HeadwaterError, JobInvalid, SinkUnavailable, WriteIncomplete
from headwater.jobs.job import Job
from headwater.processing.embedded.retries import Retries
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.status import RunnerStatus
from headwater.processing.supervisor import Supervisor
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually
from headwater.testing.faulty_sink import Faults, FaultySink
from headwater.testing.job_kit import JobKit
from headwater.testing.memory_sink import MemorySink, MemoryTarget
from headwater.testing.suites.sink_filling import JOB, PAGES, page

RETRIES_MAX = 3


class Attempts:
    """Raises the errors one after the other, and counts."""

    def __init__(self, *errors: HeadwaterError) -> None:
        self._errors: Iterator[HeadwaterError] = iter(errors)
        self.times: list[float] = []

    async def __call__(self) -> str:
        self.times.append(time.monotonic())
        for error in self._errors:
            raise error
        return "done"


def incomplete(*, has_progressed: bool, back_off_seconds: float = 0.0) -> WriteIncomplete:
    error = WriteIncomplete(retry=[0], back_off_seconds=back_off_seconds)
    error.has_progressed = has_progressed
    return error


@pytest.fixture
def stopping() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def retries(stopping: asyncio.Event) -> Retries:
    return Retries(RETRIES_MAX, 0.001, 0.002, RunnerStatus(Job("j", ("s",)), Telemetry()), stopping)


async def test_what_may_succeed_later_is_retried_so_often_and_no_more(retries: Retries) -> None:
    attempts = Attempts(*[SinkUnavailable("away")] * RETRIES_MAX)
    assert await retries.of(attempts) == "done"
    attempts = Attempts(*[SinkUnavailable("away")] * (RETRIES_MAX + 1))
    with pytest.raises(SinkUnavailable):
        await retries.of(attempts)
    assert len(attempts.times) == RETRIES_MAX + 1
    attempts = Attempts(JobInvalid("never"))
    with pytest.raises(JobInvalid):
        await retries.of(attempts)
    assert len(attempts.times) == 1


async def test_while_less_is_left_each_time_there_is_no_end(retries: Retries) -> None:
    assert await retries.of(Attempts(*[incomplete(has_progressed=True) for _ in range(10 * RETRIES_MAX)])) == "done"
    stuck = Attempts(*[incomplete(has_progressed=False) for _ in range(RETRIES_MAX + 1)])
    with pytest.raises(WriteIncomplete):
        await retries.of(stuck)


@pytest.mark.parametrize("error", [SinkUnavailable("busy", back_off_seconds=0.05), incomplete(has_progressed=True)])
async def test_between_two_attempts_there_is_a_pause(retries: Retries, error: SinkUnavailable) -> None:
    attempts = Attempts(error)
    await retries.of(attempts)
    assert attempts.times[1] - attempts.times[0] >= max(error.back_off_seconds, 0.0005)


async def test_a_stop_ends_the_pause_and_is_the_end(retries: Retries, stopping: asyncio.Event) -> None:
    attempts = Attempts(SinkUnavailable("busy", back_off_seconds=200.0))
    running = asyncio.ensure_future(retries.of(attempts))
    await eventually(lambda: attempts.times)
    stopping.set()
    with pytest.raises(SinkUnavailable):
        async with asyncio.timeout(60.0):
            await running
    assert len(attempts.times) == 1


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(1e9, BACK_OFF_SECONDS_MAX), (-1.0, 0.0), (float("nan"), 0.0), (float("inf"), BACK_OFF_SECONDS_MAX), (2.5, 2.5)],
)
def test_no_target_is_left_alone_for_longer_than_the_limit(asked: float, granted: float) -> None:
    assert SinkUnavailable("busy", back_off_seconds=asked).back_off_seconds == granted
    assert WriteIncomplete(retry=[1], back_off_seconds=asked).back_off_seconds == granted


async def test_a_job_that_is_started_again_leaves_its_target_alone_for_so_long_too() -> None:
    faults = Faults(back_offs=[200.0])
    settings = RunnerSettings(wait_seconds=0.02, retries_max=0, retry_seconds=0.001, retry_seconds_max=0.001)
    kit = JobKit(JOB, sink=FaultySink(MemorySink(MemoryTarget(), PAGES), faults), settings=settings)
    await kit.open()
    await kit.put(page("a", 1))
    supervisor = Supervisor(kit.runner, pause_seconds=0.001)
    supervisor.start()
    await eventually(lambda: supervisor.report().state == "restarting")
    async with asyncio.timeout(60.0):
        await supervisor.stop()
    assert len(faults.attempts) == 1


async def test_an_attempt_that_fails_after_its_caller_was_cancelled_reports_nothing(retries: Retries) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    begun, ends = asyncio.Event(), asyncio.Event()

    async def attempt() -> None:
        begun.set()
        await ends.wait()
        raise SinkUnavailable("away")

    caller = asyncio.create_task(retries.of(attempt))
    await begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    ends.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    del caller, attempt
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []
