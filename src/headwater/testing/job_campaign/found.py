"""What a platform has made, read when it has ended: events of all streams, the state of the jobs, and the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from headwater.config import Config
from headwater.log.contract import Log
from headwater.platform import build
from headwater.processing.stores.outbox import state_file
from headwater.processing.stores.state_file import StateFile
from headwater.testing.job_campaign.project import ERRORS, INPUTS, OUTPUTS, STREAMS

READ_RECORDS_MAX = 5_000
SCAN_ROWS = 1_000
Cells = Mapping[bytes, bytes]


@dataclass(slots=True)
class Found:
    """`events` by stream, in the order of each partition; `states` by namespace; `rows` of the table, by user."""

    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    states: dict[str, Cells] = field(default_factory=dict)
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)

    def ids(self, stream: str) -> list[str]:
        return [str(event["meta"]["id"]) for event in self.events[stream]]


async def read_all(config: Config) -> Found:
    """Read everything; no process of the platform runs."""
    found = Found()
    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        for stream in (*INPUTS, *STREAMS, *ERRORS):
            found.events[stream] = await _events(platform.log, stream)
        if platform.log.features.keyed_state:
            for namespace in await platform.log.namespaces():
                found.states[namespace] = await _state(platform.log, namespace)
    finally:
        await platform.stop()
    if not platform.log.features.keyed_state:
        for job in OUTPUTS:
            _read_file(state_file(config.project_dir / config.jobs.state_path, job), found)
    _read_rows(config.project_dir / "var" / "tables.db", found)
    return found


async def _events(log: Log, topic: str) -> list[dict[str, Any]]:
    if topic not in {info.name for info in await log.topics()}:
        return []
    position, by_partition = await log.first([topic]), dict[int, list[dict[str, Any]]]()
    # Not up to the last offset: on Kafka the end of a transaction has one, too.
    while records := await log.read(position, records_max=READ_RECORDS_MAX):
        for record in records:
            by_partition.setdefault(record.partition, []).append(orjson.loads(record.value))
            position = position.after(record)
    return [event for partition in sorted(by_partition) for event in by_partition[partition]]


async def _state(log: Log, namespace: str) -> Cells:
    cells: dict[bytes, bytes] = {}
    after = b""
    while page := await log.state_scan(namespace, after=after, rows_max=SCAN_ROWS):
        cells.update(page)
        after = page[-1][0]
    return cells


def _read_file(path: Path, found: Found) -> None:
    if not path.exists():
        return
    file = StateFile(path)
    try:
        for namespace in file.namespaces():
            cells: dict[bytes, bytes] = {}
            after = b""
            while page := file.scan(namespace, after, SCAN_ROWS):
                cells.update(page)
                after = page[-1][0]
            found.states[namespace] = cells
    finally:
        file.close()


def _read_rows(path: Path, found: Found) -> None:
    if not path.exists():
        return
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found.rows = {
            user: (number, edits) for user, number, edits in database.execute("SELECT user, number, edits FROM latest")
        }
    finally:
        database.close()
