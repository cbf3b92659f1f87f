"""Names that events choose make no more topics, and no more label values, than a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headwater import telemetry as telemetry_module
from headwater.config import IntakeConfig
from headwater.errors import TooManyStreams
from headwater.intake import Accepted, Gate, GateSettings, Intake, Refused
from headwater.intake.counters import Counters
from headwater.schemas.repository import LocalRepository
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import OTHERS, Telemetry
from headwater.testing.oracle_log import OracleLog

MADE_MAX = 50
NAMES = [f"family.{number}" for number in range(3_000)]


def event(stream: str) -> dict[str, Any]:
    return {"$schema": "/error/1.0.0", "meta": {"stream": stream}, "dt": "2026-01-01T00:00:00Z"} | {
        "emitter_id": "x",
        "message": "m",
    }


def intake_on(log: OracleLog, telemetry: Telemetry) -> Intake:
    streams = StreamRegistry([Stream("declared"), Stream("/^family\\..+/")])
    schemas = Validator(LocalRepository(Path(__file__).parent / "no schemas here"))
    gate = Gate(streams, schemas, GateSettings(enforce_streams=False))
    return Intake(gate, log, IntakeConfig(made_topics_max=MADE_MAX), telemetry)


@pytest.fixture
async def log() -> AsyncIterator[OracleLog]:
    log = OracleLog()
    await log.open()
    yield log
    await log.close()


async def test_thousands_of_members_make_a_bounded_number_of_topics(log: OracleLog) -> None:
    intake = intake_on(log, Telemetry())
    await intake.start()
    before = len(await log.topics())
    outcomes = await intake.write([event(name) for name in NAMES])
    assert [isinstance(one, Accepted) for one in outcomes] == [index < MADE_MAX for index in range(len(NAMES))]
    assert isinstance(outcomes[-1], Refused)
    assert isinstance(outcomes[-1].reason, TooManyStreams)
    assert len(await log.topics()) == before + MADE_MAX
    # Those there are, and declared streams, go on.
    assert all(isinstance(one, Accepted) for one in await intake.write([event(NAMES[0]), event("declared")]))
    await intake.stop()
    # Also after another start, which counts what the log has.
    again = intake_on(log, Telemetry())
    await again.start()
    known, new = await again.write([event(NAMES[1]), event(NAMES[-1])])
    assert isinstance(known, Accepted)
    assert isinstance(new, Refused)
    await again.stop()


def test_thousands_of_names_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_module, "LABELLED_MAX", 100)
    telemetry = Telemetry()
    telemetry.expect(["declared"])
    counted = Counters(telemetry)
    for name in NAMES:
        counted.refused(Refused({}, name, TooManyStreams("no"), None, None))
        counted._add(name, "accepted", 1)
        counted.repaired_event(name)
        counted.clocks.saw(name, 5_000)
    counted._add("declared", "accepted", 7)
    text = telemetry.render().decode()
    assert text.count("headwater_intake_events_total{") <= 103
    assert text.count("headwater_intake_repaired_events_total{") == 101
    assert text.count("headwater_intake_clock_ahead_events_total{") == 101
    declared = {"stream": "declared", "outcome": "accepted"}
    assert telemetry.value("headwater_intake_events_total", declared) == 7
    labels = {"stream": OTHERS, "outcome": "accepted"}
    assert telemetry.value("headwater_intake_events_total", labels) == len(NAMES) - 99
