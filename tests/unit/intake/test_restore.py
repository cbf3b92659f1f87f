"""After a restart every id of the window is known before the first answer, the newest above all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import IntakeConfig
from headwater.errors import DamagedOffsets, LogCorrupt, LogUnavailable
from headwater.intake.event_key import event_key, topic_mark
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.intake import Intake
from headwater.intake.outcome import Accepted
from headwater.intake.restore import duplicate_keys, topics_remembered
from headwater.log.contract import Position, Record, StoredRecord, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.clock import ManualClock
from headwater.testing.job_kit import OpenSchemas
from headwater.testing.oracle_log import OracleLog

STREAMS = (
    Stream("edits", schema_title="a", partitions=2),
    Stream("free", schema_title="a", deduplicate=False),
    Stream(r"/^jobs\..+/", schema_title="a"),
)


class SlowLog(OracleLog):
    """Each read takes a second of the clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self._manual = clock

    async def read(self, position: Position, **options: Any) -> Sequence[StoredRecord]:
        self._manual.advance(1.0)
        return await super().read(position, **options)


class DamagedLog(OracleLog):
    """The first ten offsets of every partition cannot be read."""

    async def read(self, position: Position, **options: Any) -> Sequence[StoredRecord]:
        for (topic, partition), at in position.offsets.items():
            if at < 10:
                raise LogCorrupt("Damaged.", damaged=DamagedOffsets(topic, partition, 0, 9))
        return await super().read(position, **options)


class AwayLog(OracleLog):
    async def read(self, position: Position, **options: Any) -> Sequence[StoredRecord]:
        raise LogUnavailable("Nobody answers.")


def event(event_id: str, stream: str = "edits") -> dict[str, Any]:
    return {"$schema": "/a/1.0.0", "meta": {"stream": stream, "id": event_id}}


def door(log: Any, clock: ManualClock, **settings: Any) -> Intake:
    gate = Gate(StreamRegistry(STREAMS), Validator(OpenSchemas()), GateSettings(enforce_streams=False), clock)
    return Intake(gate, log, IntakeConfig(**settings), Telemetry(), clock=clock)


async def fill(log: OracleLog, clock: ManualClock, count: int, seconds: float = 0.0) -> None:
    await log.open()
    await log.ensure_topic("edits", TopicSettings(partitions=2))
    for number in range(count):
        await log.append([Record("edits", orjson.dumps(event(f"id {number}")))])
        clock.advance(seconds)


@pytest.mark.parametrize("kind", [OracleLog, SlowLog])
async def test_all_ids_are_known_however_long_reading_them_takes(kind: type[OracleLog]) -> None:
    clock = ManualClock()
    log = kind(clock) if kind is SlowLog else kind(clock=clock)  # type: ignore[call-arg, misc]
    await fill(log, clock, 20_000)
    intake = door(log, clock)
    await intake.start()
    outcomes = await intake.write([event(f"id {number}") for number in (0, 10_000, 19_998, 19_999)])
    assert [isinstance(one, Accepted) and one.duplicate for one in outcomes] == [True] * 4


async def test_what_is_damaged_costs_its_own_ids_only() -> None:
    clock = ManualClock()
    log = DamagedLog(clock=clock)
    await fill(log, clock, 40)
    intake = door(log, clock)
    await intake.start()
    outcomes = await intake.write([event(f"id {number}") for number in range(40)])
    assert [isinstance(one, Accepted) and one.duplicate for one in outcomes] == [False] * 20 + [True] * 20


async def test_nothing_is_answered_while_the_ids_cannot_be_read() -> None:
    clock = ManualClock()
    log = AwayLog(clock=clock)
    await fill(log, clock, 1)
    with pytest.raises(LogUnavailable):
        await door(log, clock).start()


async def test_members_of_families_are_remembered_and_streams_that_want_no_such_thing_are_not() -> None:
    clock = ManualClock()
    log = OracleLog(clock=clock)
    await log.open()
    before = door(log, clock)
    await before.start()
    events = [event("1", "jobs.clean"), event("1", "undeclared"), event("1", "free")]
    await before.write(events)
    after = door(log, clock)
    assert {"jobs.clean", "undeclared", "edits"} <= set(await topics_remembered(log, after.gate))
    await after.start()
    outcomes = await after.write(events)
    assert [isinstance(one, Accepted) and one.duplicate for one in outcomes] == [True, True, False]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(2, 50))
async def test_the_newest_are_kept_where_there_are_more_than_may_be_remembered(gaps: list[int], ids_max: int) -> None:
    clock = ManualClock()
    log = OracleLog(clock=clock)
    await fill(log, clock, 0)
    for number, gap in enumerate(gaps):
        clock.advance(gap)
        await log.append([Record("edits", orjson.dumps(event(f"id {number}")))])
    until = int(clock() * 1000)
    found = [key async for keys in duplicate_keys(log, ["edits"], 0, until, ids_max) for key in keys]
    newest = [event_key(topic_mark("edits"), f"id {number}") for number in range(len(gaps))]
    assert set(newest[-(ids_max // 2) :]) <= set(found)


async def test_on_the_embedded_log_a_flipped_bit_costs_its_batch_only(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "events.db"
    clock = ManualClock()
    log = SqliteLog(path, clock=clock)
    await log.open()
    first = door(log, clock)
    await first.start()
    for number in range(5):
        await first.write([event(f"{number}-{index}", "undeclared") for index in range(20)])
    await log.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE batches SET data = zeroblob(length(data)) WHERE last_offset = 59")
    other.close()
    log = SqliteLog(path, clock=clock)
    await log.open()
    second = door(log, clock)
    await second.start()
    outcomes = await second.write([event(f"{number}-7", "undeclared") for number in range(5)])
    assert [isinstance(one, Accepted) and one.duplicate for one in outcomes] == [True, True, False, True, True]
    await log.close()
