"""An event whose id was seen before is dropped, for as long as ids are remembered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Dedupe, Each, Job, ToStream
from headwater.jobs.scope import Scope
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit

NOW = 1_800_000_000.0


def event(id_: Any, time: str = "20:00:00", **more: Any) -> dict[str, Any]:
    meta = {"stream": "in", "dt": f"2023-11-14T{time}Z", **({} if id_ is None else {"id": id_})}
    return {"$schema": "/in/1.0.0", "meta": meta, **more}


def job_of(dedupe: Dedupe, **settings: Any) -> Job:
    numbered = Each("function", lambda event, context: {"$schema": "/out/1.0.0", "n": event["n"]})
    return Job("once", ("in",), (dedupe.step("dedupe"), numbered), ToStream("out"), **settings)


async def passed(kit: JobKit) -> list[int]:
    return [event["n"] for event in await kit.events()]


async def test_repeats_are_dropped_and_counted_also_after_a_restart() -> None:
    kit = JobKit(job_of(Dedupe()))
    await kit.open()
    await kit.put(event("a", n=1), event("a", n=2), event("b", n=3))
    await kit.run()
    await kit.put(event("b", n=4), event("c", n=5), event("a", n=6))
    await kit.run()
    assert await passed(kit) == [1, 3, 5]
    assert kit.runner.status.report().dropped == {"duplicate": 3}


async def test_a_replay_of_old_events_drops_their_repeats_too() -> None:
    """Ids are remembered for a time of processing: how old the events are does not matter."""
    kit = JobKit(job_of(Dedupe(ttl="1h")))
    await kit.open()
    kit.clock.now = NOW
    await kit.put(event("a", "01:00:00", n=1), event("b", "05:00:00", n=2), event("c", "23:00:00", n=3))
    await kit.run_live()
    kit.clock.advance(3_000)
    await kit.put(event("a", "01:00:00", n=4), event("b", "05:00:00", n=5), event("c", "23:00:00", n=6))
    await kit.run_live()
    assert await passed(kit) == [1, 2, 3]


async def test_ids_are_forgotten_after_the_time_though_no_events_come() -> None:
    kit = JobKit(job_of(Dedupe(ttl="1h")))
    await kit.open()
    kit.clock.now = NOW
    await kit.put(event("a", n=1), event("b", n=2))
    await kit.run_live()
    kit.clock.advance(3_599)
    await kit.put(event("a", n=3))
    await kit.run_live()
    assert len(await kit.log.state_scan("job/once/dedupe/cells")) == 2
    kit.clock.advance(2)
    running = asyncio.create_task(kit.runner.run())

    async def is_forgotten() -> bool:
        cells, timers = [await kit.log.state_scan(f"job/once/dedupe/{what}") for what in ("cells", "timers")]
        return not cells and not timers

    await eventually(is_forgotten)
    kit.runner.stop()
    await running
    await kit.put(event("a", n=4))
    await kit.run_live()
    assert await passed(kit) == [1, 2, 4]


async def test_the_end_of_the_input_forgets_nothing() -> None:
    kit = JobKit(job_of(Dedupe(ttl="1h")))
    await kit.open()
    await kit.put(event("a", n=1))
    await kit.run()
    await kit.put(event("a", n=2))
    await kit.run()
    assert await passed(kit) == [1]


async def test_with_the_clock_of_events_the_time_between_them_counts() -> None:
    kit = JobKit(job_of(Dedupe(ttl="10m", clock="event")))
    await kit.open()
    times = ("20:00:00", "20:09:59", "20:10:00", "20:19:00", "20:21:00")
    for number, time in enumerate(times):
        await kit.put(event("a", time, n=number))
        await kit.run_live()
    assert await passed(kit) == [0, 2, 4]


async def test_another_field_identifies_an_event_by_its_json_value() -> None:
    kit = JobKit(job_of(Dedupe("unit.key")))
    await kit.open()
    units = [1, 1.0, "1", True, {"a": 1, "b": 2}, {"b": 2, "a": 1}]
    await kit.put(*[event(f"id-{n}", unit={"key": unit}, n=n) for n, unit in enumerate(units)])
    await kit.run()
    assert await passed(kit) == [0, 2, 3, 4]


async def test_events_without_the_field_are_all_passed_on() -> None:
    kit = JobKit(job_of(Dedupe()))
    await kit.open()
    await kit.put(event(None, n=1), event(None, n=2), event("a", n=3))
    await kit.run()
    assert await passed(kit) == [1, 2, 3]
    assert len(await kit.log.state_scan("job/once/dedupe/cells")) == 1


def test_over_history_event_time_takes_the_place_of_the_clock() -> None:
    assert Scope("once").processing_ms is None
    assert Scope("once", clock=lambda: 1.5).processing_ms == 1_500


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("a..b",), "path"),
        (("meta.id", 0), "ttl"),
        (("meta.id", "soon"), "duration"),
        (("meta.id", 1, "wall"), "clock"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: Any, complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        Dedupe(*arguments)
