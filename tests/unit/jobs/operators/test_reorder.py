"""Events of a key are passed on in order of a field: when the watermark is far enough, or at once as successors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import JobInvalid
from headwater.jobs import Context, Each, Job, Reorder, ToStream, tumbling
from headwater.jobs.operators.reorder import order_of
from headwater.testing.job_kit import JobKit


def edit(rev: Any, time: str, parent: int = 0, stream: str = "edits", **more: Any) -> dict[str, Any]:
    meta = {"stream": stream, "id": f"id-{rev}-{time}", "dt": f"2023-11-14T20:{time}Z"}
    return {"$schema": "/edits/1.0.0", "meta": meta, "page": 1, "rev": rev, "parent": parent, **more}


def by_page(event: dict[str, Any], context: Context) -> Any:
    return event["page"]


def shown(event: dict[str, Any], context: Context) -> dict[str, Any]:
    if event.get("does") == "fail":
        raise ValueError("fails")
    at = context.event_time.strftime("%M:%S")
    return {"$schema": "/seen/1.0.0", "rev": event["rev"], "at": at, "from": context.stream}


def reordering(reorder: Reorder, **settings: Any) -> Job:
    steps = (reorder.step("reorder", by_page), Each("function", shown))
    return Job("ordered", ("edits", "deletes"), steps, ToStream("seen"), late_stream="edits.late", **settings)


async def kit_of(job: Job) -> JobKit:
    kit = JobKit(job)
    await kit.open()
    return kit


async def revisions(kit: JobKit) -> list[Any]:
    return [event["rev"] for event in await kit.events()]


async def test_events_are_held_until_the_watermark_is_as_far_as_hold_behind_them() -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s")))
    await kit.put(edit(1, "00:00"), edit(3, "00:10"), edit(2, "00:20"))
    await kit.run_live()
    assert await revisions(kit) == []
    await kit.put(edit(9, "00:59"))
    await kit.run_live()
    assert await revisions(kit) == []
    # Revision 3 has waited long enough, and everything before it in order goes with it.
    await kit.put(edit(9, "01:10"))
    await kit.run_live()
    assert await revisions(kit) == [1, 2, 3]
    await kit.run()
    assert await revisions(kit) == [1, 2, 3, 9, 9]


async def test_a_direct_successor_passes_at_once_unless_others_are_held() -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s", parent="parent")))
    await kit.put(edit(1, "00:00"))
    await kit.put(edit(100, "02:00", page=2))
    await kit.run_live()
    assert await revisions(kit) == [1]
    await kit.put(edit(2, "02:00", parent=1))
    await kit.run_live()
    assert await revisions(kit) == [1, 2]
    await kit.put(edit(4, "02:01", parent=3))
    await kit.run_live()
    await kit.put(edit(3, "02:02", parent=2))
    await kit.run_live()
    assert await revisions(kit) == [1, 2]
    await kit.run()
    assert await revisions(kit) == [1, 2, 100, 3, 4]


async def test_without_a_parent_nothing_passes_at_once() -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s")))
    await kit.put(edit(1, "00:00"), edit(9, "02:00", page=2))
    await kit.run_live()
    await kit.put(edit(2, "02:00"))
    await kit.run_live()
    assert await revisions(kit) == [1]


async def test_an_event_older_than_what_was_passed_on_is_late() -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s")))
    await kit.put(edit(5, "00:00"), edit(9, "01:00", page=2))
    await kit.run_live()
    # Of the same order it is not older.
    await kit.put(edit(4, "01:00"), edit(5, "00:00"), edit(5, "01:01"))
    await kit.run()
    assert await revisions(kit) == [5, 5, 9, 5]
    assert kit.runner.status.report().late == 1
    assert [event["rev"] for event in await kit.events("edits.late")] == [4]


@pytest.mark.parametrize(("time", "late"), [("00:59", 1), ("01:00", 0), ("01:01", 0)])
async def test_an_event_further_than_hold_behind_the_watermark_is_late(time: str, late: int) -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s")))
    await kit.put(edit(9, "02:00", page=2))
    await kit.run_live()
    await kit.put(edit(1, time))
    await kit.run()
    assert kit.runner.status.report().late == late


async def test_a_held_event_keeps_its_time_its_stream_and_its_bytes() -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s")))
    await kit.put(edit(2, "00:10", stream="deletes"), stream="deletes")
    await kit.put(edit(1, "00:05", number=1.10), edit(3, "00:20", does="fail", large=2**70))
    await kit.run()
    found = [(event["rev"], event["at"], event["from"]) for event in await kit.events()]
    assert found == [(1, "00:05", "edits"), (2, "00:10", "deletes")]
    (error,) = await kit.errors()
    assert f'"large":{2**70}' in error["raw_event"]
    assert error["errored_stream_name"] == "edits"


async def test_ids_do_not_depend_on_whether_an_event_was_held() -> None:
    ids = []
    for parent in (None, "parent"):
        kit = await kit_of(reordering(Reorder("rev", "60s", parent=parent)))
        await kit.put(edit(1, "00:00"), edit(9, "02:00", page=2))
        await kit.run_live()
        await kit.put(edit(2, "02:00", parent=1))
        await kit.run()
        ids.append({event["rev"]: event["meta"]["id"] for event in await kit.events()})
    assert ids[0] == ids[1]


async def test_two_events_of_one_id_are_both_passed_on() -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s")))
    await kit.put(edit(1, "00:00"), edit(1, "00:00"))
    await kit.run()
    assert await revisions(kit) == [1, 1]


@pytest.mark.parametrize("rev", [None, [1], True, 2**64, "x" * 301])
async def test_an_event_without_an_order_becomes_an_error_event(rev: Any) -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s")))
    await kit.put(edit(rev, "00:00"), edit(1, "00:01"))
    await kit.run()
    assert await revisions(kit) == [1]
    (error,) = await kit.errors()
    assert "order" in error["message"]


async def test_an_event_more_than_may_be_held_becomes_an_error_event() -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s", held_max=2)))
    await kit.put(edit(1, "00:00"), edit(2, "00:01"), edit(3, "00:02"), edit(7, "00:03", page=2))
    await kit.run()
    assert sorted(await revisions(kit)) == [1, 2, 7]
    (error,) = await kit.errors()
    assert "held_max" in error["message"]


async def test_windows_after_it_have_the_held_events_in_time() -> None:
    windows = tumbling("10s").count("edits").step("window", by_page)
    counts = Each("function", lambda window, context: {"$schema": "/seen/1.0.0", "n": window.edits, "at": window.start})
    steps = (Reorder("rev", "60s").step("reorder", by_page), windows, counts)
    kit = await kit_of(Job("ordered", ("edits",), steps, ToStream("seen")))
    for rev, time in ((1, "00:01"), (2, "00:02"), (3, "00:45"), (4, "01:02"), (5, "01:30"), (6, "03:00"), (7, "03:01")):
        await kit.put(edit(rev, time))
        await kit.run_live(pause_seconds=0.05)
    await kit.run()
    found = [(event["at"][14:19], event["n"]) for event in await kit.events()]
    assert found == [("00:00", 2), ("00:40", 1), ("01:00", 1), ("01:30", 1), ("03:00", 2)]
    assert kit.runner.status.report().late == 0


async def test_the_last_event_of_a_key_is_forgotten_after_a_time() -> None:
    kit = await kit_of(reordering(Reorder("rev", "60s", ttl="10m")))
    await kit.put(edit(5, "00:00"))
    await kit.run_live()
    for minute in (2, 15, 30):
        await kit.put(edit(9, f"{minute}:00", page=2))
        await kit.run_live()
    cells = await kit.log.state_scan("job/ordered/reorder/cells")
    assert [key for key, _ in cells] == [b"2"]


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(-1e15, 1e15))))
def test_numbers_are_in_order(values: list[float]) -> None:
    assert sorted(values, key=lambda value: order_of({"rev": value}, "rev")) == sorted(values)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)))
def test_texts_are_in_order(values: list[str]) -> None:
    assert sorted(values, key=lambda value: order_of({"rev": value}, "rev")) == sorted(values)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(("", "1m"), "path"), ((1, "1m"), "path"), (("rev", "soon"), "duration"), (("rev", "1h", None, "1m"), "shorter")],
)
def test_arguments_that_cannot_be_are_refused(arguments: Any, complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        Reorder(*arguments)
