"""Windows count by event time, close when the watermark says so, and take corrections for as long as they are set
to.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Context, Job, Window, job, tumbling
from headwater.testing.eventually import eventually
from headwater.testing.job_kit import JobKit, without_envelope
from headwater.testing.oracle_log import OracleLog


def at(time: str, wiki: str = "enwiki", **more: Any) -> dict[str, Any]:
    return {"meta": {"stream": "edits", "dt": f"2023-11-14T{time}Z"}, "wiki": wiki, **more}


def counting(lateness: str = "0s", **settings: Any) -> Job:
    @job(source="edits", sink="counts", key="wiki", window=tumbling("1m", lateness=lateness).count("edits"), **settings)
    def counts(window: Window, context: Context) -> dict[str, Any]:
        return {"$schema": "/counts/1.0.0", "wiki": window.key, "start": window.start, "edits": window.edits}

    return counts


def shown(events: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(event["wiki"], event["start"][11:16], event["edits"]) for event in events]


async def test_a_window_is_emitted_when_an_event_passes_its_end() -> None:
    kit = JobKit(counting())
    await kit.open()
    await kit.put(at("20:00:10"), at("20:00:59"), at("20:00:30", "dewiki"))
    await kit.run_live()
    assert await kit.events() == []
    await kit.put(at("20:01:00"))
    await kit.run_live()
    assert sorted(shown(await kit.events())) == [("dewiki", "20:00", 1), ("enwiki", "20:00", 2)]
    assert kit.runner.status.report().watermark == "2023-11-14T20:01:00Z"


async def test_events_within_the_bound_of_disorder_are_on_time() -> None:
    kit = JobKit(counting(out_of_order="30s"))
    await kit.open()
    await kit.put(at("20:01:20"))
    await kit.run_live()
    await kit.put(at("20:00:50"))
    await kit.run_live()
    await kit.put(at("20:01:30"))
    await kit.run_live()
    assert shown(await kit.events()) == [("enwiki", "20:00", 1)]
    assert kit.runner.status.report().late == 0


async def test_an_event_within_the_lateness_corrects_its_window() -> None:
    kit = JobKit(counting("5m"))
    await kit.open()
    await kit.put(at("20:00:10"), at("20:02:00"))
    await kit.run_live()
    await kit.put(at("20:00:20"), at("20:00:30"))
    await kit.run_live()
    events = await kit.events()
    assert shown(events) == [("enwiki", "20:00", 1), ("enwiki", "20:00", 3)]
    assert len({event["meta"]["id"] for event in events}) == 2


async def test_an_event_beyond_the_lateness_is_counted_as_late_and_sent_to_the_late_stream() -> None:
    kit = JobKit(counting("1m", late="edits.late"))
    await kit.open()
    late = {**at("20:00:10"), "$schema": "/edits/1.0.0"}
    await kit.put(at("20:00:00"), at("20:02:00"))
    await kit.run_live()
    await kit.put(late)
    await kit.run_live()
    assert shown(await kit.events()) == [("enwiki", "20:00", 1)]
    assert kit.runner.status.report().late == 1
    assert without_envelope(await kit.events("edits.late")) == [{"wiki": "enwiki"}]
    assert kit.telemetry.value("headwater_job_events_total", {"job": "counts", "what": "late"}) == 1


async def test_at_the_end_of_the_input_every_window_is_emitted_and_nothing_was_late() -> None:
    kit = JobKit(counting())
    await kit.open()
    await kit.put(at("20:05:00"), at("20:00:10"), at("20:00:20"), at("19:00:00"))
    await kit.run()
    assert shown(await kit.events()) == [("enwiki", "19:00", 1), ("enwiki", "20:00", 2), ("enwiki", "20:05", 1)]
    assert kit.runner.status.report().late == 0


async def test_after_the_end_of_the_input_the_job_resumes_where_it_was() -> None:
    kit = JobKit(counting("10m"))
    await kit.open()
    await kit.put(at("20:00:10"))
    await kit.run()
    await kit.put(at("20:00:20"), at("20:01:00"))
    await kit.run_live()
    assert shown(await kit.events()) == [("enwiki", "20:00", 1), ("enwiki", "20:00", 2)]


async def test_a_quiet_source_lets_windows_close_by_the_clock_and_makes_nothing_late() -> None:
    kit = JobKit(counting("1m", idle="10s"))
    await kit.open()
    await kit.put(at("20:00:10"))
    kit.clock.now = 1_700_000_000.0 - 1_700_000_000.0 % 86_400 + 20 * 3600 + 30
    await kit.run_live()
    assert await kit.events() == []

    async def shows_as_time_passes(*counts: int) -> bool:
        kit.clock.advance(10)
        return shown(await kit.events()) == [("enwiki", "20:00", count) for count in counts]

    task = asyncio.create_task(kit.runner.run())
    await eventually(lambda: shows_as_time_passes(1))
    await kit.put(at("20:00:20"))
    await eventually(lambda: shows_as_time_passes(1, 2))
    kit.runner.stop()
    await task
    assert kit.runner.status.report().late == 0


async def test_the_slowest_partition_holds_the_watermark() -> None:
    kit = JobKit(counting(), partitions=2)
    await kit.open()
    await kit.put(*[at("20:10:00")] * 3, partition=0)
    await kit.put(*[at("20:00:10")] * 3, partition=1)
    await kit.run_live()
    await kit.put(at("20:00:20"), partition=1)
    await kit.put(at("20:10:01"), partition=0)
    await kit.run_live()
    assert kit.runner.status.report().late == 0


async def test_a_clock_that_runs_ahead_makes_no_other_event_late() -> None:
    kit = JobKit(counting("2h"))
    kit.clock.advance(1)
    await kit.open()
    await kit.put({"meta": {"dt": "2033-01-01T00:00:00Z"}, "wiki": "ahead"})
    await kit.put({"meta": {"dt": "2023-11-14T22:13:00Z"}, "wiki": "enwiki"})
    await kit.run_live()
    await kit.put({"meta": {"dt": "2023-11-14T22:13:10Z"}, "wiki": "enwiki"})
    await kit.run_live()
    assert kit.runner.status.report().late == 0
    assert kit.runner.status.report().watermark == "2023-11-14T22:13:21Z"


@pytest.mark.parametrize("moment", ["22:23:00", "23:03:00", "23:23:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
@pytest.mark.parametrize("where", ["dt", "meta"])
async def test_a_wrong_clock_changes_nothing_for_other_events(moment: str, where: str) -> None:
    """The present is 22:13:21; the window of its minute has two events that say so, and what counts at its receipt."""
    kit = JobKit(counting())
    kit.clock.advance(1)
    await kit.open()
    said = moment if "T" in moment else f"2023-11-14T{moment}Z"
    wrong = {"dt": said, "meta": {}} if where == "dt" else {"meta": {"dt": said}}
    await kit.put(at("22:13:05"))
    await kit.run_live()
    await kit.put({**wrong, "wiki": "wrong"})
    await kit.run_live()
    await kit.put(at("22:13:21"))
    await kit.run_live()
    kit.clock.advance(60)
    await kit.put(at("22:14:00"))
    await kit.run_live()
    behind = moment.startswith("0001")
    assert kit.runner.status.report().late == behind
    expected = [("enwiki", "22:13", 2)] if behind else [("enwiki", "22:13", 2), ("wrong", "22:13", 1)]
    assert sorted(shown(await kit.events())) == expected


async def test_the_kits_clock_follows_events_from_later() -> None:
    kit = JobKit(counting())
    await kit.open()
    await kit.put({"dt": "2026-11-01T10:00:00z", "wiki": "a"}, {"dt": "2026-11-02T15:00:00.5Z", "wiki": "a"})
    assert kit.clock() == 1_793_631_600.5
    await kit.put({"dt": "2026-11-01T10:00:30+00:00", "wiki": "a"})
    await kit.run()
    starts = [(event["start"], event["edits"]) for event in await kit.events()]
    assert starts == [("2026-11-01T10:00:00Z", 2), ("2026-11-02T15:00:00Z", 1)]


async def test_a_log_with_a_clock_of_its_own_takes_events_from_later() -> None:
    kit = JobKit(counting(), log=OracleLog())
    await kit.open()
    await kit.put({"dt": "2199-01-01T10:00:00Z", "wiki": "a"}, {"wiki": "b"})
    await kit.run()
    assert ("2199-01-01T10:00:00Z", "a") in [(event["start"], event["wiki"]) for event in await kit.events()]


async def test_every_aggregate_says_what_its_name_says() -> None:
    window = (
        tumbling(60)
        .count("n")
        .count("bots", where=lambda e: e["bot"])
        .sum("bytes", "size")
        .min("first", "user")
        .max("most", "size")
        .count_distinct("editors", "user")
    )

    @job(source="edits", sink="figures", key=("wiki", "kind"), window=window)
    def figures(window: Window, context: Context) -> dict[str, Any]:
        return {"$schema": "/figures/1.0.0", "key": window.key, "end": window.end, **window.values}

    kit = JobKit(figures)
    await kit.open()
    for user, size, bot in (("b", 5, True), ("a", -2, False), ("b", 10, False)):
        await kit.put(at("20:00:10", kind="page", user=user, size=size, bot=bot))
    await kit.put(at("20:00:11", kind="page", user="c", bot=False))
    await kit.run()
    assert without_envelope(await kit.events()) == [
        {
            "key": ["enwiki", "page"],
            "end": "2023-11-14T20:01:00Z",
            "n": 4,
            "bots": 1,
            "bytes": 13,
            "first": "a",
            "most": 10,
            "editors": 3,
        }
    ]


def test_a_window_that_cannot_be_is_refused() -> None:
    with pytest.raises(JobInvalid, match="too small"):
        tumbling(0)
    with pytest.raises(JobInvalid, match="duration"):
        tumbling("soon")
    with pytest.raises(JobInvalid, match="start"):
        tumbling("1m").count("start")
    with pytest.raises(JobInvalid, match="aggregate"):
        tumbling("1m").step("window", lambda event, context: "key")


async def test_forgotten_windows_leave_no_state_behind() -> None:
    kit = JobKit(counting("1m"))
    await kit.open()
    await kit.put(*[at(f"20:{minute:02}:00") for minute in range(10)])
    await kit.run_live()
    cells = await kit.log.state_scan("job/counts/window/cells")
    timers = await kit.log.state_scan("job/counts/window/timers")
    assert len(cells) == 2
    assert len(timers) == 3
