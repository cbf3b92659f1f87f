"""Which events move the watermark, and so decide which others are late: not repeats, rejected events and canaries."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.event import CANARY_DOMAIN
from headwater.jobs import Await, Context, Dedupe, Each, Job, Reject, ToStream, Window, tumbling
from headwater.jobs.steps import Step
from headwater.processing.embedded.settings import RunnerSettings
from headwater.testing.job_kit import JobKit


def at(time: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "$schema": "/edits/1.0.0",
        "meta": {"stream": "edits", "id": f"id-{number}", "dt": f"2023-11-14T{time}Z"},
        "wiki": "enwiki",
        **more,
    }


def by_wiki(event: dict[str, Any], context: Context) -> str:
    return event["wiki"]


def not_refused(event: dict[str, Any], context: Context) -> dict[str, Any]:
    if "refused" in event:
        raise ValueError("refused")
    return event


async def not_rejected(event: dict[str, Any], context: Context) -> dict[str, Any]:
    if "rejected" in event:
        raise Reject("rejected")
    return {**event}


def shown(window: Window, context: Context) -> dict[str, Any]:
    return {"$schema": "/counts/1.0.0", "start": window.start[11:16], "edits": window.edits}


def counting(*before: Step) -> Job:
    window = tumbling("1m").count("edits").sum("bytes", "bytes").step("window", by_wiki)
    return Job(
        "counts", ("edits",), (*before, window, Each("function", shown)), ToStream("counts"), late_stream="edits.late"
    )


WINDOWS = counting(Each("check", not_refused), Dedupe().step("dedupe", by_wiki))
AWAITED = counting(Await("check", not_rejected))


@pytest.mark.parametrize(
    ("job", "ahead"),
    [
        (WINDOWS, at("20:09:00", 1)),
        (WINDOWS, at("20:09:00", 2, refused=True)),
        (WINDOWS, {"meta": at("20:09:00", 2)["meta"]}),
        (WINDOWS, at("20:09:00", 2, bytes="many")),
        (AWAITED, at("20:09:00", 2, rejected=True)),
        (AWAITED, at("20:09:00", 2, bytes="many")),
        (WINDOWS, {**at("20:09:00", 2), "meta": {**at("20:09:00", 2)["meta"], "domain": CANARY_DOMAIN}}),
    ],
    ids=["repeat", "refused", "without key", "not added up", "rejected", "not added up later", "canary"],
)
async def test_an_event_that_is_not_processed_makes_no_other_late(job: Job, ahead: dict[str, Any]) -> None:
    kit = JobKit(job)
    await kit.open()
    await kit.put(at("20:00:10", 1))
    await kit.run_live()
    await kit.put(ahead)
    await kit.run_live()
    await kit.put(at("20:00:20", 3))
    await kit.run_live()
    assert kit.runner.status.report().watermark == "2023-11-14T20:00:20Z"
    await kit.put(at("20:01:00", 4))
    await kit.run_live()
    assert [(event["start"], event["edits"]) for event in await kit.events()] == [("20:00", 2)]
    assert kit.runner.status.report().late == 0


async def test_an_event_is_late_when_its_windows_end_and_lateness_are_not_after_the_watermark() -> None:
    kit = JobKit(counting())
    await kit.open()
    for time, number in (("20:00:59.999", 1), ("20:01:00", 2)):
        await kit.put(at(time, number))
        await kit.run_live()
    await kit.put(at("20:00:59.999", 3))
    await kit.run_live()
    assert kit.runner.status.report().late == 1
    assert [event["meta"]["dt"] for event in await kit.events("edits.late")] == ["2023-11-14T20:00:59.999Z"]


async def test_repeats_are_counted_as_dropped() -> None:
    kit = JobKit(WINDOWS)
    await kit.open()
    await kit.put(at("20:00:10", 1), at("20:00:11", 1), at("20:00:12", 2), at("20:00:13", 1))
    await kit.run()
    assert kit.runner.status.report().dropped == {"duplicate": 2}
    assert kit.telemetry.value("headwater_job_events_total", {"job": "counts", "what": "dropped"}) == 2
    assert [event["edits"] for event in await kit.events()] == [2]


async def test_what_many_windows_emit_is_in_time_for_the_windows_after_them() -> None:
    """More timers are due than fit into one commit: those of the next step wait for all of its events."""
    small = tumbling("1s").count("n").step("small", by_wiki)
    again = Each("again", lambda window, context: {"wiki": "all", "n": window.n})
    large = tumbling("1m").sum("n", "n").step("large", by_wiki)
    shown = Each("function", lambda window, context: {"$schema": "/counts/1.0.0", "n": window.n})
    job = Job("counts", ("edits",), (small, again, large, shown), ToStream("counts"))
    kit = JobKit(job, settings=RunnerSettings(timers_max=3, wait_seconds=0.02))
    await kit.open()
    await kit.put(*[at(f"20:00:{second:02}", second) for second in range(50)])
    await kit.run_live()
    await kit.put(at("20:05:00", 99))
    await kit.run_live()
    await kit.run_live()
    assert [event["n"] for event in await kit.events()] == [50]
    assert kit.runner.status.report().late == 0
