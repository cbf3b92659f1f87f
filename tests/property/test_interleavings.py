"""The whole runner, for jobs of every kind: how partitions are interleaved, read and interrupted does not matter.

Each key is in one partition. Whatever the order in which the partitions were filled, how many records are read at a
time, and whenever the run is cancelled, each key has the same outputs in the same order, with the same ids; and a job
that is reset writes the same events again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import HeadwaterError
from headwater.jobs import Dedupe, Join, NotYet, Rate, Retry, job, session, sliding, tumbling
from headwater.jobs.job import Job
from headwater.log.contract import TopicSettings
from headwater.processing.embedded.settings import RunnerSettings
from headwater.testing.job_kit import JobKit

PARTITIONS = 3
KEYS = 5
Event = dict[str, Any]


def made(event: Event, **fields: Any) -> Event:
    return {"$schema": "/out/1.0.0", "key": event["key"], "n": event["n"], **fields}


@job(source="in", sink="out", outputs=("more",))
def stateless(event: Event, context: Any) -> Event | None:
    for copy in range(event["n"] % 3):
        context.emit(made(event, copy=copy), to="more")
    if event["n"] % 7 == 5:
        raise ValueError("not this one")
    return made(event) if event["n"] % 4 else None


@job(source="in", sink="out", key="key", state=int)
def counting(event: Event, context: Any) -> Event:
    context.state += event["n"]
    return made(event, total=context.state)


@job(source="in", sink="out", key="key", state=list)
def quiet(event: Event, context: Any) -> None:
    context.state.append(event["n"])
    context.timer("quiet", at_ms=10**14)


@quiet.on_timer("quiet")
def was_quiet(context: Any) -> Event:
    numbers, context.state = context.state, []
    return {"$schema": "/out/1.0.0", "key": context.key, "n": 0, "numbers": numbers}


@job(source="in", sink="out", key="key", concurrency=3, retry=Retry("60s", "1ms", "2ms"))
async def asking(event: Event, context: Any) -> Event:
    for _ in range(event["n"] % 5):
        await asyncio.sleep(0)
    if event["n"] % 3 == 0 and context.attempt == 1:
        raise NotYet("later")
    return made(event, asked=True)


@asking.then(key="key", state=int)
def numbered(event: Event, context: Any) -> Event:
    context.state += 1
    return {**event, "number": context.state}


@job(source="in", sink="out", key="key", dedupe=Dedupe("uid", "3650d", "event"), state=int)
def unique(event: Event, context: Any) -> Event:
    context.state += 1
    return made(event, number=context.state)


@job(source="in", sink="out", key="key", reorder=("rank", "1h"))
def ordered(event: Event, context: Any) -> Event:
    return made(event)


@job(source="in", sink="out", key="key", rate=Rate(1, "10s"))
def paced(event: Event, context: Any) -> Event:
    return made(event)


@job(source="in", sink="out", key="key", join=Join("other", "1h", "left"))
def joined(pair: Any, context: Any) -> Event:
    return made(pair.left, right=None if pair.right is None else pair.right["n"])


def windowed(name: str, window: Any) -> Job:
    @job(
        source="in",
        sink="out",
        name=name,
        key="key",
        window=window.count("events").sum("sum", "n").top_k("top", "n", 2),
    )
    def emitted(window: Any, context: Any) -> Event:
        values = {"start": window.start, "end": window.end, "events": window.events, "top": window.top}
        return {"$schema": "/out/1.0.0", "key": window.key, "n": window.sum, **values}

    return emitted


JOBS: dict[str, Job] = {
    one.name: one
    for one in (
        stateless,
        counting,
        quiet,
        asking,
        unique,
        ordered,
        paced,
        joined,
        windowed("tumbled", tumbling("10s")),
        windowed("slid", sliding("20s", "10s")),
        windowed("visits", session("8s")),
    )
}
# Whose outputs of one key have no order among themselves: a pair is made when the second of its events is read.
UNORDERED = ("joined",)
EVENTS = st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(0, 60), st.booleans()), min_size=1, max_size=24)


class Way(NamedTuple):
    """How a job gets its events: the seed of the interleaving and of interruptions, and how much is read at a time."""

    seed: int
    records_max: int
    interruptions: int


WAYS = st.builds(Way, st.integers(0, 2**32), st.integers(1, 9), st.integers(0, 4))


def events_of(drawn: Sequence[tuple[int, int, bool]]) -> list[tuple[str, Event]]:
    """(stream, event), each key in order of time."""
    found = []
    for n, (key, second, is_other) in enumerate(sorted(drawn, key=lambda one: one[1])):
        dt = f"2026-01-01T00:{second // 60:02}:{second % 60:02}.{n:03}Z"
        event = {"meta": {"id": f"id-{n}", "dt": dt}, "key": key, "n": n, "rank": (n * 5) % 11, "uid": n // 2}
        found.append(("other" if is_other else "in", event))
    return found


def interleaved(events: Sequence[tuple[str, Event]], chance: random.Random) -> list[tuple[str, Event]]:
    """Any order that keeps that of each key and stream."""
    queues: dict[tuple[str, int], list[tuple[str, Event]]] = {}
    for stream, event in events:
        queues.setdefault((stream, event["key"] % PARTITIONS), []).append((stream, event))
    order = []
    while queues:
        place = chance.choice(sorted(queues))
        order.append(queues[place].pop(0))
        if not queues[place]:
            del queues[place]
    return order


async def outputs(of: Job, events: Sequence[tuple[str, Event]], way: Way, *, resets: int = 0) -> list[list[Event]]:
    """What the job made, by stream: its outputs, those it emitted, and its error events; `resets`: and made again."""
    chance = random.Random(way.seed)
    kit = JobKit(
        of,
        partitions=PARTITIONS,
        settings=RunnerSettings(wait_seconds=0.01, commit_seconds=0.0, batch_records_max=way.records_max),
    )
    await kit.log.open()
    for declared in kit.streams.all():
        # The order of a key's outputs is that of their partition.
        partitions = PARTITIONS if declared.name in of.reads() else 1
        await kit.log.ensure_topic(declared.name, TopicSettings(partitions=partitions))
    for stream, event in interleaved(events, chance):
        if stream in of.reads():
            await kit.put(event, stream=stream, partition=event["key"] % PARTITIONS)
    for run in range(1 + resets):
        if run:
            await kit.runner.reposition(await kit.log.first(of.reads()))
        for _ in range(way.interruptions):
            # As it drains: no event is late, however partitions are interleaved.
            task = asyncio.create_task(kit.runner.run(drain=True))
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, HeadwaterError):
                await task
        await kit.run()
    written = [await kit.events(stream) for stream in of.writes().streams if stream != of.writes().errors]
    return [*written, await kit.errors()]


def by_key(of: Job, events: Sequence[Event]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for event in events:
        key = event.get("key", "errors")
        found.setdefault(key, []).append((event["meta"]["id"], {**event, "meta": None} if "key" in event else None))
    if of.name in UNORDERED or "errors" in found:
        return {key: sorted(some, key=repr) for key, some in found.items()}
    return found


@pytest.mark.parametrize("name", JOBS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, WAYS, WAYS)
def test_each_key_has_the_same_outputs_with_the_same_ids(
    name: str, drawn: list[tuple[int, int, bool]], one: Way, other: Way
) -> None:
    of, events = JOBS[name], events_of(drawn)
    first, second = (asyncio.run(outputs(of, events, way)) for way in (one, other))
    assert [by_key(of, some) for some in first] == [by_key(of, some) for some in second]
    for some in first:
        assert len({event["meta"]["id"] for event in some}) == len(some)


@pytest.mark.parametrize("name", JOBS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, WAYS)
def test_a_job_that_is_reset_writes_the_same_again(name: str, drawn: list[tuple[int, int, bool]], way: Way) -> None:
    of, events = JOBS[name], events_of(drawn)
    once, twice = (asyncio.run(outputs(of, events, way, resets=resets)) for resets in (0, 1))
    for some, both in zip(once, twice, strict=True):
        assert len(both) == 2 * len(some)
        ids = {event["meta"]["id"] for event in some}
        assert {event["meta"]["id"] for event in both} == ids
        contents = {repr(sorted((k, v) for k, v in event.items() if k != "meta")) for event in both if "key" in event}
        assert len(contents) <= len(ids)
