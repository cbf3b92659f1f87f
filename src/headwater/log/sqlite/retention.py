"""Removes from the embedded log what need not be kept, in steps so small that writers do not notice.

How this works: retention removes whole batches from the front of a partition, moving `floor` in the same transaction.
Compaction first collects, from the part it has not seen, the newest offset of every key (as many keys as fit in
memory), then rewrites the batches before that point without the records that a newer one replaces; offsets do not
change, gaps remain, rows still cover all offsets, and small adjacent rows are merged. Both decide on reading threads
and change the file in steps of the writing thread. Freed pages are reused by new records; only a large surplus is
returned to the file system.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from headwater.errors import LogCorrupt
from headwater.log.contract import StoredRecord, TopicInfo, TopicSettings
from headwater.log.record_batch import BATCH_RECORDS_MAX, Batch, BatchCodec, BatchHeader, checksum, columns_of
from headwater.log.sqlite.catalogue import (
    PartitionRow,
    TopicEntry,
    load_partition,
    load_topics,
    slot_range,
    store_partition,
)
from headwater.log.sqlite.commit_group import BATCH_BYTES_TARGET
from headwater.log.sqlite.reader import HEADER_COLUMNS, Reader, load_batch, next_offset
from headwater.log.sqlite.tables import OFFSET_MAX
from headwater.log.sqlite.writer import Writer

ROW_OVERHEAD_BYTES = 48
STEP_ROWS_MAX = 256
STEP_BYTES_MAX = 2_097_152
SCAN_ROWS_MAX = 4_096
COMPACTION_KEYS_MAX = 500_000
COMPACTION_DIRTY_PART = 0.25
# Each may have to be moved: what a step writes fits into what is kept back on a small disk.
SHRINK_PAGES_PER_STEP = 16
FREE_PAGES_KEPT_PART = 0.1
FREE_PAGES_KEPT_MIN = 16


class InThread(Protocol):
    """Runs a plain function on a reading thread."""

    def __call__(self, function: Callable[..., Any], /, *arguments: object) -> Awaitable[Any]: ...


class _Cut(NamedTuple):
    """Batches to remove from the front: all that end before `floor`."""

    rows: int
    records: int
    floor: int
    floor_ms: int


class _Rewrite(NamedTuple):
    """Rows to replace by one; `expected` are their (id, crc), so that a concurrent change is noticed."""

    expected: tuple[tuple[int, int], ...]
    header: BatchHeader
    crc: int
    data: bytes
    removed: int


class Retention:
    """Applies topic settings; one pass at a time."""

    def __init__(self, reader: Reader, writer: Writer, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._codec = BatchCodec()

    async def trim(self, in_thread: InThread, entry: TopicEntry, partition: int, slot: int) -> int:
        """Apply retention, then compaction, to one partition; records removed."""
        removed = 0
        counted: PartitionRow = await in_thread(self._count, slot)
        settings = entry.settings
        if settings.retention_seconds is not None or settings.retention_bytes is not None:
            while True:
                cut: _Cut | None = await in_thread(self._plan_cut, slot, settings, counted)
                if cut is None:
                    break
                counted = await self._writer.run(partial(apply_cut, slot=slot, cut=cut), frees=True)
                removed += cut.records
        if settings.compact:
            removed += await self._compact(in_thread, entry.name, partition, slot)
        return removed

    async def shrink(self, in_thread: InThread) -> None:
        """Give back pages when more than a tenth of the file is free."""
        while (surplus := await in_thread(self._free_surplus)) > 0:
            pages = min(surplus, SHRINK_PAGES_PER_STEP)
            await self._writer.run(partial(_vacuum, pages=pages), frees=True)

    def _count(self, slot: int) -> PartitionRow:
        with self._reader.snapshot("counting a partition") as (connection, _):
            return count_bytes(connection, load_partition(connection, slot))

    def _plan_cut(self, slot: int, settings: TopicSettings, counted: PartitionRow) -> _Cut | None:
        """The next few batches that retention may remove, or None."""
        size = counted.counted_bytes
        seconds = settings.retention_seconds
        oldest_ms = None if seconds is None else int((self._clock() - seconds) * 1000)
        cut = _Cut(0, 0, counted.floor, counted.floor_ms)
        freed = 0
        with self._reader.snapshot("planning retention") as (connection, _):
            end = next_offset(connection, slot)
            rows = connection.execute(
                "SELECT last_offset, count, last_ms, length(data) FROM batches"
                " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                (*slot_range(slot), STEP_ROWS_MAX),
            )
            for last_offset, count, last_ms, length in rows:
                expired = oldest_ms is not None and last_ms < oldest_ms
                # The newest batch stays, however large: a partition over its size is not an empty one.
                over = settings.retention_bytes is not None and size > settings.retention_bytes
                if not expired and not (over and last_offset + 1 < end):
                    break
                cut = _Cut(cut.rows + 1, cut.records + count, last_offset + 1, last_ms)
                freed += length
                size -= length + ROW_OVERHEAD_BYTES
                if freed >= STEP_BYTES_MAX:
                    break
        return cut if cut.rows else None

    async def _compact(self, in_thread: InThread, topic: str, partition: int, slot: int) -> int:
        newest, clean_to = await in_thread(self._learn_keys, topic, partition, slot)
        if clean_to is None:
            return 0
        removed, offset = 0, 0
        while True:
            rewrite, following = await in_thread(self._plan_rewrite, (topic, partition, slot), newest, offset, clean_to)
            if rewrite is not None:
                await self._writer.run(partial(apply_rewrite, slot=slot, rewrite=rewrite))
                removed += rewrite.removed
            if following is None:
                break
            offset = following
        await self._writer.run(partial(_store_clean, slot=slot, clean_to=clean_to))
        return removed

    def _learn_keys(self, topic: str, partition: int, slot: int) -> tuple[dict[bytes, int], int | None]:
        """The newest offset of each key not seen by earlier passes, and up to where that holds (None: not worth it)."""
        with self._reader.snapshot("planning compaction") as (connection, _):
            row = load_partition(connection, slot)
            start, end = max(row.clean_to, row.floor), next_offset(connection, slot)
        if end - start <= (start - row.floor) * COMPACTION_DIRTY_PART:
            return {}, None
        newest: dict[bytes, int] = {}
        offset: int | None = start
        while offset is not None and len(newest) < COMPACTION_KEYS_MAX:
            loaded, following = self._load(topic, partition, slot, offset, end)
            for _, _, batch in loaded:
                for record in batch.records:
                    if record.key is not None:
                        newest[_digest(record.key)] = record.offset
            offset = following
        return newest, end if offset is None else offset

    def _load(
        self, topic: str, partition: int, slot: int, offset: int, end: int
    ) -> tuple[list[tuple[BatchHeader, int, Batch]], int | None]:
        """Some batches from `offset` on with their checksums, and where to continue (None: `end` is reached)."""
        low, _ = slot_range(slot)
        loaded: list[tuple[BatchHeader, int, Batch]] = []
        size = 0
        with self._reader.snapshot("compacting") as (connection, codec):
            for row in connection.execute(
                f"SELECT {HEADER_COLUMNS} FROM batches WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                (low + offset, low + end, STEP_ROWS_MAX),
            ).fetchall():
                header = BatchHeader(*row[:6])
                batch = load_batch(connection, codec, (topic, partition), header, row[6])
                loaded.append((header, row[6], batch))
                size += batch.bytes_total
                if size >= BATCH_BYTES_TARGET or sum(len(b.records) for _, _, b in loaded) >= BATCH_RECORDS_MAX:
                    break
        following = loaded[-1][0].last_offset + 1 if loaded else end
        return loaded, (following if following < end else None)

    def _plan_rewrite(
        self, where: tuple[str, int, int], newest: dict[bytes, int], offset: int, clean_to: int
    ) -> tuple[_Rewrite | None, int | None]:
        loaded, following = self._load(*where, offset, clean_to)
        before = sum(len(batch.records) for _, _, batch in loaded)
        kept = [
            record
            for _, _, batch in loaded
            for record in batch.records
            if record.key is None or newest.get(_digest(record.key), -1) <= record.offset
        ]
        if not loaded or (len(kept) == before and len(loaded) < 8):
            return None, following
        return self._rewrite(loaded, kept, before), following

    def _rewrite(
        self, loaded: Sequence[tuple[BatchHeader, int, Batch]], kept: list[StoredRecord], before: int
    ) -> _Rewrite:
        first, last = loaded[0][0], loaded[-1][0]
        columns = columns_of(kept, first.place & OFFSET_MAX, first.first_ms)
        codec, data = self._codec.pack(columns)
        header = BatchHeader(first.place, last.last_offset, len(kept), first.first_ms, last.last_ms, codec)
        expected = tuple((header.place, crc) for header, crc, _ in loaded)
        return _Rewrite(expected, header, checksum(header, data), data, before - len(kept))

    def _free_surplus(self) -> int:
        with self._reader.snapshot("counting free pages") as (connection, _):
            free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
            pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
        return free - max(FREE_PAGES_KEPT_MIN, int(pages * FREE_PAGES_KEPT_PART))


def list_topics(reader: Reader) -> list[TopicInfo]:
    """All topics with their ends and sizes."""
    with reader.snapshot("listing the topics") as (connection, _):
        infos = []
        for entry in load_topics(connection).values():
            rows = [load_partition(connection, slot) for slot in entry.slots]
            size = sum(count_bytes(connection, row).counted_bytes for row in rows)
            ends = tuple(next_offset(connection, slot) for slot in entry.slots)
            infos.append(TopicInfo(entry.name, entry.settings, tuple(row.floor for row in rows), ends, size))
        return infos


def count_bytes(connection: sqlite3.Connection, row: PartitionRow) -> PartitionRow:
    """The row with all its batches counted. Only those not yet counted are looked at."""
    low, high = slot_range(row.slot)
    offset = max(row.counted_to, row.floor)
    size = row.counted_bytes
    while True:
        rows, length, last = connection.execute(
            "SELECT count(*), total(length(data)), max(last_offset) FROM"
            " (SELECT data, last_offset FROM batches WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)",
            (low + offset, high, SCAN_ROWS_MAX),
        ).fetchone()
        if not rows:
            return row._replace(counted_to=offset, counted_bytes=size)
        size += int(length) + ROW_OVERHEAD_BYTES * rows
        offset = last + 1


def count_slots(connection: sqlite3.Connection, slots: Sequence[int]) -> None:
    """Count what has been added to these partitions, in the caller's transaction."""
    for slot in slots:
        row = load_partition(connection, slot)
        counted = count_bytes(connection, row)
        if counted != row:
            store_partition(connection, counted)


