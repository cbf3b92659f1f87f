"""What a page that is just opened can be shown: the last two minutes by the second, and the last outcomes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from headwater.config import IntakeConfig
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.intake import Intake
from headwater.intake.recent import SECONDS_MAX
from headwater.log.contract import Record, TopicSettings
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.clock import ManualClock
from headwater.testing.job_kit import OpenSchemas
from headwater.testing.oracle_log import OracleLog

SCHEMAS = {"/a/1.0.0": {"required": ["n"]}}


def event(n: int | None = 1, stream: str = "edits", domain: str | None = None) -> dict[str, Any]:
    meta = {"stream": stream, **({"domain": domain} if domain else {})}
    return {"$schema": "/a/1.0.0", "meta": meta, **({} if n is None else {"n": n})}


class Door:
    """An intake on a log that outlives it."""

    def __init__(self, log: OracleLog, clock: ManualClock) -> None:
        streams = StreamRegistry([Stream("edits"), Stream("made")])
        gate = Gate(streams, Validator(OpenSchemas(SCHEMAS)), GateSettings(enforce_streams=False), clock)
        self.clock = clock
        self.intake = Intake(gate, log, IntakeConfig(), Telemetry(), clock=clock)
        self.recent = self.intake.recent


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock(1_790_000_000.5)


@pytest.fixture
async def log(clock: ManualClock) -> OracleLog:
    log = OracleLog(clock=clock)
    await log.open()
    return log


@pytest.fixture
async def door(log: OracleLog, clock: ManualClock) -> Door:
    door = Door(log, clock)
    await door.intake.start()
    return door


async def test_the_last_two_minutes_are_counted_by_the_second(door: Door) -> None:
    await door.intake.write([event(1), event(2), event(None)])
    door.clock.advance(1)
    await door.intake.write([event(3)])
    assert door.recent.per_second()[-2:] == [(0, 0), (2, 1)]
    door.clock.advance(3)
    assert door.recent.per_second()[-5:] == [(0, 0), (2, 1), (1, 0), (0, 0), (0, 0)]
    assert len(door.recent.per_second()) == SECONDS_MAX
    door.clock.advance(SECONDS_MAX)
    assert set(door.recent.per_second()) == {(0, 0)}
    assert (door.recent.accepted_total, door.recent.refused_total) == (3, 1)


async def test_a_clock_that_is_set_back_counts_from_there(door: Door) -> None:
    await door.intake.write([event(1), event(2)])
    door.clock.advance(-3600)
    await door.intake.write([event(3)])
    door.clock.advance(1)
    assert door.recent.per_second()[-2:] == [(0, 0), (1, 0)]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 50])
async def test_canaries_are_left_out_of_counts_and_outcomes(door: Door, count: int) -> None:
    edits = [event(n, domain='say "canary"') for n in range(count)]
    await door.intake.write([event(domain="canary"), *edits, event(domain="canary"), event(domain="canary")])
    door.clock.advance(1)
    assert (door.recent.accepted_total, door.recent.number) == (count, count)
    assert door.recent.per_second()[-1] == (count, 0)
    assert door.recent.canaries == {"edits": 3}
    assert door.recent.canaries_since(door.clock() - 2, "edits") == 3
    assert door.recent.canaries_since(door.clock(), "edits") == 0
    assert all('"domain":"canary"' not in one.event_text for one in door.recent.since())


async def test_after_a_restart_the_log_says_what_was(door: Door, log: OracleLog, clock: ManualClock) -> None:
    await door.intake.write([event(0)])
    clock.advance(SECONDS_MAX + 60)
    await door.intake.write([event(1), event(None), event(domain="canary")])
    await door.intake.write([event(5, stream="made")])
    clock.advance(2)
    await door.intake.write([event(2)])
    clock.advance(1)

    after = Door(log, clock)
    await after.intake.start()
    await after.intake.recall(made_by_jobs={"made"})
    assert after.recent.per_second() == [(0, 0)] * (SECONDS_MAX - 3) + [(1, 1), (0, 0), (1, 0)]
    told = [(one.accepted, one.stream, orjson.loads(one.event_text).get("n")) for one in after.recent.since()]
    assert sorted(told[:2]) == [(False, "edits", None), (True, "edits", 1)]
    assert told[2:] == [(True, "edits", 2)]
    [refused] = [one for one in after.recent.since() if not one.accepted]
    assert "should have required property 'n'" in (refused.message or "")
    await after.intake.write([event(3)])
    assert [one.number for one in after.recent.since()] == [1, 2, 3, 4]


async def test_what_is_recalled_is_bounded(log: OracleLog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.intake.restore.RECALLED_MAX", 10)
    await log.ensure_topic("edits", TopicSettings())
    await log.append([Record("edits", orjson.dumps(event(n))) for n in range(50)])
    await log.ensure_topic("headwater-intake.error.validation", TopicSettings())
    await log.append([Record("headwater-intake.error.validation", b"not JSON")])
    clock.advance(1)
    door = Door(log, clock)
    await door.intake.start()
    await door.intake.recall()
    assert door.recent.per_second()[-1] == (5, 1)
    assert orjson.loads(door.recent.since()[-2].event_text)["n"] in (48, 49)
