"""Jobs that wait for other services: order, what is in flight, retries, and what a failure of the store leaves."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headwater.connectors.contract import Column, TableShape
from headwater.errors import LookupUnavailable
from headwater.jobs import NotYet, Reject, Retry
from headwater.jobs.job import Job, ToStream, ToTable
from headwater.jobs.steps import Await, Context, Each, PerKey, Transition
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.supervisor import Supervisor
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit
from headwater.testing.memory_sink import MemorySink, MemoryTarget

SETTINGS = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01, commit_seconds=0.005)
SECONDS_MAX = 60.0
QUICK = Retry("60s", "1ms", "5ms")

Event = dict[str, Any]


class Service:
    """What the job calls: answers when the test says so, and records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.running = 0
        self.running_max = 0
        self.gates: dict[int, asyncio.Event] = {}
        self.failures: dict[int, list[BaseException]] = {}

    def hold(self, *numbers: int) -> None:
        for number in numbers:
            self.gates[number] = asyncio.Event()

    def let(self, *numbers: int) -> None:
        for number in numbers:
            self.gates[number].set()

    async def __call__(self, event: Event, context: Context) -> Event:
        number = event["n"]
        self.calls.append((number, context.attempt))
        event["seen"] = event.get("seen", 0) + 1
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        try:
            await asyncio.sleep(0)
            if number in self.gates:
                await self.gates[number].wait()
            if self.failures.get(number):
                raise self.failures[number].pop(0)
            return {"$schema": "/out/1.0.0", "n": number, "seen": event["seen"], "key": event.get("key")}
        finally:
            self.running -= 1


def job(call: Callable[[Event, Context], Awaitable[Any]], *more: PerKey | Each, **settings: Any) -> Job:
    return Job("calling", ("in",), (Await("call", call, **settings), *more), ToStream("out"))


def by_key(event: Event, context: Context) -> Any:
    return event["key"]


async def kit_of(made: Job, settings: RunnerSettings = SETTINGS, **more: Any) -> JobKit:
    kit = JobKit(made, settings=settings, **more)
    await kit.open()
    return kit


async def numbers(kit: JobKit) -> list[int]:
    return [event["n"] for event in await kit.events()]


class Running:
    """The runner of a kit as a task."""

    def __init__(self, kit: JobKit) -> None:
        self._kit = kit

    async def __aenter__(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self._kit.runner.run())
        return self.task

    async def __aexit__(self, *_: object) -> None:
        self._kit.runner.stop()
        async with asyncio.timeout(SECONDS_MAX):
            await self.task


async def test_results_are_written_in_the_order_of_the_events_whatever_order_the_calls_end_in() -> None:
    service = Service()
    service.hold(0, 1, 2, 3)
    kit = await kit_of(job(service))
    await kit.put(*({"n": n} for n in range(4)))
    async with Running(kit):
        await eventually(lambda: service.running == 4)
        service.let(3, 2)
        await eventually(lambda: service.running == 2)
        assert await numbers(kit) == []
        service.let(0)
        await eventually(lambda: has(kit, [0]))
        service.let(1)
        await eventually(lambda: has(kit, [0, 1, 2, 3]))


async def has(kit: JobKit, expected: list[int]) -> bool:
    return await numbers(kit) == expected


async def test_a_slow_call_holds_back_what_follows_its_key_and_no_other_calls() -> None:
    service = Service()
    service.hold(0)
    kit = await kit_of(job(service, key=by_key))
    await kit.put({"n": 0, "key": "slow"}, {"n": 1, "key": "slow"}, *({"n": n, "key": f"k{n}"} for n in range(2, 40)))
    async with Running(kit):
        await eventually(lambda: len(service.calls) == 39)
        assert 1 not in [number for number, _ in service.calls]
        service.let(0)
        await eventually(lambda: has(kit, list(range(40))))
    assert service.calls[-1] == (1, 1)


async def test_events_of_a_key_are_called_one_after_the_other_also_while_one_is_retried() -> None:
    service = Service()
    service.failures = {0: [NotYet("later"), NotYet("later")], 2: [NotYet("later")]}
    kit = await kit_of(job(service, key=by_key, retry=QUICK))
    await kit.put(*({"n": n, "key": "one"} for n in range(4)))
    await kit.run()
    assert service.calls == [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2), (3, 1)]
    assert await numbers(kit) == [0, 1, 2, 3]