def apply_cut(connection: sqlite3.Connection, slot: int, cut: _Cut) -> PartitionRow:
    """Remove batches and move the floor, in the caller's transaction."""
    row = count_bytes(connection, load_partition(connection, slot))
    if cut.floor <= row.floor:
        return row
    low, _ = slot_range(slot)
    rows, length = connection.execute(
        "SELECT count(*), total(length(data)) FROM batches WHERE id >= ? AND id < ?", (low, low + cut.floor)
    ).fetchone()
    connection.execute("DELETE FROM batches WHERE id >= ? AND id < ?", (low, low + cut.floor))
    row = row._replace(
        floor=cut.floor,
        floor_ms=max(cut.floor_ms, row.floor_ms),
        counted_to=max(row.counted_to, cut.floor),
        counted_bytes=max(0, row.counted_bytes - int(length) - ROW_OVERHEAD_BYTES * rows),
        clean_to=max(row.clean_to, cut.floor),
    )
    store_partition(connection, row)
    return row


def apply_rewrite(connection: sqlite3.Connection, slot: int, rewrite: _Rewrite) -> None:
    """Replace rows by their compacted form, in the caller's transaction, unless they have changed in the meantime."""
    header = rewrite.header
    row = load_partition(connection, slot)
    end = (header.place & ~OFFSET_MAX) + header.last_offset
    present = connection.execute(
        "SELECT id, crc, length(data) FROM batches WHERE id BETWEEN ? AND ? ORDER BY id", (header.place, end)
    ).fetchall()
    if tuple((place, crc) for place, crc, _ in present) != rewrite.expected:
        if header.place & OFFSET_MAX < row.floor:
            return
        raise LogCorrupt(
            f"Rows changed under compaction, from id {header.place} on.", hint="Run `headwater log verify`."
        )
    connection.execute("DELETE FROM batches WHERE id BETWEEN ? AND ?", (header.place, end))
    connection.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*header, rewrite.crc, rewrite.data))
    if row.counted_to > header.last_offset:
        before = sum(length + ROW_OVERHEAD_BYTES for _, _, length in present)
        change = len(rewrite.data) + ROW_OVERHEAD_BYTES - before
        store_partition(connection, row._replace(counted_bytes=max(0, row.counted_bytes + change)))
    elif row.counted_to > header.place & OFFSET_MAX:
        # A merged row extends beyond what was counted: count again.
        store_partition(connection, row._replace(counted_to=row.floor, counted_bytes=0))


def _store_clean(connection: sqlite3.Connection, slot: int, clean_to: int) -> None:
    row = load_partition(connection, slot)
    store_partition(connection, row._replace(clean_to=max(row.clean_to, clean_to)))


def _vacuum(connection: sqlite3.Connection, pages: int) -> None:
    # A statement without rows is stepped only once, which frees one page however many are requested.
    for _ in range(pages):
        connection.execute("PRAGMA incremental_vacuum(1)")


def _digest(key: bytes) -> bytes:
    # Keys may be long; sixteen bytes of a cryptographic hash represent each in memory.
    return key if len(key) <= 16 else blake2b(key, digest_size=16).digest()
