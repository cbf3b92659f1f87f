"""Job files, sinks and supervisors hold what foreign code raises; a real Ctrl + C and a real cancellation pass."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from foreign_failures import FAILURES
from headwater.connectors.contract import Delivery, SinkFeatures
from headwater.errors import JobInvalid
from headwater.foreign import Escaped, awaited, contain, described, stack_of
from headwater.jobs import Context, Job, job, table
from headwater.jobs.loader import load_jobs
from headwater.processing.embedded.partitioned import shared_features
from headwater.processing.status import RunnerStatus
from headwater.processing.supervisor import Supervisor
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit

WAIT_SECONDS = 20.0


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except BaseException as error:
        try:
            contain(error)
        except BaseException:
            return "passed on"
        return "contained"
    return "nothing"


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_contained_and_can_be_described(failure: str) -> None:
    assert outcome(FAILURES[failure]) == "contained"
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any will do
        FAILURES[failure]()
    assert caught.type.__name__ in described(caught.value)
    assert caught.type.__name__.encode() in stack_of(caught.value).encode()


def interrupted() -> None:
    """What Ctrl + C does to a program that is busy."""
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10**7):
        pass


def interrupted_while_waiting() -> None:
    threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    time.sleep(WAIT_SECONDS)


def cleaned_up() -> None:
    try:
        interrupted()
    finally:
        contextlib.nullcontext()


def raised_again() -> None:
    try:
        interrupted()
    except KeyboardInterrupt:
        raise


def raised_anew() -> None:
    try:
        interrupted()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped") from None


@pytest.mark.parametrize("call", [interrupted, interrupted_while_waiting, cleaned_up, raised_again, raised_anew])
def test_ctrl_c_passes_through_foreign_code(call: Callable[[], Any]) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert outcome(call) == "passed on"
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_by_a_handler_in_python_passes_through_foreign_code() -> None:
    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        assert outcome(interrupted) == "passed on"
        assert outcome(FAILURES["KeyboardInterrupt"]) == "contained"
    finally:
        signal.signal(signal.SIGINT, before)


async def test_a_real_cancellation_passes_and_one_that_was_only_raised_does_not() -> None:
    async def waits() -> None:
        await asyncio.sleep(WAIT_SECONDS)

    async def raises() -> None:
        raise asyncio.CancelledError

    task = asyncio.create_task(awaited(waits()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    with pytest.raises(Escaped, match="CancelledError"):
        await awaited(raises())


async def test_foreign_work_that_is_thrown_away_ends_quietly() -> None:
    async def waits() -> None:
        await asyncio.sleep(WAIT_SECONDS)

    work = awaited(waits())
    work.send(None)
    work.close()


# ---- job files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", FAILURES)
def test_a_job_file_that_raises_is_named_with_its_line(
    tmp_path: Path, failure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f'import foreign_failures\n\nprint("done")\nforeign_failures.FAILURES[{failure!r}]()\n'
    (tmp_path / "script.py").write_text(text, encoding="utf-8")
    with pytest.raises(JobInvalid) as caught:
        load_jobs(tmp_path, tmp_path)
    assert (caught.value.file, caught.value.line) == ("script.py", 4)
    assert capsys.readouterr().out == "", "standard output is the verb's"


def test_signals_do_after_loading_what_they_did_before(tmp_path: Path) -> None:
    text = "import signal\nfor number in (signal.SIGINT, signal.SIGTERM):\n    signal.signal(number, signal.SIG_IGN)\n"
    (tmp_path / "deaf.py").write_text(text, encoding="utf-8")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    load_jobs(tmp_path, tmp_path)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_values_in_a_job_file_are_not_asked_what_they_are(tmp_path: Path) -> None:
    text = """
from headwater.jobs import job

class Proxy:
    @property
    def __class__(self):
        raise SystemExit(1)

proxy = Proxy()

