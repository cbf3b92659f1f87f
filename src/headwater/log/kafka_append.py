"""One append to Kafka: its records on their way, where each of them went, and which of them failed.

How this works: each record is delivered on its own. Reports are collected as they come, as little as possible for each;
records of one partition come in their order, and equal records stand for one another, so where each one went is worked
out from that: when somebody asks, or when something failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from typing import overload

from confluent_kafka import Message, Producer

from headwater.errors import AppendIncomplete, EventTooLarge, HeadwaterError, LogUnavailable
from headwater.log.contract import Placement, Record
from headwater.log.kafka_settings import KafkaError, KafkaException, translate
from headwater.log.kafka_topics import KafkaTopic

LEARN_SECONDS_MAX = 2.0
UNSENT = KafkaError._QUEUE_FULL

# Where a record is now: topic, partition, offset, key.
Report = tuple[str, int, int, bytes | None]
# Why one is not: the error, topic, key, value.
Failure = tuple[KafkaError, str | None, bytes | None, bytes | None]


class PendingAppend:
    """One append under way. `delivered` and `placed` are called by the polling thread, once for each record."""

    __slots__ = (
        "failures",
        "finished",
        "future",
        "left",
        "offsets",
        "partitions",
        "reason",
        "records",
        "reports",
        "size",
        "time_ms",
    )

    def __init__(
        self,
        records: Sequence[Record],
        partitions: list[int],
        size: int,
        *,
        time_ms: int,
        finished: list[PendingAppend],
        future: asyncio.Future[Sequence[Placement]] | None = None,
    ) -> None:
        self.records = records
        self.partitions = partitions
        self.size = size
        self.time_ms = time_ms
        self.left = len(records)
        self.finished = finished
        self.future = future
        self.offsets: list[int] = []
        self.reports: list[Report] = []
        self.failures: list[Failure] = []
        # Why records failed of which nothing was told.
        self.reason: KafkaError | None = None

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """A record's report, where all records go to one partition."""
        if error is None:
            self.offsets.append(message.offset())  # type: ignore[arg-type]
        else:
            self.failures.append((error, message.topic(), message.key(), message.value()))
        self.left -= 1
        if not self.left:
            self.finished.append(self)

    def placed(self, error: KafkaError | None, message: Message) -> None:
        """A record's report, where records go to several partitions."""
        if error is None:
            self.reports.append((message.topic(), message.partition(), message.offset(), message.key()))  # type: ignore[arg-type]
        else:
            self.failures.append((error, message.topic(), message.key(), message.value()))
        self.left -= 1
        if not self.left:
            self.finished.append(self)

    def untold(self, count: int, error: KafkaError) -> None:
        """Of so many records nothing more will be told. Called by the polling thread."""
        self.reason = error
        self.left -= count
        if not self.left:
            self.finished.append(self)


class Placements(Sequence[Placement]):
    """Where the records of one append went; worked out when first looked at, since most callers never do."""

    __slots__ = ("_found", "_pending", "_strip")

    def __init__(self, pending: PendingAppend, strip: int) -> None:
        self._pending: PendingAppend | None = pending
        self._strip = strip
        self._found: list[Placement] = []

    def _all(self) -> list[Placement]:
        if self._pending is not None:
            placed = place_records(self._pending, self._strip)
            self._found = [placed[index] for index in range(len(self._pending.records))]
            self._pending = None
        return self._found

    def __len__(self) -> int:
        return len(self._found) if self._pending is None else len(self._pending.records)

    def __iter__(self) -> Iterator[Placement]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> Placement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Placement]: ...
    def __getitem__(self, index: int | slice) -> Placement | Sequence[Placement]:
        return self._all()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Placements({self._all()!r})"


def hand_over(
    producer: Producer, pending: PendingAppend, topics: Sequence[KafkaTopic]
) -> tuple[int, KafkaError] | None:
    """Give every record to the client. None, or the index of the first that it did not take, and why."""
    produce, time_ms, partitions = producer.produce, pending.time_ms, pending.partitions
    first = topics[0]
    told = pending.delivered if first.partitions == 1 and all(t is first for t in topics) else pending.placed
    index = 0
    try:
        for index, record in enumerate(pending.records):
            given = record.timestamp_ms
            produce(
                topics[index].full_name,
                record.value,
                record.key,
                partitions[index],
                on_delivery=told,
                timestamp=time_ms if given is None else given,
                headers=list(record.headers) if record.headers else None,
            )
    except BufferError:
        return index, KafkaError(UNSENT)
    except KafkaException as error:
        return index, error.args[0]
    return None


