"""The results of a campaign, read without the platform's own sinks and counters: records, rows and hourly counts."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from headwater.log.contract import Log, StoredRecord
from headwater.testing.whole_platform.project import ERRORS, JOBS, NUMBERED, ORDERS, PASSED, PER_MINUTE

READ_RECORDS_MAX = 5_000
ERRORS_MAX = 5
ERROR_CHARS_MAX = 2_000
STREAMS = (ORDERS, PASSED, NUMBERED, PER_MINUTE)
JOB_ERRORS = tuple(f"{job}.error" for job in (*JOBS, "table.orders", "table.running", "table.per_minute"))
# The columns of each table, in the order in which its rows are compared.
COLUMNS = {
    "orders": ("slot", "shop", "amount", "order_id"),
    "running": ("shop", "number"),
    "per_minute": ("shop", "start", "orders", "amount"),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """One record: where it is, when it was received, and its event."""

    topic: str
    partition: int
    offset: int
    received_ms: int
    event: dict[str, Any]

    @property
    def identifier(self) -> str:
        return str(self.event["meta"].get("id"))

    @property
    def is_canary(self) -> bool:
        return bool(self.event["meta"].get("domain") == "canary")

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(slots=True)
class Found:
    """`records` by topic; `rows` by file and table; `hours`: the answers of the platform, by "event" and "receipt"."""

    records: dict[str, list[Kept]] = field(default_factory=dict)
    rows: dict[tuple[str, str], list[tuple[Any, ...]]] = field(default_factory=dict)
    hours: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def events(self, topic: str) -> list[Kept]:
        """Records of a topic, without canaries."""
        return [one for one in self.records.get(topic, ()) if not one.is_canary]


async def read_records(log: Log, found: Found) -> None:
    """Read every topic from its beginning to its end."""
    present = {info.name for info in await log.topics()}
    for topic in (*STREAMS, ERRORS, *JOB_ERRORS):
        kept: list[Kept] = []
        if topic in present:
            position = await log.first([topic])
            while records := await log.read(position, records_max=READ_RECORDS_MAX):
                kept += map(_kept, records)
                for record in records:
                    position = position.after(record)
        found.records[topic] = kept


def _kept(record: StoredRecord) -> Kept:
    return Kept(record.topic, record.partition, record.offset, record.timestamp_ms, orjson.loads(record.value))


def read_errors_printed(file: Path, found: Found) -> None:
    """Add what the processes printed as errors; kills and restarts do not count."""
    text = file.read_text(encoding="utf-8", errors="replace")
    entries = re.split(r"^(?=\d{4}-\d\d-\d\dT[\d:]+\S* [A-Z]+ )", text, flags=re.MULTILINE)
    errors = Counter(entry[:ERROR_CHARS_MAX] for entry in map(_without_time, entries) if entry.startswith("ERROR "))
    found.problems += [f"printed {count} times: {entry}" for entry, count in errors.most_common(ERRORS_MAX)]


def _without_time(entry: str) -> str:
    return entry.partition(" ")[2].strip()


def read_rows(file: Path, found: Found) -> None:
    """Read every table of a database file; a table that was never created has no rows."""
    for table, columns in COLUMNS.items():
        query = f'SELECT {", ".join(columns)} FROM "{table}" ORDER BY 1, 2'
        found.rows[file.name, table] = sorted(_rows(file, query, table))


def _rows(file: Path, query: str, table: str) -> Sequence[tuple[Any, ...]]:
    if file.suffix == ".duckdb":
        import duckdb

        with duckdb.connect(str(file), read_only=True) as connection:
            names = {
                row[0] for row in connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
            }
            rows: list[tuple[Any, ...]] = connection.execute(query).fetchall() if table in names else []
            return rows
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        names = {row[0] for row in database.execute("SELECT name FROM sqlite_master").fetchall()}
        return database.execute(query).fetchall() if table in names else []
    finally:
        database.close()
