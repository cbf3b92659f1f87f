"""Events for the jobs in `project/`, the same for each run, and what a run has written, as it can be compared."""

from __future__ import annotations

import copy
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson

from headwater.config import Config, load_config
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.outcome import Admitted
from headwater.log.contract import Log, Position, Record, StoredRecord
from headwater.platform import Platform, build, schemas_of
from headwater.processing.declarations import declarations, topic_settings
from headwater.times import utc_milliseconds

PROJECT = Path(__file__).resolve().parent / "project"
PAGES, USERS = 12, 5
# At most as far is an event behind the newest one before it.
JITTER_MS = 15_000
STEP_MS = 700

Event = dict[str, Any]


def events(count: int) -> list[tuple[Event, int]]:
    """Events of both streams with the time of their receipt, in this order. Old records would be deleted at once."""
    chance = random.Random(7)
    first_ms = int(time.time() * 1000) - (count + 60) * STEP_MS
    made = []
    for number in range(1, count + 1):
        at_ms = first_ms + number * STEP_MS - chance.randrange(JITTER_MS)
        stream = "views" if number % 4 == 0 else "edits"
        event = {
            "$schema": "/flink/edit/1.0.0",
            "meta": {"stream": stream, "id": f"00000000-0000-4000-8000-{number:012d}", "dt": utc_milliseconds(at_ms)},
            "dt": utc_milliseconds(at_ms),
            "page": f"Page {chance.randrange(PAGES)}",
            "user": f"user-{chance.randrange(USERS)}",
            "number": number,
            "bytes": chance.randrange(-500, 5_000),
        }
        made.append((event, first_ms + number * STEP_MS + 1_000))
    return made


def config_of(url: str, state: Path, project: Path = PROJECT) -> Config:
    """The project on this log."""
    overrides = {"log.url": url, "jobs.state_path": str(state / "state"), "jobs.tables_path": str(state / "tables.db")}
    return load_config(project, {}, {**overrides, "jobs.processes": 0, "monitoring.canaries": False})


async def admitted(config: Config, log: Log, made: Iterable[tuple[Event, int]]) -> list[Record]:
    """The events as the intake stores them, but dated as they were received; their topics are there then."""
    streams, _ = declarations(config)
    gate = Gate(streams, schemas_of(config), GateSettings.from_config(config))
    records = []
    for event, received_ms in made:
        # It may fill in what is missing.
        verdict = gate.admit(copy.deepcopy(event))
        assert isinstance(verdict, Admitted), verdict
        records.append(msgspec.structs.replace(verdict.record, timestamp_ms=received_ms))
    for stream in {record.topic for record in records}:
        await log.ensure_topic(stream, topic_settings(config, streams.get(stream)))
    return records


async def fill(config: Config, log: Log, made: Iterable[tuple[Event, int]]) -> None:
    """Store the events."""
    records = await admitted(config, log, made)
    for start in range(0, len(records), 500):
        await log.append(records[start : start + 500])


async def run_embedded(config: Config) -> None:
    """Run all jobs of the project until they have processed everything."""
    platform: Platform = build(config)
    await platform.start(run_jobs=False)
    try:
        await platform.finish_jobs()
    finally:
        await platform.stop()


@dataclass(frozen=True)
class Written:
    """What a run has written: by stream, and in it by Kafka's key, the events in order."""

    streams: Mapping[str, Mapping[bytes | None, Sequence[StoredRecord]]] = field(default_factory=dict)

    def events(self, stream: str) -> dict[bytes | None, list[Event]]:
        """The events of a stream by key, in order, without what differs by nature: when they were written."""
        return {key: [_plain(record) for record in records] for key, records in self.streams.get(stream, {}).items()}


async def read_written(log: Log, streams: Iterable[str]) -> Written:
    """Everything in these streams."""
    found: dict[str, dict[bytes | None, list[StoredRecord]]] = {}
    for stream in streams:
        keyed: dict[bytes | None, list[StoredRecord]] = defaultdict(list)
        for record in await _all(log, stream):
            keyed[record.key].append(record)
        found[stream] = keyed
    return Written(found)


async def _all(log: Log, topic: str) -> list[StoredRecord]:
    if not await log.partition_counts([topic]):
        return []
    records: list[StoredRecord] = []
    end = await log.last([topic])
    for place, offset in (await log.first([topic])).offsets.items():
        position = Position({place: offset})
        while position.offsets[place] < end.offsets[place]:
            some = await log.read(position, wait_seconds=1.0)
            if not some:
                break
            records += some
            position = position.after(some[-1])
    return records


def _plain(record: StoredRecord) -> Event:
    event: Event = orjson.loads(record.value)
    meta = event["meta"]
    meta.pop("dt", None)
    if "emitter_id" in event:
        event.pop("dt")
        failure = meta.get("failure")
        if isinstance(failure, dict):
            failure.pop("first_failed_at", None)
    return event