def learn_partitions(producer: Producer, full_name: str, partitions: int) -> None:
    """Let a client ask until it knows so many partitions: one broker may be behind another. Blocks, for a while."""
    deadline = time.monotonic() + LEARN_SECONDS_MAX
    while time.monotonic() < deadline:
        # What it cannot learn now, it will within its own interval.
        with contextlib.suppress(KafkaException):
            if (
                len(producer.list_topics(full_name, timeout=LEARN_SECONDS_MAX).topics[full_name].partitions)
                >= partitions
            ):
                return
        time.sleep(0.01)


def record_bytes(record: Record) -> int:
    """The size of a record as limits count it."""
    size = len(record.value) + len(record.key or b"")
    for name, value in record.headers:
        size += len(name) + len(value) + 8
    return size


def place_records(pending: PendingAppend, strip: int, failed: Collection[int] = ()) -> dict[int, Placement]:
    """Where each record went, by its index, but for the `failed` and those of which nothing was told."""
    records, default_ms = pending.records, pending.time_ms

    def placement(index: int, partition: int, offset: int) -> Placement:
        given = records[index].timestamp_ms
        return Placement(records[index].topic, partition, offset, default_ms if given is None else given)

    told = [index for index in range(len(records)) if index not in failed]
    if not pending.reports:
        # One partition, in order: those of which nothing was told are the last.
        offsets = sorted(pending.offsets)
        return {
            index: placement(index, pending.partitions[index], offset)
            for index, offset in zip(told, offsets, strict=False)
        }
    # Records of one key go to one partition, in the order given.
    left: dict[tuple[str, bytes | None], dict[int, list[int]]] = {}
    for name, partition, offset, key in sorted(pending.reports, key=_offset_of, reverse=True):
        left.setdefault((name[strip:], key), {}).setdefault(partition, []).append(offset)
    found: dict[int, Placement] = {}
    for index in sorted(told, key=lambda index: (pending.partitions[index] < 0, index)):
        own = left.get((records[index].topic, records[index].key), {})
        partition = pending.partitions[index]
        if partition < 0:
            partition = next((number for number, offsets in own.items() if offsets), -1)
        if own.get(partition):
            found[index] = placement(index, partition, own[partition].pop())
    return found


def _offset_of(report: Report) -> int:
    return report[2]


def incomplete(pending: PendingAppend, strip: int, servers: str) -> AppendIncomplete:
    """What became of an append that failed for some records, or for all. Equal records stand for one another."""
    waiting: dict[tuple[str | None, bytes | None, bytes | None], list[int]] = {}
    for index in range(len(pending.records) - 1, -1, -1):
        record = pending.records[index]
        waiting.setdefault((record.topic, record.key, record.value), []).append(index)
    failures: dict[int, HeadwaterError] = {}
    for error, name, key, value in pending.failures:
        index = waiting[(name or "")[strip:], key, value if value is not None else b""].pop()
        failures[index] = failure(error, pending.records[index], servers)
    placements = place_records(pending, strip, failures)
    for index, record in enumerate(pending.records):
        if index not in failures and index not in placements:
            failures[index] = failure(pending.reason or KafkaError(KafkaError._FAIL), record, servers)
    return AppendIncomplete(dict(sorted(failures.items())), dict(sorted(placements.items())))


def failure(error: KafkaError, record: Record, servers: str) -> HeadwaterError:
    """Why one record was not confirmed."""
    code = error.code()
    if code in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return EventTooLarge(
            f"The Kafka broker did not take {len(record.value)} bytes for {record.topic!r}: {error.str()}.",
            hint="Raise max.message.bytes of the topic, or send smaller events.",
        )
    if code == UNSENT:
        return LogUnavailable("Too much is waiting for the Kafka broker.", hint="Try again, more slowly.")
    if code in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
        return LogUnavailable("The log was closed before the Kafka broker confirmed it.", hint="Send it again.")
    return translate(KafkaException(error), f"Storing in {record.topic!r}", servers)


def too_large(record: Record, size: int, limit: int) -> EventTooLarge:
    """A record that no broker would take."""
    return EventTooLarge(
        f"A record of {size} bytes is over the limit of {limit} of the topic {record.topic!r}.",
        hint="Raise max.message.bytes of the topic (`headwater apply` keeps it), or send smaller events.",
    )