@job(source="a")
def found(event, context): ...
"""
    (tmp_path / "proxy.py").write_text(text, encoding="utf-8")
    assert [one.name for one in load_jobs(tmp_path, tmp_path)] == ["found"]


# ---- sinks ---------------------------------------------------------------------------------------------------------


class MemorySink:
    """Keeps rows in a list; raises what the event names, at the place it names."""

    features = SinkFeatures(token_in_target=True, upsert=False)

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.token: str | None = None
        self.writes = 0
        self.broken = False

    async def open(self) -> str | None:
        return self.token

    def check(self, delivery: Delivery) -> None:
        self._raise(delivery, "check")

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        self.writes += 1
        await asyncio.sleep(0)
        if self.broken:
            raise SystemExit(9)
        for delivery in deliveries:
            self._raise(delivery, "write")
        self.rows += [delivery.value["n"] for delivery in deliveries]
        self.token = token

    async def close(self) -> None:
        """Nothing is open."""

    def _raise(self, delivery: Delivery, where: str) -> None:
        if delivery.value.get("at") == where:
            FAILURES[delivery.value["what"]]()


@pytest.mark.parametrize("where", ["check", "write"])
async def test_an_event_that_a_sink_fails_with_each_time_is_set_aside(where: str) -> None:
    sink = MemorySink()
    kit = JobKit(table("t", source="in", columns={"n": "integer"}), sink=sink)
    await kit.open()
    events: list[dict[str, Any]] = []
    for what in FAILURES:
        events += [{"n": len(events)}, {"n": -1, "at": where, "what": what}]
    await kit.put(*events, {"n": len(events)})
    supervisor = Supervisor(kit.runner, pause_seconds=0.001)
    supervisor.start()
    await eventually(lambda: len(sink.rows) == len(FAILURES) + 1 and supervisor.report().read >= len(events))
    await supervisor.stop()
    assert sink.rows == list(range(0, len(events) + 1, 2))
    errors = await kit.errors()
    assert len({error["meta"]["id"] for error in errors}) == len(FAILURES) == len(errors)


async def test_a_sink_that_takes_nothing_loses_nothing_and_sets_nothing_aside() -> None:
    sink = MemorySink()
    kit = JobKit(table("t", source="in", columns={"n": "integer"}), sink=sink)
    await kit.open()
    await kit.put({"n": 1}, {"n": 2})
    sink.broken = True
    supervisor = Supervisor(kit.runner, pause_seconds=0.001)
    supervisor.start()
    await eventually(lambda: supervisor.report().restarts > 6)
    assert await kit.errors() == []
    assert "SystemExit" in (supervisor.report().trouble or "")
    sink.broken = False
    await eventually(lambda: sink.rows == [1, 2])
    await supervisor.stop()


# ---- what ends a job -----------------------------------------------------------------------------------------------


class Restless:
    """A runner that ends as requested, then continues; its job is irrelevant."""

    def __init__(self, *endings: Callable[[], Any]) -> None:
        self.job = job(source="a", name="restless")(lambda event, context: None)
        self.status = RunnerStatus(self.job, Telemetry())
        self.features = shared_features(streams=True)
        self.endings = list(endings)
        self.attempts = 0
        self._stopping = asyncio.Event()

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        return ()

    async def run(self, *, drain: bool = False) -> None:
        self.attempts += 1
        await asyncio.sleep(0)
        if self.endings:
            self.endings.pop(0)()
            return
        self.status.running()
        await self._stopping.wait()

    def stop(self) -> None:
        self._stopping.set()

    def cancelled_itself(self) -> None: ...

    async def fence(self) -> None: ...

    async def lag(self) -> int:
        return 0


def cancels_its_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def test_a_job_that_ends_for_whatever_reason_is_started_again() -> None:
    runner = Restless(*FAILURES.values(), lambda: None)
    supervisor = Supervisor(runner, pause_seconds=0.0)
    supervisor.start()
    await eventually(lambda: runner.status.state == "running")
    assert runner.attempts == len(FAILURES) + 2
    assert supervisor.report().restarts == len(FAILURES) + 1
    assert "without being asked" in (supervisor.report().last_error or "")
    await supervisor.stop()
    assert supervisor.report().state == "stopped"


async def test_a_job_whose_function_cancels_its_own_task_goes_on() -> None:
    @job(source="in", sink="out")
    def cancels(event: dict[str, Any], context: Context) -> dict[str, Any]:
        if event["n"] == 1:
            cancels_its_task()
        return {"$schema": "/out/1.0.0", "n": event["n"]}

    kit = JobKit(cancels)
    await kit.open()
    await kit.put(*[{"n": n} for n in range(4)])
    supervisor = Supervisor(kit.runner, pause_seconds=0.001)
    supervisor.start()
    # A cancellation that comes while the batch is stored does not hinder that: then the event is among those made.
    async with asyncio.timeout(WAIT_SECONDS):
        while len(await kit.events()) + len(await kit.errors()) < 4:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    await supervisor.stop()
    assert {event["n"] for event in await kit.events()} >= {0, 2, 3}
    assert len(await kit.events()) + len(await kit.errors()) == 4
    assert supervisor.report().restarts > 0


async def test_a_run_that_others_cancel_again_and_again_sets_nothing_aside() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    class Waits(MemorySink):
        async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
            if deliveries:
                started.set()
                await go_on.wait()
            await super().write(deliveries, token)

    sink = Waits()
    kit = JobKit(table("t", source="in", columns={"n": "integer"}), sink=sink)
    await kit.open()
    await kit.put({"n": 1})
    for _ in range(6):
        started.clear()
        task = asyncio.create_task(kit.runner.run())
        await started.wait()
        task.cancel()
        # The write at hand is waited for, and fails as it was cancelled, too.
        for other in asyncio.all_tasks() - {task, asyncio.current_task()}:
            other.cancel()
        await asyncio.wait((task,))
    go_on.set()
    await kit.run()
    assert sink.rows == [1]
    assert await kit.errors() == []


async def test_a_supervisor_that_is_cancelled_ends_at_once() -> None:
    runner = Restless()
    supervisor = Supervisor(runner)
    supervisor.start()
    await eventually(lambda: runner.status.state == "running")
    task = supervisor._task
    assert task is not None
    task.cancel()
    await asyncio.wait((task,), timeout=WAIT_SECONDS)
    assert task.cancelled()


async def test_pauses_grow_with_jitter_up_to_a_bound_and_begin_anew_after_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headwater.processing.supervisor.PAUSE_SECONDS_MAX", 0.008)
    pauses: list[float] = []
    runner = Restless(*[FAILURES["MemoryError"]] * 8)
    restarting = runner.status.restarting

    def noted(error: BaseException, pause_seconds: float, *, unforeseen: bool = False) -> None:
        pauses.append(pause_seconds)
        restarting(error, pause_seconds, unforeseen=unforeseen)
        if len(pauses) == 6:
            runner.endings[0] = lambda: runner.status.read(1, 0)

    monkeypatch.setattr(runner.status, "restarting", noted)
    supervisor = Supervisor(runner, pause_seconds=0.001, random=iter([0.0, 1.0] * 4).__next__)
    supervisor.start()
    await eventually(lambda: runner.status.state == "running")
    await supervisor.stop()
    assert pauses == [0.0005, 0.002, 0.002, 0.008, 0.004, 0.008, 0.0005, 0.002]
