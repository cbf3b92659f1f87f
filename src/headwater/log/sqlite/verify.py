"""Checks every byte of the embedded log and reports what is damaged and where; counts for display and metrics."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headwater.errors import HeadwaterError, LogCorrupt
from headwater.log.diagnostics import Damage, LogStats, VerifyReport
from headwater.log.record_batch import BatchCodec, BatchHeader
from headwater.log.sqlite.catalogue import TopicEntry, load_partition, load_topics, slot_range
from headwater.log.sqlite.reader import DAMAGE_HINT, HEADER_COLUMNS, Reader, check_row, load_batch
from headwater.log.sqlite.tables import OFFSET_MAX, row_crc

ROWS_PER_SNAPSHOT = 256
# Of each partition, where it is looked at when a server starts.
NEWEST_BATCHES = 4


class _Inspection:
    def __init__(self, reader: Reader, progress: Callable[[int, int], None] | None) -> None:
        self._reader = reader
        self._progress = progress
        self.batches = 0
        self.records = 0
        self.estimated = 0
        self.damages: list[Damage] = []

    def run(self) -> None:
        entries: dict[str, TopicEntry] = {}
        with self._noting("topics"):
            entries = self._reader.topics()
            with self._reader.snapshot("counting") as (connection, _):
                self.estimated = int(connection.execute("SELECT count(*) FROM batches").fetchone()[0])
        for entry in entries.values():
            for partition, slot in enumerate(entry.slots):
                with self._noting(f"topic {entry.name!r}, partition {partition}"):
                    self._partition(entry.name, partition, slot)
        with self._noting("batches"):
            self._strays({slot for entry in entries.values() for slot in entry.slots})
        with self._noting("positions"):
            self._positions()
        with self._noting("state"):
            self._state()
        with self._noting("file"):
            self._pages()

    @contextlib.contextmanager
    def _noting(self, where: str) -> Any:
        try:
            yield
        except HeadwaterError as error:
            self.damages.append(Damage(where, error.message))
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            # A damaged row may have anything in its columns.
            self.damages.append(Damage(where, f"it cannot be read: {error}"))

    def _partition(self, topic: str, partition: int, slot: int) -> None:
        low, high = slot_range(slot)
        with self._reader.snapshot("verifying") as (connection, _):
            expected = load_partition(connection, slot).floor
        last_ms = 0
        while True:
            with self._reader.snapshot("verifying") as (connection, codec):
                # Retention may have removed more in the meantime.
                expected = max(expected, load_partition(connection, slot).floor)
                rows = connection.execute(
                    f"SELECT {HEADER_COLUMNS} FROM batches WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                    (low + expected, high, ROWS_PER_SNAPSHOT),
                ).fetchall()
                for row in rows:
                    header = BatchHeader(*row[:6])
                    base = header.place & OFFSET_MAX
                    if base != expected:
                        self._damaged(topic, partition, expected, base - 1, "these offsets are missing")
                    try:
                        check_row((topic, partition), row)
                        batch = load_batch(connection, codec, (topic, partition), header, row[6])
                    except LogCorrupt as error:
                        # A damaged header's last offset is useless: the next row shows where this one ends.
                        following = connection.execute(
                            "SELECT min(id) FROM batches WHERE id > ? AND id <= ?", (header.place, high)
                        ).fetchone()[0]
                        last = base if following is None else (following & OFFSET_MAX) - 1
                        self._damaged(topic, partition, base, last, error.message)
                        expected = last + 1
                        continue
                    if header.first_ms < last_ms:
                        self._damaged(topic, partition, base, header.last_offset, "its time goes backwards")
                    last_ms = header.last_ms
                    expected = header.last_offset + 1
                    self.batches += 1
                    self.records += len(batch.records)
            if self._progress is not None:
                self._progress(self.batches, max(self.estimated, self.batches))
            if len(rows) < ROWS_PER_SNAPSHOT:
                break
        with self._reader.snapshot("verifying") as (connection, _):
            known = load_partition(connection, slot).counted_to
        if expected < known:
            self._damaged(topic, partition, expected, known - 1, "these offsets are missing")

    def _damaged(self, topic: str, partition: int, first: int, last: int, reason: str) -> None:
        where = f"topic {topic!r}, partition {partition}, offsets {first} to {last}"
        self.damages.append(Damage(where, reason, topic, partition, first, last))

    def _strays(self, slots: set[int]) -> None:
        with self._reader.snapshot("verifying") as (connection, _):
            place = -(1 << 62)
            while True:
                found = connection.execute(
                    "SELECT id FROM batches WHERE id >= ? ORDER BY id LIMIT 1", (place,)
                ).fetchone()
                if found is None:
                    return
                slot = found[0] // (OFFSET_MAX + 1)
                if slot not in slots:
                    self.damages.append(Damage("batches", f"row {found[0]} belongs to no partition"))
                place = slot_range(slot)[1] + 1

    def _positions(self) -> None:
        with self._reader.snapshot("verifying") as (connection, _):
            for name, token, crc in connection.execute("SELECT name, token, crc FROM positions"):
                if row_crc(name, token) != crc:
                    self.damages.append(Damage("positions", f"the position of {name!r} does not match its checksum"))

    def _state(self) -> None:
        with self._reader.snapshot("verifying") as (connection, _):
            for namespace, key, value, crc in connection.execute("SELECT namespace, key, value, crc FROM state"):
                if row_crc(namespace, key, value) != crc:
                    self.damages.append(Damage("state", f"{namespace!r} at {key!r} does not match its checksum"))

    def _pages(self) -> None:
        with self._reader.snapshot("verifying the pages") as (connection, _):
            for (message,) in connection.execute("PRAGMA integrity_check(20)"):
                if message != "ok":
                    self.damages.append(Damage("file", str(message)))


def look(reader: Reader, seconds_max: float) -> tuple[list[LogCorrupt], bool]:
    """What is damaged among the newest batches, the positions and the state; and whether the time sufficed for them."""
    deadline = time.monotonic() + seconds_max
    found: list[LogCorrupt] = []
    with reader.snapshot("looking for damage") as (connection, codec):
        for _ in itertools.chain(_newest(connection, codec, found), _small_rows(connection, found)):
            if time.monotonic() > deadline:
                return found, False
    return found, True


def _newest(connection: sqlite3.Connection, codec: BatchCodec, found: list[LogCorrupt]) -> Iterator[None]:
    for entry in load_topics(connection).values():
        for partition, slot in enumerate(entry.slots):
            rows = connection.execute(
                f"SELECT {HEADER_COLUMNS} FROM batches WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT ?",
                (*slot_range(slot), NEWEST_BATCHES),
            ).fetchall()
            for row in rows:
                try:
                    check_row((entry.name, partition), row)
                    load_batch(connection, codec, (entry.name, partition), BatchHeader(*row[:6]), row[6])
                except LogCorrupt as error:
                    found.append(error)
            yield


def _small_rows(connection: sqlite3.Connection, found: list[LogCorrupt]) -> Iterator[None]:
    for name, token, crc in connection.execute("SELECT name, token, crc FROM positions"):
        if row_crc(name, token) != crc:
            found.append(LogCorrupt(f"The position of {name!r} does not match its checksum.", hint=DAMAGE_HINT))
        yield
    for namespace, key, value, crc in connection.execute("SELECT namespace, key, value, crc FROM state"):
        if row_crc(namespace, key, value) != crc:
            text = f"State of {namespace!r} at key {key!r} does not match its checksum."
            found.append(LogCorrupt(text, hint=DAMAGE_HINT))
        yield


def verify(reader: Reader, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check every batch, small row and page; continues after damage."""
    inspection = _Inspection(reader, progress)
    inspection.run()
    return VerifyReport(inspection.batches, inspection.records, tuple(inspection.damages))


def measure(reader: Reader, path: Path, queued_bytes: int) -> LogStats:
    """Current sizes and counts."""
    with reader.snapshot("measuring") as (connection, _):
        page_bytes = _one(connection, "PRAGMA page_size")
        wal = path.with_name(path.name + "-wal")
        return LogStats(
            topics=len(load_topics(connection)),
            partitions=_one(connection, "SELECT count(*) FROM partitions"),
            batches=_one(connection, "SELECT count(*) FROM batches"),
            file_bytes=_one(connection, "PRAGMA page_count") * page_bytes,
            free_bytes=_one(connection, "PRAGMA freelist_count") * page_bytes,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            queued_bytes=queued_bytes,
            positions=_one(connection, "SELECT count(*) FROM positions"),
            state_rows=_one(connection, "SELECT count(*) FROM state"),
        )


def _one(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
