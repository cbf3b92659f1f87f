"""At most so many events of a key in a time: more are delayed, in order, or dropped."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Context, Each, Job, Rate, ToStream, tumbling
from headwater.testing.job_kit import JobKit


def event(n: int, time: str, key: str = "a") -> dict[str, Any]:
    meta = {"stream": "in", "id": f"id-{n}", "dt": f"2023-11-14T20:{time}Z"}
    return {"$schema": "/in/1.0.0", "meta": meta, "n": n, "key": key}


def by_key(event: dict[str, Any], context: Context) -> Any:
    return event["key"]


def shown(event: dict[str, Any], context: Context) -> dict[str, Any]:
    return {"$schema": "/out/1.0.0", "n": event["n"], "at": context.event_time.strftime("%M:%S")}


async def kit_of(rate: Rate) -> JobKit:
    kit = JobKit(Job("limited", ("in",), (rate.step("rate", by_key), Each("function", shown)), ToStream("out")))
    await kit.open()
    return kit


async def passed(kit: JobKit) -> list[tuple[int, str]]:
    return [(event["n"], event["at"]) for event in await kit.events()]


async def test_more_events_than_the_rate_are_passed_on_later_in_order() -> None:
    kit = await kit_of(Rate(2, "1m"))
    await kit.put(event(1, "00:00"), event(2, "00:10"), event(3, "00:20"), event(4, "00:30"), event(5, "00:40"))
    await kit.run_live()
    assert await passed(kit) == [(1, "00:00"), (2, "00:10")]
    await kit.put(event(9, "01:05", "b"))
    await kit.run_live()
    assert await passed(kit) == [(1, "00:00"), (2, "00:10"), (9, "01:05"), (3, "01:00")]
    # While others wait, an event waits behind them.
    await kit.put(event(6, "01:06"), event(9, "01:10", "b"))
    await kit.run()
    assert (await passed(kit))[5:] == [(4, "01:10"), (5, "02:00"), (6, "02:10")]
    assert await kit.errors() == []


async def test_more_events_than_the_rate_are_dropped_and_counted() -> None:
    kit = await kit_of(Rate(2, "1m", over="drop"))
    times = ("00:00", "00:10", "00:20", "00:59", "01:00", "01:05", "01:10")
    for number, time in enumerate(times):
        await kit.put(event(number, time))
        await kit.run()
    assert [n for n, _ in await passed(kit)] == [0, 1, 4, 6]
    assert kit.runner.status.report().dropped == {"rate": 3}


async def test_each_key_has_a_rate_of_its_own() -> None:
    kit = await kit_of(Rate(1, "1m", over="drop"))
    await kit.put(event(1, "00:00", "a"), event(2, "00:00", "b"), event(3, "00:01", "a"), event(4, "00:01", "b"))
    await kit.run()
    assert [n for n, _ in await passed(kit)] == [1, 2]


async def test_an_event_more_than_may_wait_becomes_an_error_event() -> None:
    kit = await kit_of(Rate(1, "1m", held_max=2))
    await kit.put(*[event(n, "00:00") for n in range(5)])
    await kit.run()
    assert await passed(kit) == [(0, "00:00"), (1, "01:00"), (2, "02:00")]
    assert ["held_max" in error["message"] for error in await kit.errors()] == [True, True]


async def test_nothing_is_kept_of_a_key_once_the_rate_does_not_concern_it() -> None:
    kit = await kit_of(Rate(2, "1m"))
    await kit.put(*[event(n, "00:00") for n in range(5)])
    await kit.run_live()
    for minute in (2, 4, 6, 8):
        await kit.put(event(9, f"{minute:02}:00", "b"))
        await kit.run_live()
    assert [key for key, _ in await kit.log.state_scan("job/limited/rate/cells")] == [b'"b"']
    rows = await kit.log.state_scan("job/limited/rate/rows")
    assert {key.partition(b"\0")[0] for key, _ in rows} == {b'"b"'}


async def test_a_delayed_event_is_in_the_window_of_the_time_at_which_it_is_passed_on() -> None:
    windows = tumbling("1m").count("n").step("window", by_key)
    counts = Each("function", lambda window, context: {"$schema": "/out/1.0.0", "n": window.n, "at": window.start})
    steps = (Rate(2, "1m").step("rate", by_key), windows, counts)
    kit = JobKit(Job("limited", ("in",), steps, ToStream("out")))
    await kit.open()
    await kit.put(*[event(n, "00:00") for n in range(5)])
    await kit.run_live()
    for minute in (1, 2, 3):
        await kit.put(event(9, f"{minute:02}:30", "b"))
        await kit.run_live()
    assert kit.runner.status.report().late == 0
    found = [(event["at"][14:19], event["n"]) for event in await kit.events()]
    assert sorted(found) == [("00:00", 2), ("01:00", 1), ("01:00", 2), ("02:00", 1), ("02:00", 1)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [((0, "1m"), "positive"), ((1.5, "1m"), "positive"), ((1, 0), "small"), ((1, "1m", "queue"), "over")],
)
def test_arguments_that_cannot_be_are_refused(arguments: Any, complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        Rate(*arguments)
