"""Repairs the embedded log: sets aside what is damaged, with a copy of it, so that everything else works without it.

How this works: the steps follow from what `check_wal` and `verify` find. A damaged write-ahead log is moved away. A
damaged or missing batch is replaced by an empty one that covers the same offsets, as compaction does if it removes
everything: no offset is used twice, and readers skip it. Damaged rows of positions and state are removed. Before
anything is changed its bytes are stored in a separate file, durably. Damage of SQLite's own pages is left: any change
in such a file would make it worse.
"""

from __future__ import annotations

import base64
import contextlib
import os
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from headwater.errors import LogCorrupt
from headwater.log.contract import TopicPartition
from headwater.log.diagnostics import Damage
from headwater.log.record_batch import CODEC_RAW, BatchCodec, BatchHeader, Columns, checksum
from headwater.log.sqlite.catalogue import load_partition, load_topics, slot_range, store_partition
from headwater.log.sqlite.reader import HEADER_COLUMNS, Reader, check_row, load_batch
from headwater.log.sqlite.tables import OFFSET_MAX, connect, roll_back, row_crc, translated
from headwater.log.sqlite.verify import verify
from headwater.log.sqlite.wal import check_wal, wal_of
from headwater.log.tail_cache import BatchCache
from headwater.private_files import make_private_directory, make_private_file

ROWS_FILE = "rows.jsonl"
# The small tables with checksums of rows of their own, and their columns.
SMALL_TABLES = {"positions": ("name", "token"), "state": ("namespace", "key", "value")}


