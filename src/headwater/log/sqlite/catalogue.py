"""What topics and partitions the embedded log has: reading, creating and growing them."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from headwater.errors import ConfigInvalid, LogCorrupt, TopicUnknown
from headwater.log.contract import TopicSettings
from headwater.log.limits import PARTITIONS_MAX, RETENTION_BYTES_MAX, RETENTION_SECONDS_MAX, TOPIC_NAME_CHARS_MAX
from headwater.log.record_batch import BATCH_RECORDS_MAX, BatchHeader
from headwater.log.sqlite.tables import OFFSET_BITS, OFFSET_MAX, row_crc

# More than compaction ever merges into one row.
DAMAGED_LENGTH_MAX = 16_777_216


class TopicEntry(NamedTuple):
    """One topic; `slots` names the row range of each partition. Slots are given once and never change."""

    id: int
    name: str
    settings: TopicSettings
    slots: tuple[int, ...]


class PartitionRow(NamedTuple):
    """The row of one partition.

    `floor`: the offset below which retention has removed everything, `floor_ms` the time of the last record removed;
    `counted_bytes`: size of the batches in [floor, counted_to); `clean_to`: compaction has seen everything below.
    """

    slot: int
    topic_id: int
    partition: int
    floor: int = 0
    floor_ms: int = 0
    counted_to: int = 0
    counted_bytes: int = 0
    clean_to: int = 0


def load_topics(connection: sqlite3.Connection) -> dict[str, TopicEntry]:
    """All topics by name. Raises LogCorrupt."""
    slots: dict[int, dict[int, int]] = {}
    for slot, topic_id, partition in connection.execute("SELECT slot, topic_id, partition FROM partitions"):
        slots.setdefault(topic_id, {})[partition] = slot
    entries: dict[str, TopicEntry] = {}
    for row in connection.execute(
        "SELECT id, name, partitions, retention_seconds, retention_bytes, compact, crc FROM topics ORDER BY name"
    ):
        topic_id, name, count, seconds, size, compact, crc = row
        own = slots.get(topic_id, {})
        if row_crc(*row[:-1]) != crc or sorted(own) != list(range(count)):
            raise LogCorrupt(f"The row of topic {name!r} is damaged.", hint="Restore the log from a copy.")
        settings = TopicSettings(count, seconds, size, bool(compact))
        entries[name] = TopicEntry(topic_id, name, settings, tuple(own[number] for number in range(count)))
    return entries


def load_partition(connection: sqlite3.Connection, slot: int) -> PartitionRow:
    """The row of a partition. Raises LogCorrupt."""
    found = connection.execute(
        "SELECT slot, topic_id, partition, floor, floor_ms, counted_to, counted_bytes, clean_to, crc"
        " FROM partitions WHERE slot = ?",
        (slot,),
    ).fetchone()
    if found is None or row_crc(*found[:-1]) != found[-1]:
        raise LogCorrupt(f"The row of partition slot {slot} is damaged.", hint="Restore the log from a copy.")
    return PartitionRow(*found[:-1])


def store_partition(connection: sqlite3.Connection, row: PartitionRow) -> None:
    """Insert or replace the row of a partition."""
    connection.execute("INSERT OR REPLACE INTO partitions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, row_crc(*row)))


def ensure_topic(connection: sqlite3.Connection, name: str, wanted: TopicSettings) -> None:
    """Create the topic or change its settings, inside the caller's transaction. Partitions only grow."""
    if not 0 < len(name) <= TOPIC_NAME_CHARS_MAX or not name.isprintable():
        raise TopicUnknown(
            f"{name[:80]!r} cannot be a topic's name.", hint=f"Use 1 to {TOPIC_NAME_CHARS_MAX} printable characters."
        )
    if not 1 <= wanted.partitions <= PARTITIONS_MAX:
        raise ConfigInvalid(f"The topic {name!r} cannot have {wanted.partitions} partitions: 1 to {PARTITIONS_MAX}.")
    if (wanted.retention_seconds or 0) > RETENTION_SECONDS_MAX or (wanted.retention_bytes or 0) > RETENTION_BYTES_MAX:
        raise ConfigInvalid(f"The topic {name!r} is to keep more than a log can count.", hint="Leave the limit out.")
    present = load_topics(connection).get(name)
    count = max(wanted.partitions, len(present.slots)) if present else wanted.partitions
    topic_id = present.id if present else _next(connection, "SELECT max(id) FROM topics")
    seconds = None if wanted.retention_seconds is None else float(wanted.retention_seconds)
    row = (topic_id, name, count, seconds, wanted.retention_bytes, int(wanted.compact))
    connection.execute("INSERT OR REPLACE INTO topics VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, row_crc(*row)))
    for number in range(len(present.slots) if present else 0, count):
        slot = _next(connection, "SELECT max(slot) FROM partitions")
        store_partition(connection, PartitionRow(slot, topic_id, number))


def slot_range(slot: int) -> tuple[int, int]:
    """The smallest and the largest row id of a partition's batches."""
    return slot << OFFSET_BITS, ((slot + 1) << OFFSET_BITS) - 1


def last_damaged(connection: sqlite3.Connection, header: BatchHeader) -> int:
    """The last offset of a batch whose header may be damaged too: the next row shows where it ended.

    Without one, that of the header if it is consistent, and otherwise the most that a batch can hold.
    """
    base, slot = header.place & OFFSET_MAX, header.place >> OFFSET_BITS
    following: int | None = connection.execute(
        "SELECT min(id) FROM batches WHERE id > ? AND id <= ?", (header.place, slot_range(slot)[1])
    ).fetchone()[0]
    if following is not None:
        return (following & OFFSET_MAX) - 1
    length = header.last_offset - base + 1
    if length == header.records and 0 < length <= BATCH_RECORDS_MAX:
        return header.last_offset
    claimed = header.last_offset if 0 < length <= DAMAGED_LENGTH_MAX else base
    # An unreadable count does not make it worse: the largest of what is known is never too small.
    counted = load_partition(connection, slot).counted_to - 1
    return min(max(base + BATCH_RECORDS_MAX - 1, claimed, counted), OFFSET_MAX - 1)


def _next(connection: sqlite3.Connection, query: str) -> int:
    highest: int | None = connection.execute(query).fetchone()[0]
    return (highest or 0) + 1