async def test_each_attempt_gets_the_event_as_it_was_read() -> None:
    service = Service()
    service.failures = {0: [NotYet("later"), NotYet("later")]}
    kit = await kit_of(job(service, retry=QUICK))
    await kit.put({"n": 0})
    await kit.run()
    assert [event["seen"] for event in await kit.events()] == [1]


async def test_in_a_later_step_too_each_attempt_gets_the_event_as_the_step_before_made_it() -> None:
    first, second = Service(), Service()
    second.failures = {0: [NotYet("later"), NotYet("later")]}
    steps = (Await("first", first, retry=QUICK), Await("second", second, retry=QUICK))
    kit = await kit_of(Job("calling", ("in",), steps, ToStream("out")))
    await kit.put({"n": 0})
    await kit.run()
    assert [event["seen"] for event in await kit.events()] == [2]


async def test_no_more_calls_run_at_once_than_the_step_allows() -> None:
    service = Service()
    service.hold(0, 1, 2)
    kit = await kit_of(job(service, concurrency=3))
    await kit.put(*({"n": n} for n in range(50)))
    async with Running(kit):
        await eventually(lambda: service.running == 3)
        service.let(0, 1, 2)
        await eventually(lambda: has(kit, list(range(50))))
    assert service.running_max == 3


async def test_several_steps_that_await_keep_the_order_of_a_key() -> None:
    first, second = Service(), Service()
    first.hold(0)
    steps = (Await("first", first), Await("second", second, key=by_key))
    kit = await kit_of(Job("calling", ("in",), steps, ToStream("out")))
    await kit.put(*({"n": n, "key": "one"} for n in range(5)))
    async with Running(kit):
        await eventually(lambda: first.running == 1 and len(first.calls) == 5)
        assert second.calls == []
        first.let(0)
        await eventually(lambda: has(kit, [0, 1, 2, 3, 4]))
    assert [number for number, _ in second.calls] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [ValueError("wrong"), Reject("no such page"), SystemExit(3), KeyError("x")])
async def test_what_is_not_transient_is_an_error_event_at_once(error: BaseException) -> None:
    service = Service()
    service.failures = {1: [error]}
    kit = await kit_of(job(service, retry=QUICK))
    await kit.put(*({"n": n} for n in range(3)))
    await kit.run()
    assert await numbers(kit) == [0, 2]
    assert [one["meta"]["failure"]["exception"] for one in await kit.errors()] == [type(error).__name__]
    assert (1, 2) not in service.calls


@pytest.mark.parametrize("error", [NotYet("later"), ConnectionResetError("gone"), TimeoutError("slow"), OSError("own")])
async def test_what_is_transient_is_retried_until_its_time_is_over(error: BaseException) -> None:
    service = Service()
    service.failures = {1: [error] * 1000}
    kit = await kit_of(job(service, retry=Retry("50ms", "1ms", "10ms", on=OSError)))
    await kit.put(*({"n": n} for n in range(3)))
    await kit.run()
    assert await numbers(kit) == [0, 2]
    assert [one["meta"]["failure"]["exception"] for one in await kit.errors()] == [type(error).__name__]
    assert len([n for n, _ in service.calls if n == 1]) > 2


async def test_a_retry_waits_as_long_as_the_service_asks_for() -> None:
    service = Service()
    service.failures = {1: [LookupUnavailable("busy", back_off_seconds=0.2)]}
    kit = await kit_of(job(service, retry=Retry("60s", "1ms", "10ms")))
    await kit.put({"n": 1})
    began = time.monotonic()
    await kit.run()
    assert time.monotonic() - began >= 0.2
    assert await numbers(kit) == [1]


async def test_without_a_policy_nothing_is_retried() -> None:
    service = Service()
    service.failures = {0: [NotYet("later")]}
    kit = await kit_of(job(service, retry=None))
    await kit.put({"n": 0}, {"n": 1})
    await kit.run()
    assert await numbers(kit) == [1]
    assert len(await kit.errors()) == 1


