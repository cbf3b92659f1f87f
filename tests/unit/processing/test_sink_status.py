"""The status of a sink says what it wrote, what it waits for, and how old the oldest unwritten event is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.jobs.job import Job, ToTable
from headwater.processing.sink_status import SinkReport, SinkStatus, deletes, sink_state
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually
from headwater.testing.faulty_sink import Faults, FaultySink
from headwater.testing.job_kit import JobKit
from headwater.testing.memory_sink import MemorySink, MemoryTarget

SHAPE = TableShape("numbers", (Column("n", "integer", "n"),), ("n",), delete_when=(("kind", ("delete", "purge")),))
JOB = Job("sink.numbers", ("numbers",), (), ToTable(SHAPE))


def numbers(*wanted: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"meta": {"id": f"id-{one}"}, "n": one, **more} for one in wanted]


def kit_with(faults: Faults) -> JobKit:
    return JobKit(JOB, sink=FaultySink(MemorySink(MemoryTarget(), SHAPE), faults))


def sink_of(kit: JobKit) -> SinkReport:
    found = kit.runner.status.report().sink
    assert found is not None
    return found


def metric(kit: JobKit, name: str) -> float:
    lines = kit.telemetry.render().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name}{{")).split()[-1])


async def test_rows_are_counted_by_what_became_of_them() -> None:
    kit = kit_with(Faults(rejects=lambda delivery: ValueError("odd") if delivery.value["n"] == 4 else None))
    await kit.open()
    await kit.put(*numbers(1, 2, 3, 4, "no number"), *numbers(2, kind="delete"), *numbers(1, kind="edit"))
    await kit.run()
    sink = sink_of(kit)
    assert (sink.name, sink.connector) == ("numbers", "tables")
    assert (sink.written, sink.deleted, sink.rejected) == (5, 1, 2)
    assert sink.last_commit_ms is not None
    assert sink.last_error is not None
    assert sink.waiting_since_ms is None
    text = kit.telemetry.render().decode()
    for what, count in (("written", 5), ("deleted", 1), ("rejected", 2)):
        assert f'headwater_sink_rows_total{{job="sink.numbers",what="{what}"}} {count}.0' in text


async def test_a_sink_that_waits_for_its_target_says_since_when_and_why_and_its_lag_grows() -> None:
    faults = Faults(back_offs=[600.0])
    kit = kit_with(faults)
    await kit.open()
    await kit.put(*numbers(1, 2))
    task = asyncio.create_task(kit.runner.run())
    await eventually(lambda: sink_of(kit).waiting_since_ms is not None)
    report, sink = kit.runner.status.report(), sink_of(kit)
    assert sink_state(report.state, sink) == "waiting"
    assert sink.last_error is not None
    assert "The target is busy" in sink.last_error
    assert sink.last_error_ms is not None
    assert await kit.runner.lag() == 2
    oldest = sink_of(kit).oldest_ms
    assert oldest is not None
    assert sink_of(kit).lag_seconds(oldest / 1000 + 75) == 75
    assert metric(kit, "headwater_sink_waiting_seconds") >= 0
    assert metric(kit, "headwater_sink_lag_seconds") > 0
    kit.runner.stop()
    with pytest.raises(Exception, match="busy"):
        await task
    await kit.run()
    assert await kit.runner.lag() == 0
    sink = sink_of(kit)
    assert (sink.waiting_since_ms, sink.oldest_ms, sink.written) == (None, None, 2)
    assert sink.lag_seconds(1e12) == 0.0
    assert metric(kit, "headwater_sink_lag_seconds") == 0.0


@pytest.mark.parametrize(
    ("event", "is_delete"),
    [
        ({"kind": "delete"}, True),
        ({"kind": "purge"}, True),
        ({"kind": "edit"}, False),
        ({"kind": None}, False),
        ({}, False),
    ],
)
def test_an_event_deletes_if_every_path_has_one_of_its_values(event: dict[str, Any], is_delete: bool) -> None:
    assert deletes(SHAPE.delete_when, Delivery(event)) is is_delete
    assert not deletes((), Delivery(event))
    assert not deletes((*SHAPE.delete_when, ("gone", (True,))), Delivery({**event, "gone": 1}))


def test_rows_that_the_contract_leaves_out_are_not_written() -> None:
    status = SinkStatus(JOB, Telemetry())
    status.discarded("rows", 2)
    status.discarded("values", 7)
    status.committed(5, 0, ())
    assert (status.report().written, status.report().discarded) == (3, 2)
