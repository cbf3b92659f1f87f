"""A session has the events of a key that follow each other within a gap; an event in between merges two."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Job, Window, job, session, sliding
from headwater.jobs.operators.windows import Windows
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit


def at(time: str, user: str = "ada", **more: Any) -> dict[str, Any]:
    return {"$schema": "/edits/1.0.0", "meta": {"dt": f"2023-11-14T20:{time}Z"}, "user": user, **more}


def sessions(lateness: str = "0s", **settings: Any) -> Job:
    windows = session("5m", lateness=lateness).count("edits").count_distinct("pages", "page")

    @job(source="edits", sink="visits", key="user", window=windows, late="edits.late", **settings)
    def visits(window: Window, context: Any) -> dict[str, Any]:
        return {"$schema": "/visits/1.0.0", "start": window.start, "end": window.end, **window.values}

    return visits


async def shown(kit: JobKit) -> list[tuple[str, str, int]]:
    return [(event["start"][14:19], event["end"][14:19], event["edits"]) for event in await kit.events()]


async def test_a_session_ends_a_gap_after_its_last_event() -> None:
    kit = JobKit(sessions())
    await kit.open()
    await kit.put(at("00:00"), at("04:59"), at("09:58.999"))
    await kit.run_live()
    await kit.put(at("14:58", "bob"))
    await kit.run_live()
    assert await shown(kit) == []
    await kit.put(at("14:59", "bob"))
    await kit.run_live()
    assert await shown(kit) == [("00:00", "14:58", 3)]
    # An event exactly a gap after the last one begins another session.
    await kit.put(at("19:59", "bob"))
    await kit.run()
    assert await shown(kit) == [("00:00", "14:58", 3), ("14:58", "19:59", 2), ("19:59", "24:59", 1)]


async def test_an_event_in_between_merges_two_sessions() -> None:
    kit = JobKit(sessions(out_of_order="10m"))
    await kit.open()
    await kit.put(at("00:00", page=1), at("08:00", page=2), at("08:30", page=1))
    await kit.run_live()
    await kit.put(at("04:00", page=3))
    await kit.run()
    assert await shown(kit) == [("00:00", "13:30", 4)]
    assert [event["pages"] for event in await kit.events()] == [3]


async def test_many_values_of_merged_sessions_are_counted_once_and_leave_no_state_behind() -> None:
    kit = JobKit(sessions(out_of_order="20m"))
    await kit.open()
    for minute, first in ((0, 0), (8, 50)):
        await kit.put(*[at(f"{minute:02}:00", page=f"page {number}") for number in range(first, first + 100)])
    await kit.run_live()
    await kit.put(at("04:00", page="page 0"))
    await kit.run()
    assert [(event["edits"], event["pages"]) for event in await kit.events()] == [(201, 150)]
    await kit.put(at("59:00", "bob"))
    await kit.run_live()
    rows = await kit.log.state_scan("job/visits/window/rows")
    assert {key.partition(b"\0")[0] for key, _ in rows} == {b'"bob"'}


async def test_an_event_before_the_first_one_begins_the_session_earlier() -> None:
    kit = JobKit(sessions(out_of_order="10m"))
    await kit.open()
    await kit.put(at("08:00"))
    await kit.run_live()
    await kit.put(at("05:00"))
    await kit.run_live()
    await kit.put(at("02:00"))
    await kit.run()
    assert await shown(kit) == [("02:00", "13:00", 3)]


async def test_an_event_within_the_lateness_corrects_a_session_also_by_merging_it() -> None:
    kit = JobKit(sessions("10m"))
    await kit.open()
    await kit.put(at("00:00"), at("08:00"), at("13:00", "bob"))
    await kit.run_live()
    assert await shown(kit) == [("00:00", "05:00", 1), ("08:00", "13:00", 1)]
    await kit.put(at("04:30"))
    await kit.run_live()
    assert (await shown(kit))[2:] == [("00:00", "13:00", 3)]
    ids = [event["meta"]["id"] for event in await kit.events()]
    assert len(set(ids)) == len(ids)
    assert kit.runner.status.report().late == 0


async def test_an_event_is_late_when_the_session_with_it_would_be_closed() -> None:
    kit = JobKit(sessions("1m"))
    await kit.open()
    await kit.put(at("00:00"), at("10:00"))
    await kit.run_live()
    # Alone it would end at 09:00; it makes the open session begin earlier.
    await kit.put(at("06:00"), at("04:00"), at("03:59", "bob"))
    await kit.run_live()
    assert kit.runner.status.report().late == 1
    await kit.run()
    assert await shown(kit) == [("00:00", "05:00", 1), ("04:00", "15:00", 3)]


async def test_closed_sessions_leave_no_state_behind() -> None:
    kit = JobKit(sessions("1m"))
    await kit.open()
    await kit.put(*[at(f"{minute:02}:00", page=f"{minute}") for minute in (0, 2, 4, 20, 21, 40)])
    await kit.run_live()
    await kit.put(at("59:00", "bob"))
    await kit.run_live()
    assert [key for key, _ in await kit.log.state_scan("job/visits/window/cells")] == [b'"bob"']
    assert {key.partition(b"\0")[0] for key, _ in await kit.log.state_scan("job/visits/window/rows")} == {b'"bob"'}


@pytest.mark.parametrize("gap", [0, -1, "soon"])
def test_a_gap_that_cannot_be_is_refused(gap: Any) -> None:
    with pytest.raises(JobInvalid):
        session(gap)


@pytest.mark.parametrize("windows", [session("5m"), sliding("5m", "5m")], ids=["session", "sliding"])
async def test_a_quiet_source_lets_windows_close_by_the_clock_and_makes_nothing_late(windows: Windows) -> None:
    @job(source="edits", sink="visits", key="user", window=windows.count("edits"), idle="10s")
    def visits(window: Window, context: Any) -> dict[str, Any]:
        return {"$schema": "/visits/1.0.0", "start": window.start, "end": window.end, **window.values}

    kit = JobKit(visits)
    await kit.open()
    kit.clock.now = 1_700_000_000.0 - 1_700_000_000.0 % 86_400 + 20 * 3600 + 30
    await kit.put(at("00:10"))
    await kit.run_live()
    assert await kit.events() == []

    async def shows_as_time_passes(*counts: int) -> bool:
        kit.clock.advance(10)
        return [event["edits"] for event in await kit.events()] == list(counts)

    running = asyncio.create_task(kit.runner.run())
    await eventually(lambda: shows_as_time_passes(1))
    await kit.put(at("00:20"))
    await eventually(lambda: shows_as_time_passes(1, 2))
    kit.runner.stop()
    await running
    assert kit.runner.status.report().late == 0
    assert len({event["meta"]["id"] for event in await kit.events()}) == 2
