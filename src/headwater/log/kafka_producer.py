"""Appends on their way to the brokers, and the thread that hears how they ended.

How this works: `submit` checks everything that can be wrong with an append before the first record is handed to the
client, in the event loop and without waiting; from then on each record is delivered on its own, in order within its
partition, with retries that cannot repeat it. One thread polls for delivery reports. A report is one short callback on
the append it belongs to; when the last has come, the append is finished, and all that finished in one burst are told
to the event loop in one call. Where each record went is worked out only when somebody asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from confluent_kafka import Message, Producer

from headwater.errors import (
    AppendIncomplete,
    EventTooLarge,
    HeadwaterError,
    KeyFieldMissing,
    LogUnavailable,
    TopicUnknown,
)
from headwater.log.contract import Placement, Record
from headwater.log.kafka_settings import KafkaError, KafkaException, KafkaSettings, refused_option, translate
from headwater.log.kafka_topics import KafkaTopic, KafkaTopics

POLL_SECONDS = 0.1
OVERHEAD_BYTES = 64
UNSENT = KafkaError._QUEUE_FULL

_log = logging.getLogger(__name__)
# topic, partition, offset, key, and for a failure the value and why
Prepared = tuple[list[KafkaTopic], list[int], int]
Report = tuple[str, int, int, bytes | None]
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

    def unsent(self, start: int, error: KafkaError) -> None:
        """The records from `start` on were not taken. Called by the polling thread."""
        self.failures += [(error, None, record.key, record.value) for record in self.records[start:]]
        self.left -= len(self.records) - start
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
            placed = place_records(self._pending, self._strip, frozenset())
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


class Sender:
    """The producer of one log. `submit` belongs to the event loop that called `start`."""

    def __init__(self, settings: KafkaSettings, topics: KafkaTopics, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._topics = topics
        self._clock = clock
        self._strip = len(settings.namespace)
        self._delivery: Delivery | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_ms = 0
        self._turns: dict[str, int] = {}
        self.queued_bytes = 0

    def start(self) -> None:
        """Begin to take appends. Raises ConfigInvalid."""
        self._loop = asyncio.get_running_loop()
        self._delivery = self._new_delivery()

    async def stop(self, seconds_max: float) -> None:
        """Take no more; give what is under way `seconds_max`, then give it up."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            await asyncio.get_running_loop().run_in_executor(None, delivery.stop, seconds_max)
            # What the last burst told the loop is still waiting there.
            await asyncio.sleep(0)

    def learn(self, full_name: str) -> None:
        """Let the client see that a topic has changed. Blocks."""
        delivery = self._delivery
        if delivery is not None:
            delivery.learn(full_name, self._settings.answer_seconds_max)

    def submit(self, records: Sequence[Record]) -> asyncio.Future[Sequence[Placement]]:
        """Hand over an append; see `Log.append`. Raises LogUnavailable, EventTooLarge with nothing handed over."""
        delivery, loop = self._delivery, self._loop
        if delivery is None or loop is None:
            raise LogUnavailable("The log is not open.")
        if delivery.broken:
            # A fatal error of one producer: what it has is told as failed, and a new one takes over.
            delivery.retire()
            delivery = self._delivery = self._new_delivery()
        if not records:
            nothing: asyncio.Future[Sequence[Placement]] = loop.create_future()
            nothing.set_result(())
            return nothing
        prepared = self._prepare(records)
        if prepared is None:
            return loop.create_task(self._submit_later(records))
        topics, partitions, size = prepared
        if self.queued_bytes and self.queued_bytes + size > self._settings.queue_bytes_max:
            raise LogUnavailable(
                f"{self.queued_bytes} bytes are waiting for the Kafka broker.", hint="Try again, more slowly."
            )
        self.queued_bytes += size
        future: asyncio.Future[Sequence[Placement]] = loop.create_future()
        delivery.produce(
            PendingAppend(records, partitions, size, time_ms=self.now_ms(), finished=delivery.finished, future=future),
            topics,
        )
        return future

    def _prepare(self, records: Sequence[Record]) -> Prepared | None:
        """Topic and partition (-1: by the key) of each record, and bytes. None: something has to be asked first."""
        get = self._topics.get
        topics: list[KafkaTopic] = []
        partitions: list[int] = []
        size = OVERHEAD_BYTES * len(records)
        turns: dict[str, int] = {}
        for record in records:
            topic = get(record.topic)
            if topic is None or topic.record_bytes_max is None:
                return None
            own = record_bytes(record)
            if own > topic.record_bytes_max:
                raise too_large(record, own, topic.record_bytes_max)
            if record.key is None and topic.settings is not None and topic.settings.compact:
                raise KeyFieldMissing(
                    f"The topic {record.topic!r} is compacted, and Kafka takes no record without a key for it.",
                    hint="Give the stream a key (`transport.message_key_fields`), or do not compact it.",
                )
            size += own
            partition = record.partition
            if partition is None:
                partition = 0 if topic.partitions == 1 else -1 if record.key is not None else self._turn(topic, turns)
            elif not 0 <= partition < topic.partitions:
                return None
            topics.append(topic)
            partitions.append(partition)
        for name in turns:
            self._turns[name] = self._turns.get(name, 0) + 1
        return topics, partitions, size

    def _turn(self, topic: KafkaTopic, turns: dict[str, int]) -> int:
        """The partition whose turn it is: one for all records without a key of one append."""
        partition = turns.get(topic.name)
        if partition is None:
            partition = turns[topic.name] = self._turns.get(topic.name, 0) % topic.partitions
        return partition

    async def prepare(self, records: Sequence[Record]) -> Prepared:
        """As `_prepare`, asking for what is not known. Raises TopicUnknown, EventTooLarge, LogUnavailable."""
        prepared = self._prepare(records)
        if prepared is not None:
            return prepared
        for record in records:
            number = record.partition or 0
            topic = await self._topics.measured(record.topic)
            if not 0 <= number < topic.partitions:
                await self._topics.renew()
                topic = await self._topics.measured(record.topic)
                if not 0 <= number < topic.partitions:
                    raise TopicUnknown(f"Topic {record.topic!r} has no partition {number}.")
        prepared = self._prepare(records)
        if prepared is None:
            raise LogUnavailable("The topics are changing.", hint="Try again.")
        return prepared

    async def _submit_later(self, records: Sequence[Record]) -> Sequence[Placement]:
        await self.prepare(records)
        return await self.submit(records)

    def now_ms(self) -> int:
        """The time of receipt, which never goes back."""
        self._last_ms = max(self._last_ms, int(self._clock() * 1000))
        return self._last_ms

    def _new_delivery(self) -> Delivery:
        return Delivery(self._settings.producer(self._topics.batch_bytes_max), self._tell)

    def _tell(self, finished: list[PendingAppend]) -> None:
        """Hand a burst of finished appends to the event loop; called by the polling thread."""
        if self._loop is not None:
            # The loop may have ended; then nobody waits.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, finished)

    def _settle(self, finished: list[PendingAppend]) -> None:
        for pending in finished:
            self.queued_bytes -= pending.size
            future = pending.future
            if future is None or future.done():
                continue
            if pending.failures:
                future.set_exception(incomplete(pending, self._strip, self._settings.servers))
            else:
                future.set_result(Placements(pending, self._strip))