async def test_a_call_that_takes_too_long_is_cancelled_and_tried_again() -> None:
    service = Service()
    service.hold(0)
    kit = await kit_of(job(service, timeout_ms=20, retry=QUICK))
    await kit.put({"n": 0}, {"n": 1})
    async with Running(kit):
        await eventually(lambda: (0, 3) in service.calls)
        service.let(0)
        await eventually(lambda: has(kit, [0, 1]))
    assert await kit.errors() == []


async def test_code_that_cancels_its_own_call_fails_alone() -> None:
    async def cancels(event: Event, context: Context) -> Event:
        if event["n"] == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(10)
        return {"$schema": "/out/1.0.0", "n": event["n"]}

    kit = await kit_of(job(cancels))
    await kit.put(*({"n": n} for n in range(3)))
    await kit.run()
    assert await numbers(kit) == [0, 2]
    assert [one["meta"]["failure"]["exception"] for one in await kit.errors()] == ["CancelledError"]


async def test_an_event_that_makes_several_or_none_keeps_them_in_order() -> None:
    async def several(event: Event, context: Context) -> list[Event]:
        await asyncio.sleep(0.001 * (3 - event["n"] % 3))
        return [{"$schema": "/out/1.0.0", "n": 10 * event["n"] + i} for i in range(event["n"] % 3)]

    kit = await kit_of(job(several))
    await kit.put(*({"n": n} for n in range(7)))
    await kit.run()
    assert await numbers(kit) == [10, 20, 21, 40, 50, 51]


async def test_the_steps_around_it_are_applied_in_order() -> None:
    def doubled(event: Event, context: Context) -> list[Event]:
        return [{**event, "part": part} for part in range(2)] if event["n"] != 2 else []

    async def call(event: Event, context: Context) -> Event:
        await asyncio.sleep(0.001 * (1 - event["part"]))
        return event

    def counted(state: Any, event: Event, context: Context) -> Transition:
        number = (state or 0) + 1
        return Transition(
            number, events=[{"$schema": "/out/1.0.0", "n": 100 * number + 10 * event["n"] + event["part"]}]
        )

    steps = (Each("double", doubled), Await("call", call), PerKey("count", lambda event, context: "all", counted))
    kit = await kit_of(Job("calling", ("in",), steps, ToStream("out")))
    await kit.put(*({"n": n} for n in range(4)))
    await kit.run()
    assert await numbers(kit) == [100, 201, 310, 411, 530, 631]


async def test_not_more_is_read_than_may_be_in_flight() -> None:
    service = Service()
    service.hold(0)
    settings = dataclasses.replace(SETTINGS, in_flight_events_max=20, batch_records_max=7)
    kit = await kit_of(job(service), settings)
    await kit.put(*({"n": n} for n in range(200)))
    async with Running(kit):
        await eventually(lambda: len(service.calls) == 20)
        await asyncio.sleep(0.05)
        assert len(service.calls) == 20
        assert kit.runner.status.report().calls.in_flight == 20
        assert await kit.runner.lag() == 200
        service.let(0)
        await eventually(lambda: has(kit, list(range(200))))
    assert kit.runner.status.report().calls.in_flight == 0


async def test_results_count_for_the_memory_in_flight_and_the_first_event_may_always_be_called() -> None:
    started: list[int] = []
    held = asyncio.Event()

    async def large(event: Event, context: Context) -> Event:
        started.append(event["n"])
        if event["n"] == 0:
            await held.wait()
        return {"$schema": "/out/1.0.0", "n": event["n"], "text": "x" * 10_000}

    settings = dataclasses.replace(SETTINGS, in_flight_bytes_max=50_000)
    kit = await kit_of(job(large, concurrency=2), settings)
    await kit.put(*({"n": n} for n in range(100)))
    async with Running(kit):
        await eventually(lambda: kit.runner.status.report().calls.in_flight_bytes >= 50_000)
        await asyncio.sleep(0.05)
        assert len(started) <= 8
        held.set()
        await eventually(lambda: has(kit, list(range(100))))


async def test_many_events_are_committed_together() -> None:
    async def slow(event: Event, context: Context) -> Event:
        await asyncio.sleep(0.001 * (event["n"] % 5))
        return {"$schema": "/out/1.0.0", "n": event["n"]}

    kit = await kit_of(job(slow), dataclasses.replace(SETTINGS, commit_seconds=0.05))
    commits = 0
    append = kit.log.append

    async def counting(*given: Any, **named: Any) -> Any:
        nonlocal commits
        commits += named.get("commit") is not None
        return await append(*given, **named)

    kit.log.append = counting  # type: ignore[method-assign]
    await kit.put(*({"n": n} for n in range(500)))
    async with Running(kit):
        await eventually(lambda: has(kit, list(range(500))))
    assert commits < 50


