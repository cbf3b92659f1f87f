"""Parked events: tried again after each park and across restarts, bounded, and in order if their key is held."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import NotYet, Retry
from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Await, Context, Each, PerKey, Transition
from headwater.processing.embedded.runner import runner_on
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.status import JobReport
from headwater.processing.supervisor import Supervisor
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit, open_gate
from headwater.testing.oracle_kafka import OracleKafkaLog
from headwater.testing.oracle_log import OracleLog

Event = dict[str, Any]
SETTINGS = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01, commit_seconds=0.005)
SHORT = Retry("20ms", "2ms", "5ms", park=("1m", "10m"))
HOLDING = Retry("20ms", "2ms", "5ms", park=("1m", "10m"), hold_key=True)
MINUTE = 60.0


class Service:
    """Fails for the numbers in `down`."""

    def __init__(self, *down: int) -> None:
        self.down = set(down)
        self.calls: list[tuple[int, int]] = []

    async def __call__(self, event: Event, context: Context) -> Event:
        self.calls.append((event["n"], context.attempt))
        event["changed"] = True
        await asyncio.sleep(0)
        if event["n"] in self.down:
            raise NotYet("not replicated")
        return {"$schema": "/out/1.0.0", "n": event["n"], "attempt": context.attempt}


def by_key(event: Event, context: Context) -> Any:
    return event.get("key")


def job(service: Service, retry: Retry, *before: Each | Await, after: tuple[PerKey, ...] = ()) -> Job:
    steps = (*before, Await("call", service, 8, retry, key=by_key), *after)
    return Job("parking", ("in",), steps, ToStream("out"))


async def kit_of(made: Job, settings: RunnerSettings = SETTINGS, log: OracleLog | None = None) -> JobKit:
    kit = JobKit(made, settings=settings, log=log)
    await kit.open()
    # From now on the test moves the clock.
    kit.clock.advance(1)
    return kit


def report(kit: JobKit) -> JobReport:
    return kit.runner.status.report()


async def numbers(kit: JobKit) -> list[int]:
    return [event["n"] for event in await kit.events()]


class Running:
    def __init__(self, kit: JobKit) -> None:
        self._kit = kit

    async def __aenter__(self) -> None:
        self.task = asyncio.create_task(self._kit.runner.run())

    async def __aexit__(self, *_: object) -> None:
        self._kit.runner.stop()
        async with asyncio.timeout(60):
            await self.task


async def has(kit: JobKit, *expected: int) -> bool:
    return await numbers(kit) == list(expected)


async def test_a_parked_event_leaves_the_window_and_is_tried_again_after_its_park() -> None:
    service = Service(0)
    kit = await kit_of(job(service, SHORT))
    await kit.put(*({"n": n} for n in range(3)))
    async with Running(kit):
        await eventually(lambda: has(kit, 1, 2))
        await eventually(lambda: report(kit).calls.parked == 1)
        assert report(kit).calls.in_flight == 0
        assert await kit.runner.lag() == 0
        service.down.clear()
        tried = len(service.calls)
        kit.clock.advance(MINUTE - 1)
        await asyncio.sleep(0.1)
        assert len(service.calls) == tried
        kit.clock.advance(2)
        await eventually(lambda: has(kit, 1, 2, 0))
        await eventually(lambda: report(kit).calls.parked == 0)
    assert await kit.errors() == []


async def test_after_the_last_park_it_is_an_error_event() -> None:
    service = Service(0)
    kit = await kit_of(job(service, SHORT))
    await kit.put({"n": 0})
    async with Running(kit):
        await eventually(lambda: report(kit).calls.parked == 1)
        attempts = len(service.calls)
        kit.clock.advance(MINUTE)
        await eventually(lambda: len(service.calls) == attempts + 1)
        assert report(kit).calls.parked == 1
        kit.clock.advance(9 * MINUTE)
        await asyncio.sleep(0.1)
        assert len(service.calls) == attempts + 1
        kit.clock.advance(2 * MINUTE)
        await eventually(lambda: report(kit).errors == 1)
        assert report(kit).calls.parked == 0
    (error,) = await kit.errors()
    assert error["error_type"] == "NOT_YET"
    assert error["raw_event"] == '{"n":0}'
    assert service.calls[-1] == (0, attempts + 2)


async def test_what_is_parked_is_still_there_after_a_restart() -> None:
    log = OracleLog()
    service = Service(0)
    kit = await kit_of(job(service, SHORT), log=log)
    await kit.put({"n": 0}, {"n": 1})
    async with Running(kit):
        await eventually(lambda: report(kit).calls.parked == 1)
    service.down.clear()
    other = JobKit(job(service, SHORT), settings=SETTINGS, log=log)
    other.clock.now = kit.clock.now
    async with Running(other):
        await eventually(lambda: report(other).calls.parked == 1)
        other.clock.advance(MINUTE + 1)
        await eventually(lambda: has(other, 1, 0))
    ids = [event["meta"]["id"] for event in await other.events()]
    assert len(set(ids)) == 2


async def test_without_hold_key_later_events_of_the_key_overtake_a_parked_one() -> None:
    service = Service(0)
    kit = await kit_of(job(service, SHORT))
    await kit.put(*({"n": n, "key": "one"} for n in range(3)))
    async with Running(kit):
        await eventually(lambda: has(kit, 1, 2))


async def test_with_hold_key_later_events_of_the_key_follow_a_parked_one_in_order() -> None:
    service = Service(0, 2)
    kit = await kit_of(job(service, HOLDING))
    await kit.put(*({"n": n, "key": "one"} for n in range(4)), {"n": 9, "key": "other"})
    async with Running(kit):
        await eventually(lambda: has(kit, 9))
        await eventually(lambda: report(kit).calls.parked == 4)
        await kit.put({"n": 4, "key": "one"})
        await eventually(lambda: report(kit).calls.parked == 5)
        service.down.discard(0)
        kit.clock.advance(MINUTE)
        await eventually(lambda: has(kit, 9, 0, 1))
        await eventually(lambda: report(kit).calls.parked == 3)
        await kit.put({"n": 5, "key": "one"})
        service.down.clear()
        kit.clock.advance(MINUTE)
        await eventually(lambda: has(kit, 9, 0, 1, 2, 3, 4, 5))
        await eventually(lambda: report(kit).calls.parked == 0)
        await kit.put({"n": 6, "key": "one"})
        await eventually(lambda: has(kit, 9, 0, 1, 2, 3, 4, 5, 6))
    assert await kit.errors() == []


async def test_events_held_by_one_that_is_given_up_follow_it() -> None:
    service = Service(0)
    kit = await kit_of(job(service, HOLDING))
    await kit.put(*({"n": n, "key": "one"} for n in range(3)))
    async with Running(kit):
        await eventually(lambda: report(kit).calls.parked == 3)
        attempts = len(service.calls)
        kit.clock.advance(MINUTE)
        await eventually(lambda: len(service.calls) == attempts + 1)
        await eventually(lambda: report(kit).calls.in_flight == 0)
        kit.clock.advance(10 * MINUTE)
        await eventually(lambda: has(kit, 1, 2))
    assert len(await kit.errors()) == 1


async def test_what_does_not_fit_into_the_park_is_an_error_event() -> None:
    service = Service(*range(5))
    kit = await kit_of(job(service, SHORT), dataclasses.replace(SETTINGS, parked_events_max=2))
    await kit.put(*({"n": n} for n in range(5)))
    async with Running(kit):
        await eventually(lambda: report(kit).errors == 3)
        assert report(kit).calls.parked == 2
        assert report(kit).calls.parked_bytes > 0


async def test_a_run_that_ends_tries_what_is_parked_at_once() -> None:
    service = Service(1)
    kit = await kit_of(job(service, SHORT))
    await kit.put(*({"n": n} for n in range(3)))
    await kit.run()
    assert await numbers(kit) == [0, 2]
    assert len(await kit.errors()) == 1
    assert report(kit).calls.parked == 0


async def test_an_event_that_a_later_step_parks_is_the_one_that_the_step_before_made() -> None:
    async def doubled(event: Event, context: Context) -> list[Event]:
        return [{"n": 10 * event["n"] + part} for part in range(2)]

    def filtered(event: Event, context: Context) -> Event | None:
        return None if event["n"] == 7 else event

    service = Service(11)
    before = (Each("filter", filtered), Await("double", doubled), Each("pass", lambda event, context: event))
    kit = await kit_of(job(service, SHORT, *before))
    await kit.put({"n": 7}, {"n": 1}, {"n": 2})
    async with Running(kit):
        await eventually(lambda: has(kit, 10, 20, 21))
        service.down.clear()
        kit.clock.advance(MINUTE)
        await eventually(lambda: has(kit, 10, 20, 21, 11))
    ids = [event["meta"]["id"] for event in await kit.events()]
    assert len(set(ids)) == 4


async def test_what_was_parked_reaches_the_steps_that_follow() -> None:
    def count(state: Any, event: Event, context: Context) -> Transition:
        number = (state or 0) + 1
        return Transition(number, events=[{"$schema": "/out/1.0.0", "n": 100 * number + event["n"]}])

    service = Service(0)
    kit = await kit_of(job(service, SHORT, after=(PerKey("count", lambda event, context: "all", count),)))
    await kit.put({"n": 0}, {"n": 1})
    async with Running(kit):
        await eventually(lambda: has(kit, 101))
        service.down.clear()
        kit.clock.advance(MINUTE)
        await eventually(lambda: has(kit, 101, 200))


def test_a_job_that_parks_is_refused_where_no_state_is_kept() -> None:
    made = job(Service(), SHORT)
    kit = JobKit(made)
    with pytest.raises(JobInvalid, match="keeps no keyed state"):
        runner_on(OracleKafkaLog(), made, open_gate(kit.streams))


@pytest.mark.parametrize("others", [0, 3])
async def test_a_parked_event_with_which_every_commit_fails_is_set_aside_and_no_other_is(others: int) -> None:
    service = Service(0, *range(10, 10 + others))
    kit = await kit_of(job(service, SHORT))
    append = kit.log.append

    async def refusing(records: Any, **named: Any) -> Any:
        if any(record.topic == "out" and b'"n":0,' in record.value for record in records):
            raise ValueError("this one cannot be stored")
        return await append(records, **named)

    kit.log.append = refusing  # type: ignore[method-assign]
    await kit.put(*({"n": n} for n in (10, 11, 12)[:others]), {"n": 0}, *({"n": n} for n in range(1, 4)))
    supervisor = Supervisor(kit.runner, pause_seconds=0.001)
    supervisor.start()
    try:
        await eventually(lambda: has(kit, 1, 2, 3))
        await eventually(lambda: report(kit).calls.parked == 1 + others)
        service.down.clear()
        kit.clock.advance(MINUTE + 1)
        await eventually(kit.errors)
        await kit.put({"n": 4})

        async def all_written() -> bool:
            return sorted(await numbers(kit)) == [1, 2, 3, 4, *(10, 11, 12)[:others]]

        await eventually(all_written)
        await eventually(lambda: report(kit).calls.parked == 0)
    finally:
        await supervisor.stop()
    (error,) = await kit.errors()
    assert error["raw_event"] == '{"n":0}'
    assert "this one cannot be stored" in error["message"]