@dataclass(frozen=True, slots=True)
class SetAside:
    """One damaged thing, and what is done with it. Offsets are None if it has none."""

    where: str
    reason: str
    action: str
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was set aside, or would be; `directory` is where, None where it is nothing. `left` cannot be repaired."""

    done: bool
    directory: str | None
    set_aside: tuple[SetAside, ...]
    left: tuple[Damage, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def repair(path: Path, directory: Path, *, dry_run: bool) -> RepairReport:
    """Set aside what is damaged in the log at `path`, into a new `directory`; with `dry_run` only report it.

    No other process may have the log open. Raises LogUnavailable, LogCorrupt for a file that is not a log, OSError.
    """
    found: list[SetAside] = []
    try:
        check_wal(path, ordered=True)
    except LogCorrupt as error:
        action = "moved away as a whole; the log continues with what is in its file"
        found.append(SetAside(wal_of(path).name, error.message, action))
        if dry_run:
            # To open the file now would be to lose it.
            return RepairReport(False, str(directory), tuple(found), ())
        _move_wal(path, directory)
    left: tuple[Damage, ...] = ()
    if path.exists():
        rows, left = _repair_rows(path, directory, dry_run=dry_run)
        found += rows
    return RepairReport(not dry_run, str(directory) if found else None, tuple(found), left)


def _move_wal(path: Path, directory: Path) -> None:
    make_private_directory(directory)
    wal = wal_of(path)
    wal.rename(directory / wal.name)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def _repair_rows(path: Path, directory: Path, *, dry_run: bool) -> tuple[list[SetAside], tuple[Damage, ...]]:
    reader = Reader(path, busy_seconds=5.0, cache=BatchCache(0))
    try:
        damages = verify(reader).damages
    finally:
        reader.close()
    if not damages:
        return [], ()
    if any(damage.where == "file" for damage in damages):
        return [], damages
    with contextlib.ExitStack() as stack:
        kept = None
        if not dry_run:
            make_private_file(directory / ROWS_FILE)
            kept = stack.enter_context((directory / ROWS_FILE).open("ab"))
        connection = connect(path, cache_bytes=2_097_152, read_only=dry_run)
        stack.callback(connection.close)
        work = _Work(connection, kept)
        with translated(path, "repairing the log"):
            for damage in damages:
                work.batch(damage)
            for table in SMALL_TABLES:
                work.small_rows(table, damages)
    return work.found, tuple(work.left)


class _Work:
    """The changes of one repair; each is a transaction of its own, after its copy. Without `kept` nothing changes."""

    def __init__(self, connection: sqlite3.Connection, kept: BinaryIO | None) -> None:
        self._connection = connection
        self._kept = kept
        self._codec = BatchCodec()
        self.found: list[SetAside] = []
        self.left: list[Damage] = []

    def batch(self, damage: Damage) -> None:
        """Replace what is damaged at the offsets of `damage`."""
        first, last = damage.first_offset, damage.last_offset
        if damage.topic is None or damage.partition is None or first is None or last is None:
            if damage.where not in SMALL_TABLES:
                self.left.append(damage)
            return
        where = (damage.topic, damage.partition)
        slot = load_topics(self._connection)[damage.topic].slots[damage.partition]
        low, _ = slot_range(slot)
        rows = self._connection.execute(
            f"SELECT {HEADER_COLUMNS}, data FROM batches WHERE id BETWEEN ? AND ? ORDER BY id",
            (low + first, low + last),
        ).fetchall()
        if any(self._is_sound(where, row) for row in rows):
            # Only its times are wrong: every record of it can be read.
            self.left.append(damage)
            return
        action = "replaced by nothing at these offsets" if rows else "noted as empty"
        self.found.append(SetAside(damage.where, damage.reason, action, *where, first, last))
        for row in rows:
            columns = (*HEADER_COLUMNS.split(", "), "data")
            self._keep({"table": "batches", "topic": where[0], "partition": where[1]}, columns, row)
        if self._kept is None:
            return
        with self._transaction():
            self._connection.execute("DELETE FROM batches WHERE id BETWEEN ? AND ?", (low + first, low + last))
            self._insert_empty(slot, first, last)
            partition = load_partition(self._connection, slot)
            # Counted again, from the beginning.
            store_partition(self._connection, partition._replace(counted_to=partition.floor, counted_bytes=0))

    def _is_sound(self, where: TopicPartition, row: tuple[Any, ...]) -> bool:
        try:
            check_row(where, row[:7])
            load_batch(self._connection, self._codec, where, BatchHeader(*row[:6]), row[6])
        except LogCorrupt:
            return False
        return True

    def _insert_empty(self, slot: int, first: int, last: int) -> None:
        low, _ = slot_range(slot)
        before = self._connection.execute(
            "SELECT last_ms FROM batches WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1", (low, low + first)
        ).fetchone()
        time_ms = before[0] if before else load_partition(self._connection, slot).floor_ms
        _, data = self._codec.pack(Columns([]))
        header = BatchHeader(low + first, min(last, OFFSET_MAX), 0, time_ms, time_ms, CODEC_RAW)
        self._connection.execute(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*header, checksum(header, data), data)
        )

    def small_rows(self, table: str, damages: tuple[Damage, ...]) -> None:
        """Remove the damaged rows of a small table."""
        if not any(damage.where == table for damage in damages):
            return
        columns = SMALL_TABLES[table]
        keys = columns[:-1]
        chosen = " AND ".join(f"{name} = ?" for name in keys)
        for row in self._connection.execute(f"SELECT {', '.join(columns)}, crc FROM {table}").fetchall():
            if row_crc(*row[:-1]) == row[-1]:
                continue
            shown = " at ".join(repr(value) for value in row[: len(keys)])
            reason = "its checksum does not match"
            action = (
                "removed: its group starts again" if table == "positions" else "removed: its job continues without it"
            )
            self.found.append(SetAside(f"{table}: {shown}", reason, action))
            self._keep({"table": table}, (*columns, "crc"), row)
            if self._kept is not None:
                with self._transaction():
                    self._connection.execute(f"DELETE FROM {table} WHERE {chosen}", row[: len(keys)])

    def _keep(self, facts: dict[str, Any], columns: tuple[str, ...], row: tuple[Any, ...]) -> None:
        if self._kept is None:
            return
        values = {
            name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
            for name, value in zip(columns, row, strict=True)
        }
        self._kept.write(orjson.dumps({**facts, "row": values}, option=orjson.OPT_APPEND_NEWLINE))
        self._kept.flush()
        os.fsync(self._kept.fileno())

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            roll_back(self._connection)
            raise
