"""What every `Runner` must do, as tests: an implementation's test is a subclass with fixtures for a log and runners.

class TestEmbeddedRunner(RunnerSuite):
    implementations = (EmbeddedRunner,)

    @pytest.fixture
    async def log(self): ...   # yields an open, empty log

    @pytest.fixture
    def new_runner(self, log):   # makes a runner of the job, as another process would
        return lambda job, gate: runner_on(log, job, gate)

The suite's jobs read partition 0 of a topic. Features that a runner does not declare (`features`) are not tested,
except that it refuses the jobs that need them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, ClassVar

import pytest

from headwater.connectors.contract import Column, TableShape
from headwater.errors import HeadwaterError, JobInvalid
from headwater.intake.gate import Gate
from headwater.jobs.job import Job, ToStream, ToTable
from headwater.jobs.steps import Context, PerKey, Timer, Transition
from headwater.log.contract import Log
from headwater.processing.contract import Runner
from headwater.processing.supervisor import Supervisor
from headwater.testing.eventually import eventually
from headwater.testing.suites.runner_awaits import (
    AWAITING,
    JOB,
    SECONDS_MAX,
    NewRunner,
    RunnerAwaitSuite,
    one_key,
)


def counted(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """One more than the event before; a failing event does not count."""
    number = (state or 0) + 1
    if event.get("does") == "fail":
        raise ValueError("this one fails")
    return Transition(number, events=[{"$schema": "/passed/1.0.0", "number": number}])


def waited_for(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """No output yet: the event is emitted when its timer fires."""
    return Transition(event["number"], timers={"over": Timer(context.event_time_ms + 1)})


def is_over(state: Any, name: str, context: Context) -> Transition:
    return Transition(None, events=[{"$schema": "/passed/1.0.0", "number": state}])


def listed(state: Any, event: dict[str, Any], context: Context) -> Transition:
    """How many rows there are with that of this event, which a failing event does not leave."""
    assert context.rows is not None
    context.rows[f"{event['number']:03}"] = event["number"]
    if event.get("does") == "fail":
        raise ValueError("this one fails")
    return Transition(None, events=[{"$schema": "/passed/1.0.0", "number": len(context.rows)}])


TABLE = ToTable(TableShape("numbers", (Column("number", "integer", "number"),), ("number",)))
COUNT = PerKey("count", one_key, counted)
LIST = PerKey("list", one_key, listed, keeps_rows=True)
WAIT = PerKey("wait", one_key, waited_for, is_over)

COUNTING = Job("passing", ("edits",), (COUNT,), ToStream("passed"))
LISTING = Job("passing", ("edits",), (LIST,), ToStream("passed"))
WAITING = Job("passing", ("edits",), (WAIT,), ToStream("passed"), idle_ms=1)
FILLING = Job("passing", ("edits",), (), TABLE)
# Each kind of job by what it needs.
KINDS = (JOB, COUNTING, LISTING, WAITING, AWAITING, FILLING, Job("passing", ("edits",), (COUNT,), TABLE))


class RunnerSuite(RunnerAwaitSuite):
    """Subclass it; see the module.

    `takes_over`: whether `fence` prevents another runner of the job, which is still running, from writing.
    """

    contracts = (Runner,)
    takes_over: ClassVar[bool] = False

    async def test_it_names_the_job_it_runs_and_what_it_does(self, runner: Runner) -> None:
        self.check_implementation(runner)
        assert runner.job is JOB
        assert runner.unsupported_reasons(JOB) == ()
        assert runner.status.report().read == 0

    @pytest.mark.parametrize("job", KINDS)
    async def test_it_refuses_the_jobs_that_need_what_it_has_not(
        self, gate: Gate, new_runner: NewRunner, runner: Runner, job: Job
    ) -> None:
        reasons = runner.unsupported_reasons(job)
        assert set(runner.features.unsupported_reasons(job)) <= set(reasons)
        if not reasons:
            assert new_runner(job, gate).job is job
            return
        with pytest.raises(JobInvalid) as refused:
            new_runner(job, gate)
        assert [reason for reason in reasons if reason not in refused.value.message] == []

    @pytest.mark.parametrize("job", [COUNTING, LISTING])
    async def test_state_continues_in_a_later_run_without_that_of_failed_functions(
        self, log: Log, gate: Gate, new_runner: NewRunner, job: Job
    ) -> None:
        if new_runner(JOB, gate).unsupported_reasons(job):
            pytest.skip("this runner keeps no state")
        runner = new_runner(job, gate)
        for number in range(3):
            await self.put(log, number)
            await runner.run(drain=True)
        await self.put(log, 7, does="fail")
        await self.put(log, 3)
        await runner.run(drain=True)
        await self.put(log, 8, does="fail")
        await self.put(log, 4)
        await new_runner(job, gate).run(drain=True)
        assert await self.numbers(log) == [1, 2, 3, 4, 5]

    async def test_timers_fire_though_no_event_comes(self, log: Log, gate: Gate, new_runner: NewRunner) -> None:
        if new_runner(JOB, gate).unsupported_reasons(WAITING):
            pytest.skip("this runner keeps no state, or fires no timers while no events come")
        runner = new_runner(WAITING, gate)
        await self.put(log, 7)
        running = asyncio.create_task(runner.run())
        await self.wait_for(log, [7])
        runner.stop()
        async with asyncio.timeout(SECONDS_MAX):
            await running

    async def test_all_there_is_is_processed_once_and_in_order(self, log: Log, runner: Runner) -> None:
        await self.put(log, *range(50))
        await self.put(log, *range(50, 55), does="nothing")
        await self.put(log, *range(60, 63), does="fail")
        await runner.run(drain=True)
        assert await self.numbers(log) == list(range(50))
        assert len({event["meta"]["id"] for event in await self.events(log, "passed")}) == 50
        errors = await self.events(log, "passing.error")
        assert [error["meta"]["failure"]["exception"] for error in errors] == ["ValueError"] * 3
        report = runner.status.report()
        assert (report.read, report.written, report.errors) == (58, 50, 3)
        assert await runner.lag() == 0

    async def test_a_later_run_resumes_after_the_one_before(
        self, log: Log, gate: Gate, new_runner: NewRunner, runner: Runner
    ) -> None:
        for number in range(3):
            await self.put(log, 2 * number)
            await runner.run(drain=True)
            await runner.run(drain=True)
            await self.put(log, 2 * number + 1)
            await new_runner(JOB, gate).run(drain=True)
            assert await self.numbers(log) == list(range(2 * number + 2))

    async def test_a_job_that_is_repositioned_begins_there_without_what_it_kept(
        self, log: Log, gate: Gate, new_runner: NewRunner
    ) -> None:
        job = JOB if new_runner(JOB, gate).unsupported_reasons(COUNTING) else COUNTING
        runner = new_runner(job, gate)
        await self.put(log, 1, 2, 3)
        await runner.run(drain=True)
        first = await log.first(["edits"])
        (record,) = await log.read(first, records_max=1)
        await runner.reposition(first.after(record))
        await runner.reposition(first.after(record))
        await runner.run(drain=True)
        await self.put(log, 4)
        await new_runner(job, gate).run(drain=True)
        assert await self.numbers(log) == ([1, 2, 3, 2, 3, 4] if job is JOB else [1, 2, 3, 1, 2, 3])
        ids = [event["meta"]["id"] for event in await self.events(log, "passed")]
        assert ids[1:3] == ids[3:5]
        assert len(set(ids)) == 4

    async def test_until_the_end_of_nothing_is_at_once(self, log: Log, runner: Runner) -> None:
        await runner.run(drain=True)
        assert await self.numbers(log) == []

    async def test_what_comes_is_processed_until_it_is_stopped(self, log: Log, runner: Runner) -> None:
        await self.put(log, *range(3))
        running = asyncio.create_task(runner.run())
        await self.wait_for(log, range(3))
        for number in range(3, 9):
            await self.put(log, number)
            await self.wait_for(log, range(number + 1))

        async def is_done() -> bool:
            return await runner.lag() == 0

        await eventually(is_done)
        assert not running.done()
        runner.stop()
        async with asyncio.timeout(SECONDS_MAX):
            await running
        await self.put(log, 9)
        await runner.run(drain=True)
        assert await self.numbers(log) == list(range(10))

    async def test_stopping_what_does_not_run_does_nothing(self, log: Log, runner: Runner) -> None:
        runner.stop()
        runner.stop()

    async def test_a_log_that_was_away_costs_nothing_but_time(self, log: Log, runner: Runner) -> None:
        await self.put(log, 0, 1)
        running = asyncio.create_task(runner.run())
        await self.wait_for(log, [0, 1])
        await log.close()
        # A runner may end with the error or continue by itself: if it ended, it is run again.
        await asyncio.wait((running,), timeout=0.3)
        await log.open()
        await self.put(log, 2, 3)
        if running.done():
            with contextlib.suppress(HeadwaterError):
                await running
            running = asyncio.create_task(runner.run())
        await self.wait_for(log, [0, 1, 2, 3])
        runner.stop()
        async with asyncio.timeout(SECONDS_MAX):
            await running

    async def test_an_event_whose_code_cancels_the_run_does_not_keep_the_rest_from_going_on(
        self, log: Log, runner: Runner
    ) -> None:
        await self.put(log, 0, 1)
        await self.put(log, 2, does="cancel")
        await self.put(log, 3, 4)
        supervisor = Supervisor(runner, pause_seconds=0.01)
        supervisor.start()

        async def is_last_there() -> bool:
            return 4 in await self.numbers(log)

        try:
            await eventually(is_last_there)
        finally:
            await supervisor.stop()
        # Output that was already sent to the log before the run was cancelled stays.
        numbers = await self.numbers(log)
        set_aside = [json.loads(error["raw_event"])["number"] for error in await self.events(log, "passing.error")]
        assert sorted([*numbers, *set_aside]) == [0, 1, 2, 3, 4]
        assert set_aside in ([], [2])

    async def test_taking_over_what_nobody_has_loses_nothing(self, log: Log, runner: Runner) -> None:
        await runner.fence()
        await self.put(log, 0)
        await runner.run(drain=True)
        await runner.fence()
        await self.put(log, 1)
        await runner.run(drain=True)
        assert await self.numbers(log) == [0, 1]

    async def test_a_job_that_another_process_takes_over_counts_every_event_once(
        self, log: Log, gate: Gate, new_runner: NewRunner, runner: Runner
    ) -> None:
        if not self.takes_over:
            pytest.skip("the log belongs to one process")
        await self.put(log, 0)
        running = asyncio.create_task(runner.run())
        await self.wait_for(log, [0])
        other = new_runner(JOB, gate)
        await other.fence()
        await self.put(log, 1, 2)
        await asyncio.sleep(0.2)
        assert await self.numbers(log) == [0], "it still writes although its job was taken over"
        await other.run(drain=True)
        runner.stop()
        # A fenced runner may raise an error.
        with contextlib.suppress(HeadwaterError):
            async with asyncio.timeout(SECONDS_MAX):
                await running
        await self.put(log, 3)
        await new_runner(JOB, gate).run(drain=True)
        assert await self.numbers(log) == [0, 1, 2, 3]
