"""Sliding windows overlap: each event is in several, and each is emitted when its end has come."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Job, Window, job, sliding
from headwater.testing.job_kit import JobKit


def at(time: str, wiki: str = "enwiki", **more: Any) -> dict[str, Any]:
    return {"$schema": "/edits/1.0.0", "meta": {"dt": f"2023-11-14T20:{time}Z"}, "wiki": wiki, **more}


def counting(lateness: str = "0s", **settings: Any) -> Job:
    windows = sliding("2m", "1m", lateness=lateness).count("edits").count_distinct("users", "user")

    @job(source="edits", sink="counts", key="wiki", window=windows, late="edits.late", **settings)
    def counts(window: Window, context: Any) -> dict[str, Any]:
        return {"$schema": "/counts/1.0.0", "start": window.start, "end": window.end, **window.values}

    return counts


async def shown(kit: JobKit) -> list[tuple[str, int, int]]:
    return [(event["start"][14:16], event["edits"], event["users"]) for event in await kit.events()]


async def test_an_event_is_in_each_window_that_has_its_time() -> None:
    kit = JobKit(counting())
    await kit.open()
    await kit.put(at("00:10", user="a"), at("01:00", user="a"), at("01:59", user="b"), at("05:30", user="c"))
    await kit.run()
    assert await shown(kit) == [("59", 1, 1), ("00", 3, 2), ("01", 2, 2), ("04", 1, 1), ("05", 1, 1)]
    ends = [event["end"][14:19] for event in await kit.events()]
    assert ends == ["01:00", "02:00", "03:00", "06:00", "07:00"]


async def test_a_window_is_emitted_when_the_watermark_passes_its_end() -> None:
    kit = JobKit(counting())
    await kit.open()
    for time, count in (("00:10", 0), ("00:59", 0), ("01:00", 1), ("01:59", 1), ("02:00", 2), ("09:00", 4)):
        await kit.put(at(time))
        await kit.run_live()
        assert len(await kit.events()) == count


async def test_an_event_within_the_lateness_corrects_the_windows_that_are_open() -> None:
    kit = JobKit(counting("90s"))
    await kit.open()
    await kit.put(at("00:10"), at("01:10"))
    await kit.run_live()
    await kit.put(at("02:30"))
    await kit.run_live()
    assert await shown(kit) == [("59", 1, 0), ("00", 2, 0)]
    # The first window is closed, as its end and the lateness have passed; the second is corrected.
    await kit.put(at("00:20"), at("00:30"))
    await kit.run_live()
    assert await shown(kit) == [("59", 1, 0), ("00", 2, 0), ("00", 4, 0)]
    await kit.put(at("00:40"))
    await kit.run_live()
    assert (await shown(kit))[3:] == [("00", 5, 0)]
    ids = [event["meta"]["id"] for event in await kit.events()]
    assert len(set(ids)) == len(ids)
    assert kit.runner.status.report().late == 0


async def test_an_event_all_of_whose_windows_are_closed_is_late() -> None:
    kit = JobKit(counting("30s"))
    await kit.open()
    await kit.put(at("00:10"), at("02:30"))
    await kit.run_live()
    await kit.put(at("00:59"), at("01:00"))
    await kit.run_live()
    assert kit.runner.status.report().late == 1
    assert [event["meta"]["dt"][14:19] for event in await kit.events("edits.late")] == ["00:59"]


async def test_panes_are_stored_once_however_many_windows_they_belong_to() -> None:
    windows = sliding("1h", "1s").count("edits")

    @job(source="edits", sink="counts", key="wiki", window=windows)
    def counts(window: Window, context: Any) -> None:
        return None

    kit = JobKit(counts)
    await kit.open()
    await kit.put(*[at(f"00:{second:02}") for second in range(50)])
    await kit.run_live()
    rows = await kit.log.state_scan("job/counts/window/rows")
    timers = await kit.log.state_scan("job/counts/window/timers")
    assert (len(rows), len(timers)) == (50, 2)


async def test_closed_windows_leave_no_state_behind() -> None:
    kit = JobKit(counting("1m"))
    await kit.open()
    await kit.put(*[at(f"{minute:02}:00", user=f"{minute}") for minute in range(20)])
    await kit.run_live()
    await kit.put(at("59:00", "dewiki"))
    await kit.run_live()
    assert [key for key, _ in await kit.log.state_scan("job/counts/window/cells")] == [b'"dewiki"']
    assert len(await kit.log.state_scan("job/counts/window/rows")) == 1


@pytest.mark.parametrize(
    ("size", "slide", "complaint"),
    [
        ("1m", "2m", "leave out"),
        ("1m", 0, "small"),
        (0, 0, "small"),
        ("1h", "0.0003s", "small"),
        ("1h", "1ms", "parts"),
        ("1h", "x", "duration"),
    ],
)
def test_windows_that_cannot_be_are_refused(size: Any, slide: Any, complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        sliding(size, slide)