async def test_what_a_stopped_run_had_in_flight_is_begun_again() -> None:
    service = Service()
    service.hold(2)
    kit = await kit_of(job(service))
    await kit.put(*({"n": n} for n in range(5)))
    async with Running(kit):
        await eventually(lambda: has(kit, [0, 1]))
    assert service.running == 0
    service.let(2)
    await kit.run()
    assert await numbers(kit) == [0, 1, 2, 3, 4]
    ids = [event["meta"]["id"] for event in await kit.events()]
    assert len(set(ids)) == 5


async def test_events_are_found_late_when_they_leave_the_window() -> None:
    late: list[int] = []

    async def call(event: Event, context: Context) -> Event:
        await asyncio.sleep(0.02 if event["n"] == 0 else 0)
        return event

    def watch(state: Any, event: Event, context: Context) -> Transition:
        late.append(context.watermark_ms)
        return Transition(None)

    steps = (Await("call", call), PerKey("watch", lambda event, context: "all", watch))
    settings = dataclasses.replace(SETTINGS, batch_records_max=1)
    kit = await kit_of(Job("calling", ("in",), steps, ToStream("out")), settings)
    times = ("2025-01-01T00:00:10Z", "2025-01-01T00:00:20Z", "2025-01-01T00:00:30Z")
    for number, at in enumerate(times):
        await kit.put({"n": number, "meta": {"dt": at}})
    await kit.run_live()
    assert len(set(late)) == 3
    assert late == sorted(late)


PAGES = TableShape("pages", (Column("n", "integer", "n"), Column("seen", "integer", "seen")), ("n",))


async def test_rows_of_a_table_are_written_in_the_order_of_the_events() -> None:
    service = Service()
    service.hold(0)
    target = MemoryTarget()
    filling = Job("calling", ("in",), (Await("call", service),), ToTable(PAGES))
    kit = await kit_of(filling, sink=MemorySink(target, PAGES))
    await kit.put(*({"n": n, "meta": {"id": f"id-{n}"}} for n in range(20)))
    async with Running(kit):
        await eventually(lambda: len(service.calls) == 20)
        assert await kit.runner.lag() == 20
        service.let(0)
        await eventually(lambda: kit.runner.status.report().written == 20)
    assert kit.runner.status.report().errors == 0


async def test_an_event_with_which_every_commit_fails_is_set_aside_and_the_others_are_written() -> None:
    service = Service()
    kit = await kit_of(job(service))
    append = kit.log.append

    async def refusing(records: Any, **named: Any) -> Any:
        if any(record.topic == "out" and b'"n":3,' in record.value for record in records):
            raise ValueError("this one cannot be stored")
        return await append(records, **named)

    kit.log.append = refusing  # type: ignore[method-assign]
    await kit.put(*({"n": n} for n in range(6)))
    supervisor = Supervisor(kit.runner, pause_seconds=0.001)
    supervisor.start()
    try:
        await eventually(lambda: has(kit, [0, 1, 2, 4, 5]))
    finally:
        await supervisor.stop()
    (error,) = await kit.errors()
    assert error["raw_event"] == '{"n":3}'


async def test_code_that_cancels_the_run_in_a_later_step_is_set_aside() -> None:
    def cancels(event: Event, context: Context) -> Event:
        if event["n"] == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            time.sleep(0.01)
        return event

    kit = await kit_of(job(Service(), Each("cancels", cancels)))
    await kit.put(*({"n": n} for n in range(4)))
    supervisor = Supervisor(kit.runner, pause_seconds=0.001)
    supervisor.start()

    async def is_last_there() -> bool:
        return 3 in await numbers(kit)

    try:
        await eventually(is_last_there)
    finally:
        await supervisor.stop()
    aside = [json.loads(error["raw_event"])["n"] for error in await kit.errors()]
    assert sorted([*await numbers(kit), *aside]) == [0, 1, 2, 3]
    assert aside in ([], [1])