class Delivery:
    """One producer and the thread that polls it."""

    def __init__(self, configuration: dict[str, Any], tell: Callable[[list[PendingAppend]], None]) -> None:
        self.finished: list[PendingAppend] = []
        self.broken = False
        self._tell = tell
        self._unsent: deque[tuple[PendingAppend, int, KafkaError]] = deque()
        self._stopping = False
        try:
            self._producer = Producer({**configuration, "error_cb": self._hear})
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_option(error) from None
        self._thread = threading.Thread(target=self._run, name="headwater-log-delivery", daemon=True)
        self._thread.start()

    def produce(self, pending: PendingAppend, topics: Sequence[KafkaTopic]) -> None:
        """Hand every record to the client. What it does not take is told as failed."""
        stopped = hand_over(self._producer, pending, topics)
        if stopped is not None:
            self.broken = self.broken or stopped[1].fatal()
            self._unsent.append((pending, *stopped))

    def learn(self, full_name: str, seconds_max: float) -> None:
        """Ask for a topic's partitions anew. Blocks."""
        # What it cannot learn now, it will within its own interval.
        with contextlib.suppress(KafkaException):
            self._producer.list_topics(full_name, timeout=seconds_max)

    def retire(self) -> None:
        """Another producer takes over; this one ends when everything it was given has been told."""
        self._stopping = True

    def stop(self, seconds_max: float) -> None:
        """Wait until everything is told, at most `seconds_max`; then give up the rest. Blocks."""
        deadline = time.monotonic() + seconds_max
        while len(self._producer) and time.monotonic() < deadline:
            time.sleep(0.005)
        if len(self._producer):
            _log.warning("%d records were not confirmed by the Kafka broker before the end", len(self._producer))
            self._producer.purge()
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        poll = self._producer.poll
        while not self._stopping or len(self._producer) or self._unsent:
            poll(POLL_SECONDS)
            while self._unsent:
                pending, start, error = self._unsent.popleft()
                pending.unsent(start, error)
            if self.finished:
                # Appends keep a reference to the list: emptied, not replaced.
                finished = self.finished[:]
                self.finished.clear()
                self._tell(finished)

    def _hear(self, error: KafkaError) -> None:
        if error.fatal():
            _log.error("the Kafka producer cannot go on and is replaced: %s", error.str())
            self.broken = True


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


