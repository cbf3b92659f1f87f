"""Clocks that run ahead are counted by stream, with the largest lead, and remembered with the hours."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from headwater.config import IntakeConfig
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.intake import Intake
from headwater.monitoring.intake_counts import Ahead, IntakeCounts, ahead_in
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.clock import ManualClock
from headwater.testing.job_kit import OpenSchemas
from headwater.testing.oracle_log import OracleLog
from headwater.times import utc_milliseconds

HOUR = 472_222


class Door:
    """An intake of two streams, whose events say how far ahead they are."""

    def __init__(self) -> None:
        self.clock = ManualClock(HOUR * 3600.0 + 100)
        self.telemetry = Telemetry()
        streams = StreamRegistry([Stream("well"), Stream("ahead")])
        gate = Gate(streams, Validator(OpenSchemas()), GateSettings(enforce_streams=False), self.clock)
        self.log = OracleLog(clock=self.clock)
        self.intake = Intake(gate, self.log, IntakeConfig(), self.telemetry, clock=self.clock)
        self.counts = IntakeCounts(self.telemetry, "errors", clocks_ahead=self.intake.clocks.take, clock=self.clock)

    async def send(self, stream: str, *leads_seconds: float, **more: Any) -> None:
        now = int(self.clock() * 1000)
        events = [
            {"$schema": "/a/1.0.0", "meta": {"stream": stream, **more}, "dt": utc_milliseconds(now + int(lead * 1000))}
            for lead in leads_seconds
        ]
        await self.intake.write(events)

    def metric(self, name: str, stream: str) -> float | None:
        return self.telemetry.value(f"headwater_intake_clock_ahead_{name}", {"stream": stream})


@pytest.fixture
async def door() -> Door:
    door = Door()
    await door.log.open()
    await door.intake.start()
    return door


async def test_the_streams_and_the_largest_lead_are_counted(door: Door) -> None:
    await door.send("well", -3600, 0, 0.5)
    await door.send("ahead", 600, 4200, 1.5, -10)
    assert door.metric("events_total", "well") is None
    assert door.metric("events_total", "ahead") == 3
    assert door.metric("seconds_max", "ahead") == 4200
    await door.send("ahead", 30)
    assert door.metric("seconds_max", "ahead") == 4200


async def test_what_was_not_stored_is_not_counted(door: Door) -> None:
    await door.send("ahead", 600, id="one")
    await door.send("ahead", 600, id="one")
    event = {"$schema": "/a/1.0.0", "meta": {"stream": "ahead"}, "dt": "9999-12-31T23:59:59Z"}
    await door.intake.explain([event])
    assert door.metric("events_total", "ahead") == 1


async def test_hours_remember_them_over_all_processes(door: Door) -> None:
    await door.send("ahead", 600, 60)
    door.counts.take()
    records = {key: orjson.loads(orjson.dumps(value)) for key, value in door.counts.records().items()}
    [(key, record)] = records.items()
    assert int(key.rpartition("|")[2]) == HOUR
    assert record["ahead"] == {"ahead": [2, 600_000]}
    other = {"until": 0, "ended": True, "streams": {}, "ahead": {"ahead": [1, 900_000]}}
    before = {"until": 0, "ended": True, "streams": {}}
    hours = {HOUR: {"here": record, "there": other}, HOUR - 1: {"here": other, "old": before}}
    assert ahead_in(hours, HOUR) == {"ahead": Ahead(3, 900_000)}
    assert ahead_in(hours, HOUR - 1) == {"ahead": Ahead(4, 900_000)}

    door.clock.advance(3600)
    await door.send("ahead", 30)
    door.counts.take()
    door.clock.advance(1)
    await door.send("ahead", 20)
    door.counts.take()
    leads = {key.rpartition("|")[2]: value["ahead"] for key, value in door.counts.records().items()}
    assert leads[str(HOUR + 1)]["ahead"] == (1, 20_000)
