"""The size of a job's state, carried on from commit to commit, is what counting it would find."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.jobs import Job, PerKey, Timer, ToStream, Transition
from headwater.jobs.steps import Context
from headwater.log.contract import Commit, StateChange
from headwater.processing.embedded.batches import PROGRESS_KEY, progress_of
from headwater.testing.job_kit import JobKit
from headwater.testing.oracle_log import OracleLog

Event = dict[str, Any]


def on_event(state: Any, event: Event, context: Context) -> Transition:
    rows = context.rows
    if event["does"] == "forget":
        rows.clear()
        return Transition(None)
    if event["does"] == "fail":
        rows["gone"] = 1
        raise ValueError("unforeseen")
    rows[f"é{event['n'] % 3}"] = "x" * event["n"]
    if event["n"] % 4 == 0:
        rows.pop("é1", None)
    timers = {"over": Timer(context.event_time_ms + 1_000)} if event["does"] == "wait" else None
    return Transition("y" * event["n"], timers=timers)


def on_timer(state: Any, name: str, context: Context) -> Transition:
    return Transition("over")


JOB = Job(
    "sized",
    ("in",),
    (PerKey("keep", lambda event, context: event["key"], on_event, on_timer, keeps_rows=True),),
    ToStream("out"),
)
EVENTS = st.lists(
    st.builds(
        lambda key, n, does: {"key": key, "n": n, "does": does},
        st.sampled_from("abc"),
        st.integers(0, 30),
        st.sampled_from(["keep", "keep", "wait", "forget", "fail"]),
    ),
    max_size=12,
)


async def counted(log: OracleLog) -> tuple[int, int]:
    cells = await log.state_scan("job/sized/keep/cells", rows_max=1000)
    rows = await log.state_scan("job/sized/keep/rows", rows_max=1000)
    names = sum(len(key.partition(b"\0")[2].decode()) for key, _ in rows)
    return len(cells), sum(len(value) for _, value in (*cells, *rows)) + names


@settings(max_examples=25, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=3))
async def test_sizes_are_what_counting_finds_also_after_restarts(runs: list[list[Event]]) -> None:
    log = OracleLog()
    for number, events in enumerate(runs):
        kit = JobKit(JOB, log=log)
        if not number:
            await kit.open()
        await kit.put(*events)
        await kit.runner.run(drain=True)
        report = kit.runner.status.report()
        assert (report.state_keys, report.state_bytes) == await counted(log)
        found = kit.telemetry.value("headwater_job_state_keys", {"job": "sized"})
        assert found == report.state_keys


async def test_a_state_of_an_earlier_version_is_counted_once() -> None:
    log = OracleLog()
    kit = JobKit(JOB, log=log)
    await kit.open()
    await kit.put({"key": "a", "n": 2, "does": "keep"}, {"key": "b", "n": 3, "does": "keep"})
    await kit.runner.run(drain=True)
    name = progress_of(JOB)
    progress = orjson.loads((await log.state_get(name, [PROGRESS_KEY]))[PROGRESS_KEY])
    del progress["state"]
    token = await log.committed(JOB.group) or ""
    await log.append([], commit=Commit(JOB.group, token, (StateChange(name, PROGRESS_KEY, orjson.dumps(progress)),)))
    kit = JobKit(JOB, log=log)
    await kit.put({"key": "c", "n": 4, "does": "keep"})
    await kit.runner.run(drain=True)
    report = kit.runner.status.report()
    assert (report.state_keys, report.state_bytes) == await counted(log)
    assert report.state_keys == 3
