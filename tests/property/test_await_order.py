"""Jobs that await, for any interleaving of partitions, any order in which calls end, and any moment of a failure."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import HeadwaterError, LogUnavailable
from headwater.jobs import NotYet, Retry
from headwater.jobs.job import Job, ToStream
from headwater.jobs.steps import Await, Context, PerKey, Transition
from headwater.log.contract import Record
from headwater.processing.embedded.settings import RunnerSettings
from headwater.testing.job_kit import JobKit

Event = dict[str, Any]
SETTINGS = RunnerSettings(
    wait_seconds=0.01, retries_max=0, commit_seconds=0.0, batch_records_max=4, in_flight_events_max=8
)
RUNS_MAX = 40

# An event: its partition, its key, in how many turns of the event loop its call ends, and how often it fails before.
EVENTS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 6), st.integers(0, 2)), max_size=24)


RETRIED = Retry("60s", "1ms", "2ms")
# Parked at once, and tried again when the test advances the clock.
PARKED = Retry("0s", "1ms", "1ms", park="1m,1m,1m", hold_key=True)


def counting_job(events: Sequence[tuple[int, int, int, int]], retry: Retry = RETRIED) -> Job:
    """Calls for each event as `EVENTS` says, in the order of its key, then numbers the events of the key."""

    async def call(event: Event, context: Context) -> Event:
        _, _, turns, failures = events[event["n"]]
        for _ in range(turns):
            await asyncio.sleep(0)
        if context.attempt <= failures:
            event["n"] = -1
            raise NotYet("later")
        return event

    def numbered(state: Any, event: Event, context: Context) -> Transition:
        number = (state or 0) + 1
        made = {"$schema": "/out/1.0.0", "n": event["n"], "key": event["key"], "number": number}
        return Transition(number, events=[made])

    def key(event: Event, context: Context) -> Any:
        return event["key"]

    steps = (Await("call", call, 3, retry, key=key), PerKey("number", key, numbered))
    return Job("calling", ("in",), steps, ToStream("out"))


def keyed(events: Sequence[tuple[int, int, int, int]]) -> list[tuple[int, Event]]:
    """(partition, event); a key is always in the same partition."""
    return [(key % 2, {"n": n, "key": key}) for n, (_, key, _, _) in enumerate(events)]


async def open_kit(events: Sequence[tuple[int, int, int, int]], retry: Retry = RETRIED) -> JobKit:
    kit = JobKit(counting_job(events, retry), partitions=2, settings=SETTINGS)
    await kit.open()
    for partition, event in keyed(events):
        await kit.put(event, partition=partition)
    return kit


def by_key(events: Sequence[Event]) -> dict[int, list[tuple[int, int]]]:
    """Key → its events in the order they were numbered: the topic of the output has several partitions."""
    found: dict[int, list[tuple[int, int]]] = {}
    for event in sorted(events, key=lambda event: event["number"]):
        found.setdefault(event["key"], []).append((event["n"], event["number"]))
    return found


def expected(events: Sequence[tuple[int, int, int, int]]) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for n, (_, key, _, _) in enumerate(events):
        found.setdefault(key, []).append((n, len(found.get(key, ())) + 1))
    return found


@settings(max_examples=20, deadline=None)
@given(EVENTS)
def test_each_key_has_the_same_output_in_order_whatever_order_the_calls_end_in(
    events: list[tuple[int, int, int, int]],
) -> None:
    async def run() -> list[Event]:
        kit = await open_kit(events)
        await kit.run()
        assert await kit.errors() == []
        return await kit.events()

    assert by_key(asyncio.run(run())) == expected(events)


@settings(max_examples=20, deadline=None)
@given(EVENTS, st.integers(0, 2**32), st.sampled_from([RETRIED, PARKED]))
def test_a_run_that_is_cancelled_or_cannot_commit_at_any_moment_doubles_and_loses_nothing(
    events: list[tuple[int, int, int, int]], seed: int, retry: Retry
) -> None:
    chance = random.Random(seed)

    async def run() -> list[Event]:
        kit = await open_kit(events, retry)
        append = kit.log.append

        async def failing(records: Sequence[Record], **named: Any) -> Any:
            if named.get("commit") is not None and chance.random() < 0.3:
                raise LogUnavailable("not now")
            return await append(records, **named)

        kit.log.append = failing  # type: ignore[method-assign]
        for _ in range(RUNS_MAX):
            task = asyncio.create_task(kit.runner.run())
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
                if chance.random() < 0.05:
                    kit.clock.advance(40)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, HeadwaterError):
                await task
        kit.log.append = append  # type: ignore[method-assign]
        await kit.run()
        assert await kit.errors() == []
        return await kit.events()

    found = asyncio.run(run())
    assert by_key(found) == expected(events)
    assert len({event["meta"]["id"] for event in found}) == len(events)


def test_memory_is_bounded_over_a_backlog_fifty_times_the_window() -> None:
    window, largest = 40, 0
    settings_ = dataclasses.replace(SETTINGS, in_flight_events_max=window, batch_records_max=16)

    async def run() -> int:
        nonlocal largest
        running = 0

        async def call(event: Event, context: Context) -> Event:
            nonlocal running, largest
            running += 1
            largest = max(largest, running)
            await asyncio.sleep(0.0001 * (event["n"] % 7))
            running -= 1
            return event

        kit = JobKit(Job("calling", ("in",), (Await("call", call, 1_000),), ToStream("out")), settings=settings_)
        await kit.open()
        await kit.put(*({"$schema": "/out/1.0.0", "n": n} for n in range(50 * window)))
        await kit.run()
        assert [event["n"] for event in await kit.events()] == list(range(50 * window))
        return kit.runner.status.report().calls.in_flight

    assert asyncio.run(run()) == 0
    assert 1 < largest <= window
