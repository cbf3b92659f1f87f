"""Events of two streams that are close enough in time become pairs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Context, Each, Job, Join, ToStream, tumbling
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit


def event(n: int, time: str, key: str = "a", **more: Any) -> dict[str, Any]:
    meta = {"id": f"id-{n}", "dt": f"2023-11-14T20:{time}Z", "domain": f"{n}.org"}
    return {"$schema": "/in/1.0.0", "meta": meta, "n": n, "key": key, **more}


def by_key(event: dict[str, Any], context: Context) -> Any:
    return event["key"]


def shown(pair: Any, context: Context) -> dict[str, Any]:
    left, right = pair
    if left.get("does") == "fail":
        raise ValueError("fails")
    found = None if right is None else right["n"]
    return {"$schema": "/out/1.0.0", "left": left["n"], "right": found, "at": context.event_time.strftime("%M:%S")}


async def kit_of(join: Join, **settings: Any) -> JobKit:
    steps = (join.step("join", by_key), Each("function", shown))
    kit = JobKit(Job("joined", ("left", "right"), steps, ToStream("out"), late_stream="in.late", **settings))
    await kit.open()
    return kit


async def pairs(kit: JobKit) -> list[tuple[int, int | None]]:
    return [(event["left"], event["right"]) for event in await kit.events()]


async def test_events_close_enough_become_pairs_whichever_comes_first() -> None:
    kit = await kit_of(Join("right", "10s"))
    await kit.put(event(1, "00:10"), stream="left")
    await kit.run_live()
    await kit.put(event(5, "00:00"), event(6, "00:20"), event(7, "00:20.001"), event(8, "00:10", "b"), stream="right")
    await kit.run_live()
    await kit.put(event(2, "00:15"), stream="left")
    await kit.run()
    assert await pairs(kit) == [(1, 5), (1, 6), (2, 6), (2, 7)]
    assert [event["at"] for event in await kit.events()] == ["00:10", "00:20", "00:20", "00:20"]


async def test_ids_do_not_depend_on_which_came_first_and_the_domain_is_that_of_the_left() -> None:
    found = []
    for streams in (("left", "right"), ("right", "left")):
        kit = await kit_of(Join("right", "10s"))
        for stream in streams:
            await kit.put(event(1 if stream == "left" else 2, "00:10"), stream=stream)
            await kit.run_live()
        (made,) = await kit.events()
        found.append((made["meta"]["id"], made["meta"]["domain"]))
    assert found[0] == found[1]
    assert found[0][1] == "1.org"


async def test_a_left_join_emits_what_matched_nothing_when_nothing_can_match_it_any_more() -> None:
    kit = await kit_of(Join("right", "10s", "left"))
    await kit.put(event(1, "00:10"), event(2, "00:11"), stream="left")
    await kit.put(event(5, "00:21"), stream="right")
    await kit.run_live()
    assert await pairs(kit) == [(2, 5)]
    await kit.put(event(3, "00:21"), stream="left")
    await kit.run_live()
    # An event at 00:20 would match 1, and is on time.
    await kit.put(event(9, "00:20.001", "b"), stream="left")
    await kit.put(event(9, "00:21.002", "b"), stream="right")
    await kit.run_live()
    assert (await pairs(kit))[:3] == [(2, 5), (3, 5), (1, None)]


@pytest.mark.parametrize("how", ["inner", "left"])
async def test_an_event_exactly_as_much_later_as_may_be_matches_though_the_watermark_has_its_time(how: Any) -> None:
    kit = await kit_of(Join("right", "10s", how))
    await kit.put(event(1, "00:10"), event(2, "00:20", "b"), stream="left")
    await kit.put(event(3, "00:20", "c"), stream="right")
    await kit.run_live()
    await kit.put(event(5, "00:20"), stream="right")
    await kit.run_live()
    assert await pairs(kit) == [(1, 5)]


async def test_an_event_emitted_without_a_match_while_idle_is_still_matched_later() -> None:
    kit = await kit_of(Join("right", "10s", "left"), idle_ms=10_000)
    kit.clock.now = 1_700_000_000.0 - 1_700_000_000.0 % 86_400 + 20 * 3600 + 10
    await kit.put(event(1, "00:10"), stream="left")
    running = asyncio.create_task(kit.runner.run())

    async def has_come(count: int) -> bool:
        kit.clock.advance(10)
        return len(await pairs(kit)) == count

    await eventually(lambda: has_come(1))
    await kit.put(event(5, "00:12"), stream="right")
    await eventually(lambda: has_come(2))
    kit.runner.stop()
    await running
    assert await pairs(kit) == [(1, None), (1, 5)]
    assert kit.runner.status.report().late == 0


@pytest.mark.parametrize(("time", "late"), [("00:49.999", 1), ("00:50", 0)])
async def test_an_event_that_nothing_on_time_can_match_is_late(time: str, late: int) -> None:
    kit = await kit_of(Join("right", "10s"))
    await kit.put(event(1, "01:00"), stream="left")
    await kit.put(event(1, "01:00"), stream="right")
    await kit.run_live()
    await kit.put(event(5, time), stream="right")
    await kit.run_live()
    assert kit.runner.status.report().late == late
    assert len(await kit.events("in.late")) == late


async def test_an_error_event_about_a_pair_has_the_event_of_the_left() -> None:
    kit = await kit_of(Join("right", "10s"))
    await kit.put(event(1, "00:10", does="fail"), stream="left")
    await kit.put(event(2, "00:10"), stream="right")
    await kit.run()
    (error,) = await kit.errors()
    assert '"n":1' in error["raw_event"]


async def test_nothing_is_kept_of_events_that_nothing_can_match() -> None:
    kit = await kit_of(Join("right", "10s", "left"))
    await kit.put(*[event(n, f"00:{n:02}") for n in range(30)], stream="left")
    await kit.put(*[event(n, f"00:{n:02}") for n in range(0, 30, 2)], stream="right")
    await kit.run_live()
    for stream in ("left", "right"):
        await kit.put(event(99, "10:00", "b"), stream=stream)
    await kit.run_live()
    rows = await kit.log.state_scan("job/joined/join/rows")
    assert {key.partition(b"\0")[0] for key, _ in rows} == {b'"b"'}
    assert [key for key, _ in await kit.log.state_scan("job/joined/join/cells")] == [b'"b"']


async def test_an_event_more_than_may_be_held_becomes_an_error_event() -> None:
    kit = await kit_of(Join("right", "10s", held_max=2))
    await kit.put(*[event(n, "00:10") for n in range(3)], stream="left")
    await kit.put(event(9, "00:10"), stream="right")
    await kit.run()
    assert await pairs(kit) == [(0, 9), (1, 9)]
    (error,) = await kit.errors()
    assert "held_max" in error["message"]


@pytest.mark.parametrize("how", ["inner", "left"])
async def test_windows_after_it_have_the_pairs_in_time(how: Any) -> None:
    windows = tumbling("10s").count("n").step("window", lambda pair, context: pair.left["key"])
    counts = Each("function", lambda window, context: {"$schema": "/out/1.0.0", "n": window.n, "at": window.start})
    steps = (Join("right", "1m", how).step("join", by_key), windows, counts)
    kit = JobKit(Job("joined", ("left", "right"), steps, ToStream("out")))
    await kit.open()
    for n, time in enumerate(("00:05", "00:15", "01:30", "04:00")):
        await kit.put(event(n, time), stream="left")
        if n != 2:
            await kit.put(event(10 + n, time), stream="right")
        await kit.run_live(pause_seconds=0.05)
    await kit.run()
    found = sorted((event["at"][14:19], event["n"]) for event in await kit.events())
    matched = [("00:00", 1), ("00:10", 3), ("04:00", 1)]
    assert found == sorted([*matched, *([("01:30", 1)] if how == "left" else [])])
    assert kit.runner.status.report().late == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(("", "1m"), "stream"), (("b", 0), "small"), (("b", "soon"), "duration"), (("b", "1m", "outer"), "how")],
)
def test_arguments_that_cannot_be_are_refused(arguments: Any, complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        Join(*arguments)
