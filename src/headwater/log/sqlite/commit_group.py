"""Appends for one transaction of the embedded log: where each record is stored, and how it is packed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, overload

from headwater.errors import EventTooLarge, LogUnavailable, TopicUnknown
from headwater.log.contract import Commit, Placement, Record
from headwater.log.record_batch import (
    BATCH_RECORDS_MAX,
    REMEMBERED_KEY_BYTES_MAX,
    BatchCodec,
    BatchHeader,
    Columns,
    partition_of_key,
    remembered_partition_of_key,
)

APPEND_BYTES_MAX = 268_435_456
BATCH_BYTES_TARGET = 1_048_576


class Append(NamedTuple):
    """Records, or a position, waiting to be committed."""

    records: Sequence[Record]
    commit: Commit | None
    future: asyncio.Future[Sequence[Placement]]
    bytes_total: int


class Step(NamedTuple):
    """A small transaction of other work; `change` is called inside it."""

    change: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    frees: bool = False


class Written(NamedTuple):
    """One batch that has just become durable."""

    topic: str
    partition: int
    slot: int
    header: BatchHeader
    crc: int
    columns: Columns


class Placements(Sequence[Placement]):
    """Where the records of one append went, kept as runs: most callers never look at each one."""

    __slots__ = ("_length", "_runs")

    def __init__(self, runs: list[tuple[str, int, int, int, int]]) -> None:
        self._runs = runs
        self._length = sum(run[3] for run in runs)

    @property
    def runs(self) -> list[tuple[str, int, int, int, int]]:
        """(topic, partition, first offset, count, time) of neighbours."""
        return self._runs

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Placement]:
        for topic, partition, first, count, timestamp_ms in self._runs:
            for offset in range(first, first + count):
                yield Placement(topic, partition, offset, timestamp_ms)

    @overload
    def __getitem__(self, index: int) -> Placement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Placement]: ...
    def __getitem__(self, index: int | slice) -> Placement | Sequence[Placement]:
        if isinstance(index, slice):
            return list(self)[index]
        if index < 0:
            index += self._length
        if index >= 0:
            for topic, partition, first, count, timestamp_ms in self._runs:
                if index < count:
                    return Placement(topic, partition, first + index, timestamp_ms)
                index -= count
        raise IndexError("no such placement")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Placements({list(self)!r})"


class KnownPartition:
    """What the writer knows of a partition; `next_offset` -1: to be read from the file."""

    __slots__ = ("last_ms", "next_offset", "number", "slot", "topic")

    def __init__(self, topic: str, number: int, slot: int) -> None:
        self.topic = topic
        self.number = number
        self.slot = slot
        self.next_offset = -1
        self.last_ms = 0


class PendingBatch:
    """The columns that one group adds to one partition.

    `given` are the times that the records come with, None while none does; `times` what became of them; `spans` the
    newest time of the partition at the first and at the last record of each packed batch, which never goes back.
    """

    __slots__ = (
        "base_offset",
        "count",
        "given",
        "headers",
        "keys",
        "packed",
        "partition",
        "spans",
        "times",
        "timestamp_ms",
        "values",
    )

    def __init__(self, partition: KnownPartition) -> None:
        self.partition = partition
        self.values: list[bytes] = []
        self.keys: list[bytes | None] = []
        self.headers: list[tuple[tuple[str, bytes], ...]] = []
        self.count = 0
        self.packed: list[tuple[Columns, int, bytes]] = []
        self.given: list[int | None] | None = None
        self.times: list[int] | None = None
        self.spans: list[tuple[int, int]] = []
        self.base_offset = 0
        self.timestamp_ms = 0

    def extend(self, records: Sequence[Record]) -> int:
        """Add records; answers the index of the first."""
        start = self.count
        self.values.extend([record.value for record in records])
        self.keys.extend([record.key for record in records])
        self.headers.extend([record.headers for record in records])
        given = [record.timestamp_ms for record in records]
        if self.given is not None:
            self.given.extend(given)
        elif given.count(None) < len(given):
            self.given = [*([None] * start), *given]
        self.count += len(records)
        return start

    def pack(self, codec: BatchCodec) -> None:
        """Pack and compress, in batches of bounded size; left to `set_times` where records come with times."""
        if self.given is None:
            self._pack(codec)

    def set_times(self, codec: BatchCodec, now_ms: int) -> None:
        """Set the time of receipt of the records, once the newest time of the partition is known."""
        last_ms = self.partition.last_ms
        self.timestamp_ms = received_ms = max(now_ms, last_ms)
        if self.given is None:
            self.spans = [(received_ms, received_ms)] * len(self.packed)
            return
        # Lookups by time use the newest time so far: it only grows, even if records carry earlier times.
        newest = list(accumulate(self.given, partial(_newer, now_ms), initial=last_ms))[1:]
        self.times = [newest[index] if given is None else given for index, given in enumerate(self.given)]
        self.packed.clear()
        self.spans.clear()
        self._pack(codec, newest)
        self.timestamp_ms = newest[-1]

    def _pack(self, codec: BatchCodec, newest: Sequence[int] | None = None) -> None:
        start = size = 0
        for index, value in enumerate(self.values):
            size += len(value)
            if size >= BATCH_BYTES_TARGET or index - start >= BATCH_RECORDS_MAX - 1 or index == self.count - 1:
                keys, headers = self.keys[start : index + 1], self.headers[start : index + 1]
                columns = Columns(
                    self.values[start : index + 1],
                    keys if keys.count(None) < len(keys) else None,
                    headers if any(headers) else None,
                )
                if newest is not None and self.times is not None:
                    self.spans.append((newest[start], newest[index]))
                    if any(times := [time - newest[start] for time in self.times[start : index + 1]]):
                        columns.timestamp_deltas = times
                self.packed.append((columns, *codec.pack(columns)))
                start, size = index + 1, 0


def _newer(now_ms: int, last_ms: int, given: int | None) -> int:
    return max(last_ms, now_ms if given is None else given)


class KnownTopic(NamedTuple):
    name: str
    partitions: list[KnownPartition]
    turns: list[int]


class CommitGroup:
    """Appends on their way into one transaction."""

    def __init__(self, topics: dict[str, KnownTopic]) -> None:
        self._topics = topics
        self.appends: list[Append] = []
        self.runs: list[list[tuple[PendingBatch, int, int]]] = []
        self.buildings: dict[int, PendingBatch] = {}

    def add(self, append: Append) -> None:
        """Add an append, or raise and stay unchanged."""
        routed = self._route(append.records)
        runs = []
        for partition, records in routed:
            building = self.buildings.get(partition.slot)
            if building is None:
                building = self.buildings[partition.slot] = PendingBatch(partition)
            runs.append((building, building.extend(records), len(records)))
        self.appends.append(append)
        self.runs.append(runs)

    def _route(self, records: Sequence[Record]) -> list[tuple[KnownPartition, Sequence[Record]]]:
        """Runs of records for the same partition, in input order."""
        routed: list[tuple[KnownPartition, list[Record]]] = []
        turns: dict[str, int] = {}
        name, topic, last, run = None, None, None, []
        for record in records:
            if record.topic != name or topic is None:
                name = record.topic
                topic = self._topics.get(name)
                if topic is None:
                    raise TopicUnknown(f"The log has no topic {name!r}.")
            count = len(topic.partitions)
            if record.partition is not None:
                if not 0 <= record.partition < count:
                    raise TopicUnknown(f"Topic {name!r} has no partition {record.partition}: it has {count}.")
                partition = topic.partitions[record.partition]
            elif count == 1:
                partition = topic.partitions[0]
            elif record.key is not None:
                is_short = len(record.key) <= REMEMBERED_KEY_BYTES_MAX
                place_of = remembered_partition_of_key if is_short else partition_of_key
                partition = topic.partitions[place_of(record.key, count)]
            else:
                # Round robin by append: records without keys of one append stay together, in order, in one batch.
                if topic.name not in turns:
                    turns[topic.name] = topic.turns[0]
                    topic.turns[0] += 1
                partition = topic.partitions[turns[topic.name] % count]
            if partition is last:
                run.append(record)
            else:
                last, run = partition, [record]
                routed.append((partition, run))
        return [(partition, run) for partition, run in routed]

    def placements(self, index: int) -> Placements:
        """Where the records of the append at `index` went, once the offsets are known."""
        runs = []
        for building, start, count in self.runs[index]:
            place = (building.partition.topic, building.partition.number)
            first = building.base_offset + start
            if building.times is None:
                runs.append((*place, first, count, building.timestamp_ms))
            else:
                times = building.times[start : start + count]
                runs += [(*place, offset, 1, time) for offset, time in enumerate(times, first)]
        return Placements(runs)


def admitted_size(records: Sequence[Record], queued_bytes: int, queue_bytes_max: int) -> int:
    """The bytes of an append as limits count it. Raises LogUnavailable when too much is waiting, EventTooLarge."""
    size = 64 * len(records) + sum([len(record.value) for record in records])
    if queued_bytes and queued_bytes + size > queue_bytes_max:
        raise LogUnavailable(f"{queued_bytes} bytes are waiting to be written.", hint="Try again, more slowly.")
    if size > APPEND_BYTES_MAX:
        raise EventTooLarge(f"An append of {size} bytes is over the limit of {APPEND_BYTES_MAX}.")
    return size


def check_types(records: Sequence[Record]) -> None:
    """Records are not validated when made; what is not bytes could be stored but never read. Raises TypeError."""
    for record in records:
        if type(record.value) is not bytes or (record.key is not None and type(record.key) is not bytes):
            raise TypeError("a record's value and key are bytes")
        if record.timestamp_ms is not None and not (type(record.timestamp_ms) is int and record.timestamp_ms >= 0):
            raise TypeError("a record's timestamp_ms is a whole number, 0 or more")
        for name, value in record.headers:
            if type(name) is not str or type(value) is not bytes:
                raise TypeError("a record's headers are (str, bytes) pairs")
