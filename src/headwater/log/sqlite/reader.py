"""Reading the embedded log's file: batches from a position, ends, times, positions and state; all with plain calls.

How this works: each reading thread has one connection. One `read` is one short transaction. Per partition it walks
the batches from the one that holds the offset; among partitions it always takes the batch received first, so that no
partition starves another and a reader of several sees about the order of receipt. Rows must tile the offsets: where
the next row does not begin just after the one before, something was lost, and that is reported, never skipped.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from headwater.errors import DamagedOffsets, LogCorrupt, PositionLost
from headwater.log.contract import Position, StoredRecord, TopicPartition
from headwater.log.record_batch import Batch, BatchCodec, BatchDamaged, BatchHeader, decode_batch
from headwater.log.sqlite.catalogue import (
    DAMAGED_LENGTH_MAX,
    TopicEntry,
    last_damaged,
    load_partition,
    load_topics,
    slot_range,
)
from headwater.log.sqlite.medium import Medium
from headwater.log.sqlite.tables import OFFSET_MAX, connect, roll_back, row_crc, state_crc, translate
from headwater.log.tail_cache import BatchCache, Followed, take

HEADER_COLUMNS = "id, last_offset, count, first_ms, last_ms, codec, crc"
DAMAGE_HINT = (
    "Run `headwater log verify` to see all damage; restore the log from a copy, or continue without these offsets after"
    " `headwater log repair`."
)
_KEYS_PER_QUERY = 500


class Reader:
    """Reads through one connection per thread; give its methods to a pool of threads."""

    def __init__(self, path: Path, *, busy_seconds: float, cache: BatchCache) -> None:
        self.medium: Medium = "writable"
        self._path = path
        self._busy_seconds = busy_seconds
        self._cache = cache
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections of all threads; none may be reading."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()

    @contextlib.contextmanager
    def snapshot(self, doing: str) -> Iterator[tuple[sqlite3.Connection, BatchCodec]]:
        """A read transaction: one consistent state of the file. Raises LogUnavailable, LogCorrupt."""
        local = self._local
        try:
            if not hasattr(local, "connection"):
                local.connection = connect(
                    self._path,
                    busy_seconds=self._busy_seconds,
                    cache_bytes=2_097_152,
                    read_only=True,
                    medium=self.medium,
                )
                local.codec = BatchCodec()
                with self._lock:
                    self._connections.append(local.connection)
            connection = local.connection
            connection.execute("BEGIN")
            try:
                yield connection, local.codec
            finally:
                roll_back(connection)
        except sqlite3.Error as error:
            raise translate(error, self._path, doing) from error

    def topics(self) -> dict[str, TopicEntry]:
        with self.snapshot("reading the topics") as (connection, _):
            return load_topics(connection)

    def read(self, followed: Sequence[Followed], records_max: int, bytes_max: int) -> list[StoredRecord]:
        """Records from each of `followed` on. Raises PositionLost, LogCorrupt."""
        with self.snapshot("reading") as (connection, codec):
            ready = [one for one in followed if find_batch(connection, one)]
            found: list[StoredRecord] = []
            bytes_left = bytes_max
            while ready and len(found) < records_max:
                one = ready[0] if len(ready) == 1 else min(ready, key=_first_ms)
                try:
                    batch = self._batch(connection, codec, one)
                    taken, size, whole = take(batch, one.offset, records_max - len(found), bytes_left, not found)
                    found.extend(taken)
                    bytes_left -= size
                    if not whole:
                        break
                    one.offset = batch.last_offset + 1
                    if not next_batch(connection, one):
                        ready.remove(one)
                except LogCorrupt:
                    if not found:
                        raise
                    # The sound records first; a reader that resumes after them gets the error.
                    break
            return found

    def ends(self, slots: Iterable[int]) -> dict[int, tuple[int, int]]:
        """First and next offset of each slot."""
        with self.snapshot("finding the ends") as (connection, _):
            return {slot: (load_partition(connection, slot).floor, next_offset(connection, slot)) for slot in slots}

    def next_offsets(self, slots: Iterable[int]) -> dict[int, int]:
        """Next offset of each slot."""
        with self.snapshot("finding the ends") as (connection, _):
            return {slot: next_offset(connection, slot) for slot in slots}

    def at(self, slots: Iterable[tuple[str, int, int]], timestamp_ms: int) -> dict[int, int]:
        """The first offset received at or after a time, for each (topic, partition, slot)."""
        with self.snapshot("seeking a time") as (connection, codec):
            found: dict[int, int] = {}
            for topic, partition, slot in slots:
                offset = first_batch_at(connection, slot, timestamp_ms)
                one = Followed(topic, partition, slot, offset)
                if find_batch(connection, one):
                    offset = self._offset_at(connection, codec, one, timestamp_ms)
                found[slot] = offset
            return found

    def _offset_at(self, connection: sqlite3.Connection, codec: BatchCodec, one: Followed, timestamp_ms: int) -> int:
        try:
            batch = self._batch(connection, codec, one)
        except LogCorrupt:
            # A reader from here gets the error.
            return one.offset
        later = (record.offset for record in batch.records if record.timestamp_ms >= timestamp_ms)
        return next(later, batch.last_offset + 1)

    def committed(self, group: str) -> str | None:
        with self.snapshot("reading a position") as (connection, _):
            row = connection.execute("SELECT token, crc FROM positions WHERE name = ?", (group,)).fetchone()
            if row is None:
                return None
            if row_crc(group, row[0]) != row[1]:
                raise LogCorrupt(f"The position of group {group!r} is damaged.", hint="Commit it again.")
            token: str = row[0]
            return token

    def groups(self) -> list[str]:
        with self.snapshot("listing the groups") as (connection, _):
            return [name for (name,) in connection.execute("SELECT name FROM positions ORDER BY name")]

    def namespaces(self) -> list[str]:
        with self.snapshot("listing the state") as (connection, _):
            return [name for (name,) in connection.execute("SELECT DISTINCT namespace FROM state ORDER BY namespace")]

    def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        with self.snapshot("reading state") as (connection, _):
            found: dict[bytes, bytes] = {}
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[start : start + _KEYS_PER_QUERY]
                rows = connection.execute(
                    f"SELECT key, value, crc FROM state WHERE namespace = ? AND key IN ({','.join('?' * len(some))})",
                    (namespace, *some),
                )
                found.update(_checked(namespace, rows))
            return found

    def state_scan(self, namespace: str, after: bytes, rows_max: int) -> list[tuple[bytes, bytes]]:
        with self.snapshot("reading state") as (connection, _):
            rows = connection.execute(
                "SELECT key, value, crc FROM state WHERE namespace = ? AND key > ? ORDER BY key LIMIT ?",
                (namespace, after, rows_max),
            )
            return list(_checked(namespace, rows))

    def _batch(self, connection: sqlite3.Connection, codec: BatchCodec, one: Followed) -> Batch:
        header = one.header
        if header is None:
            raise AssertionError("no batch was found")
        batch = self._cache.get(one.slot, header.place & OFFSET_MAX, one.crc)
        if batch is None:
            batch = load_batch(connection, codec, (one.topic, one.partition), header, one.crc)
            self._cache.put(one.slot, batch, one.crc)
        return batch


def load_batch(
    connection: sqlite3.Connection, codec: BatchCodec, where: TopicPartition, header: BatchHeader, crc: int
) -> Batch:
    """Fetch, check and decode one batch of `where`, a (topic, partition). Raises LogCorrupt."""
    topic, partition = where
    row = connection.execute("SELECT data FROM batches WHERE id = ?", (header.place,)).fetchone()
    base = header.place & OFFSET_MAX
    try:
        if row is None:
            raise BatchDamaged("its row is missing")
        columns = codec.unpack(header, crc, row[0])
    except BatchDamaged as error:
        last = last_damaged(connection, header)
        raise LogCorrupt(
            f"Topic {topic!r}, partition {partition}, the batch at offsets {base} to {last} is damaged: {error}.",
            hint=DAMAGE_HINT,
            damaged=DamagedOffsets(topic, partition, base, last),
        ) from error
    return decode_batch(topic, partition, base, header, columns)


def find_batch(connection: sqlite3.Connection, one: Followed) -> bool:
    """Find the batch that holds `one.offset`; False at the end. Raises PositionLost, LogCorrupt."""
    low, high = slot_range(one.slot)
    place = low + min(one.offset, OFFSET_MAX)
    row = connection.execute(
        f"SELECT {HEADER_COLUMNS} FROM batches WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1", (low, place)
    ).fetchone()
    if row is not None:
        check_row((one.topic, one.partition), row)
        # One that ends before it begins is damaged: loading it raises the error.
        if row[1] >= one.offset or row[1] < row[0] & OFFSET_MAX:
            one.header, one.crc = BatchHeader(*row[:6]), row[6]
            return True
    after = connection.execute(
        "SELECT id FROM batches WHERE id > ? AND id <= ? ORDER BY id LIMIT 1", (place, high)
    ).fetchone()
    if row is not None and after is None and row[1] + 1 == one.offset:
        one.at_end = True
        return False
    known = load_partition(connection, one.slot)
    floor = known.floor
    if one.offset < floor:
        raise _lost(one, floor, "retention has removed it")
    end = floor if row is None else row[1] + 1
    if after is not None:
        raise _gap(one, end, (after[0] & OFFSET_MAX) - 1)
    if end < known.counted_to:
        raise _gap(one, end, known.counted_to - 1)
    if one.offset > end:
        raise _lost(one, floor, f"the log ends at {end}")
    one.at_end = True
    return False


def next_batch(connection: sqlite3.Connection, one: Followed) -> bool:
    """Find the batch after the one just taken; False at the end. Raises LogCorrupt."""
    low, high = slot_range(one.slot)
    row = connection.execute(
        f"SELECT {HEADER_COLUMNS} FROM batches WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1", (low + one.offset, high)
    ).fetchone()
    if row is None:
        one.header = None
        one.at_end = True
        return False
    if row[0] != low + one.offset:
        raise _gap(one, one.offset, (row[0] & OFFSET_MAX) - 1)
    check_row((one.topic, one.partition), row)
    one.header, one.crc = BatchHeader(*row[:6]), row[6]
    return True


def check_row(where: TopicPartition, row: tuple[object, ...]) -> None:
    """A damaged row may have anything in its columns. Raises LogCorrupt."""
    if not all(type(value) is int for value in row):
        base = int(str(row[0])) & OFFSET_MAX
        raise LogCorrupt(
            f"Topic {where[0]!r}, partition {where[1]}, the batch at offset {base} is damaged: its header is not of"
            " numbers.",
            hint=DAMAGE_HINT,
            damaged=DamagedOffsets(*where, base, base),
        )


def next_offset(connection: sqlite3.Connection, slot: int) -> int:
    """Just past the newest record of a slot."""
    row = connection.execute(
        f"SELECT {HEADER_COLUMNS} FROM batches WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1", slot_range(slot)
    ).fetchone()
    if row is None:
        return load_partition(connection, slot).floor
    if not all(type(value) is int for value in row):
        raise LogCorrupt(f"The last batch of partition slot {slot} is damaged.", hint=DAMAGE_HINT)
    header = BatchHeader(*row[:6])
    is_possible = 0 <= header.last_offset - (header.place & OFFSET_MAX) < DAMAGED_LENGTH_MAX
    return (header.last_offset if is_possible else last_damaged(connection, header)) + 1


def first_batch_at(connection: sqlite3.Connection, slot: int, timestamp_ms: int) -> int:
    """Base offset of the first batch with a record received at or after a time, else the end; by bisection."""
    low = load_partition(connection, slot).floor
    high = next_offset(connection, slot)
    start, _ = slot_range(slot)
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT id, last_offset, last_ms FROM batches WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (start, start + middle),
        ).fetchone()
        if row is None or not all(type(value) is int for value in row) or row[1] < middle:
            # Only damage looks like this; the next read will report it.
            return low
        if row[2] >= timestamp_ms:
            high = row[0] & OFFSET_MAX
        else:
            low = row[1] + 1
    return low


def _checked(namespace: str, rows: Iterable[tuple[bytes, bytes, int]]) -> Iterator[tuple[bytes, bytes]]:
    for key, value, crc in rows:
        if state_crc(namespace, key, value) != crc:
            raise LogCorrupt(f"State of {namespace!r} at key {key!r} is damaged.", hint=DAMAGE_HINT)
        yield key, value


def _first_ms(one: Followed) -> int:
    return one.header.first_ms if one.header else 0


def _lost(one: Followed, floor: int, why: str) -> PositionLost:
    earliest = Position({(one.topic, one.partition): floor})
    return PositionLost(
        f"Offset {one.offset} of topic {one.topic!r}, partition {one.partition}, is not in the log: {why}.",
        hint=f"Resume from {earliest.token()}.",
        earliest=earliest.token(),
    )


def _gap(one: Followed, first: int, last: int) -> LogCorrupt:
    return LogCorrupt(
        f"Topic {one.topic!r}, partition {one.partition}: offsets {first} to {last} are missing.",
        hint=DAMAGE_HINT,
        damaged=DamagedOffsets(one.topic, one.partition, first, last),
    )
