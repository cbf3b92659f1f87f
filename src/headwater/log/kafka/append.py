"""One append to Kafka: its records in flight, where each of them was stored, and which of them failed.

How this works: each record is delivered separately, and its delivery report names its index in the append. There are
hundreds of thousands of reports per second, so as little as possible is done for each, and `Placement`s are created on
demand.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import overload

from confluent_kafka import Message, Producer

from headwater.errors import AppendIncomplete, EventTooLarge, HeadwaterError, KeyFieldMissing, LogUnavailable
from headwater.log.contract import Placement, Record
from headwater.log.kafka.settings import AWAY, KafkaError, KafkaException, translate
from headwater.log.kafka.topic import KafkaTopic

LEARN_SECONDS_MAX = 2.0
UNSENT = KafkaError._QUEUE_FULL
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})


class PendingAppend:
    """One append in flight. `delivered` and `unconfirmed` are called by the polling thread.

    `partitions` and `offsets` are those of the records, -1 until known.
    """

    __slots__ = (
        "attempt",
        "failures",
        "finished",
        "future",
        "left",
        "offsets",
        "partitions",
        "reason",
        "records",
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
        attempt: int = 0,
    ) -> None:
        """`attempt`: how often its records were sent before, in batches that were too large."""
        self.attempt = attempt
        self.records = records
        self.partitions = partitions
        self.offsets = [-1] * len(records)
        self.size = size
        self.time_ms = time_ms
        self.left = len(records)
        self.finished = finished
        self.future = future
        self.failures: dict[int, KafkaError] = {}
        # Why records without a delivery report failed.
        self.reason: KafkaError | None = None

    def delivered(self, index: int, error: KafkaError | None, message: Message) -> None:
        """The report of one record."""
        if error is None:
            self.offsets[index] = message.offset()  # type: ignore[assignment]
            if self.partitions[index] < 0:
                self.partitions[index] = message.partition()  # type: ignore[assignment]
        else:
            self.failures[index] = error
        self.left -= 1
        if not self.left:
            self.finished.append(self)

    def unconfirmed(self, count: int, error: KafkaError) -> None:
        """There will be no delivery report for this many records."""
        self.reason = error
        self.left -= count
        if not self.left:
            self.finished.append(self)

    @property
    def has_failed(self) -> bool:
        """Whether some record was not stored, as far as is known."""
        return bool(self.failures) or self.reason is not None

    @property
    def is_too_large(self) -> bool:
        """Whether a broker refused a batch with some of the records as too large."""
        return any(error.code() in TOO_LARGE for error in self.failures.values())

    def stored_later(self, index: int, placement: Placement) -> None:
        """A record that had failed was stored by another append."""
        self.partitions[index], self.offsets[index] = placement.partition, placement.offset
        self.failures.pop(index, None)

    def placement(self, index: int) -> Placement:
        """Where a record went that was stored."""
        record = self.records[index]
        time_ms = self.time_ms if record.timestamp_ms is None else record.timestamp_ms
        return Placement(record.topic, self.partitions[index], self.offsets[index], time_ms)


class Placements(Sequence[Placement]):
    """Where the records of one append went, all of them stored."""

    __slots__ = ("_pending",)

    def __init__(self, pending: PendingAppend) -> None:
        self._pending = pending

    def __len__(self) -> int:
        return len(self._pending.records)

    def __iter__(self) -> Iterator[Placement]:
        return map(self._pending.placement, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Placement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Placement]: ...
    def __getitem__(self, index: int | slice) -> Placement | Sequence[Placement]:
        numbers = range(len(self))[index]
        return (
            self._pending.placement(numbers)
            if isinstance(numbers, int)
            else list(map(self._pending.placement, numbers))
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Placements({list(self)!r})"


def hand_over(
    producer: Producer, pending: PendingAppend, topics: Sequence[KafkaTopic]
) -> tuple[int, KafkaError] | None:
    """Pass every record to the client. None, or the index of the first that it did not accept, and why."""
    produce, delivered = producer.produce, pending.delivered
    time_ms, partitions = pending.time_ms, pending.partitions
    index = 0
    try:
        for index, record in enumerate(pending.records):
            given = record.timestamp_ms
            produce(
                topics[index].full_name,
                record.value,
                record.key,
                partitions[index],
                on_delivery=partial(delivered, index),
                timestamp=time_ms if given is None else given,
                headers=list(record.headers) if record.headers else None,
            )
    except BufferError:
        return index, KafkaError(UNSENT)
    except KafkaException as error:
        return index, error.args[0]
    return None


def learn_partitions(producer: Producer, full_name: str, partitions: int) -> None:
    """Let a client send requests until it knows this many partitions: brokers may lag. Blocks for a while."""
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


def incomplete(
    pending: PendingAppend, servers: str, known: Mapping[int, HeadwaterError] | None = None
) -> AppendIncomplete:
    """What became of the records of an append of which some, or all, failed. `known`: why, where that is known."""
    known = known or {}
    failures: dict[int, HeadwaterError] = {}
    placements: dict[int, Placement] = {}
    for index, record in enumerate(pending.records):
        if pending.offsets[index] >= 0:
            placements[index] = pending.placement(index)
        else:
            error = pending.failures.get(index) or pending.reason or KafkaError(KafkaError._FAIL)
            failures[index] = known.get(index) or failure(error, record, servers)
    return AppendIncomplete(failures, placements)


def failure(error: KafkaError, record: Record, servers: str) -> HeadwaterError:
    """Why one record was not confirmed."""
    code = error.code()
    if code in TOO_LARGE:
        return EventTooLarge(
            f"The Kafka broker refused {len(record.value)} bytes for {record.topic!r}: {error.str()}.",
            hint="Raise max.message.bytes of the topic, or send smaller events.",
        )
    if code == UNSENT:
        return LogUnavailable("Too much is waiting for the Kafka broker.", hint="Try again, more slowly.")
    if code in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
        return LogUnavailable(
            "The Kafka client was closed before a broker confirmed the event.", hint="Send it again.", is_away=True
        )
    if code in AWAY:
        # Reported to the sender of the event, who need not know where the brokers are.
        return LogUnavailable(
            "The Kafka broker did not confirm the event in time.", hint="Send it again.", is_away=True
        )
    return translate(KafkaException(error), f"Storing in {record.topic!r}", servers)


def key_missing(record: Record) -> KeyFieldMissing:
    """A record without a key for a topic that keeps the last one of each key."""
    return KeyFieldMissing(
        f"The topic {record.topic!r} is compacted, and Kafka accepts no record without a key for it.",
        hint="Give the stream a key (`transport.message_key_fields`), or do not compact it.",
    )


def too_large(record: Record, size: int, limit: int) -> EventTooLarge:
    """A record that no broker would accept."""
    return EventTooLarge(
        f"A record of {size} bytes is over the limit of {limit} of the topic {record.topic!r}.",
        hint="Raise max.message.bytes of the topic (`headwater apply` keeps it), or send smaller events.",
    )