def record_bytes(record: Record) -> int:
    """The size of a record as limits count it."""
    size = len(record.value) + len(record.key or b"")
    for name, value in record.headers:
        size += len(name) + len(value) + 8
    return size


def place_records(pending: PendingAppend, strip: int, failed: frozenset[int]) -> dict[int, Placement]:
    """Where each record went, by its index, but for the `failed`."""
    records, default_ms = pending.records, pending.time_ms

    def placement(index: int, partition: int, offset: int) -> Placement:
        given = records[index].timestamp_ms
        return Placement(records[index].topic, partition, offset, default_ms if given is None else given)

    stored = [index for index in range(len(records)) if index not in failed]
    if not pending.reports:
        offsets = sorted(pending.offsets)
        return {
            index: placement(index, pending.partitions[index], offset)
            for index, offset in zip(stored, offsets, strict=True)
        }
    # Records of one key go to one partition, in the order given.
    left: dict[tuple[str, bytes | None], dict[int, list[int]]] = {}
    for name, partition, offset, key in sorted(pending.reports, key=_offset_of, reverse=True):
        left.setdefault((name[strip:], key), {}).setdefault(partition, []).append(offset)
    found: dict[int, Placement] = {}
    for index in sorted(stored, key=lambda index: (pending.partitions[index] < 0, index)):
        own = left[records[index].topic, records[index].key]
        partition = pending.partitions[index]
        if partition < 0:
            partition = next(number for number, offsets in own.items() if offsets)
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
    unsent: list[KafkaError] = []
    for error, name, key, value in pending.failures:
        if name is None:
            unsent.append(error)
            continue
        index = waiting[name[strip:], key, value if value is not None else b""].pop()
        failures[index] = failure(error, pending.records[index], servers)
    for index in range(len(pending.records) - len(unsent), len(pending.records)):
        failures[index] = failure(unsent[0], pending.records[index], servers)
    placements = place_records(pending, strip, frozenset(failures))
    return AppendIncomplete(dict(sorted(failures.items())), placements)


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
