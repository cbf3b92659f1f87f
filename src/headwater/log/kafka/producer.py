"""Appends in flight to the brokers, and the thread that receives their delivery reports.

How this works: `submit` checks everything that can be wrong with an append before the first record is passed to the
client, in the event loop and without waiting; from then on each record is delivered separately, in order within its
partition, with retries that cannot duplicate it. One thread polls for delivery reports. A report is one short callback
of its append; after the last one the append is finished, and all that finished in one burst are passed to the event
loop in one call. Placements are computed on demand. If a broker refuses a batch as too large, because the limit of its
topic was lowered, its records are sent again in smaller batches, and then one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import Producer

from headwater.errors import (
    AppendIncomplete,
    HeadwaterError,
    LogUnavailable,
    TopicUnknown,
)
from headwater.log.contract import Placement, Record
from headwater.log.kafka.append import (
    TOO_LARGE,
    PendingAppend,
    Placements,
    hand_over,
    incomplete,
    key_missing,
    learn_partitions,
    record_bytes,
    too_large,
)
from headwater.log.kafka.lost import LossCheck, is_lost
from headwater.log.kafka.outage import STORING, Outages
from headwater.log.kafka.settings import (
    KafkaError,
    KafkaException,
    KafkaSettings,
    error_of,
    refused_option,
)
from headwater.log.kafka.topic import KafkaTopic
from headwater.log.kafka.topics import KafkaTopics

POLL_SECONDS = 0.1
BROKEN_SECONDS_MAX = 5.0
OVERHEAD_BYTES = 64
# In smaller batches, then alone.
ATTEMPTS_MAX = 2
# How old what is known of a topic may be, where an event is refused for it.
SETTINGS_FRESH_SECONDS = 30.0

_log = logging.getLogger(__name__)
# The topic and partition (-1: by its key) of each record, and bytes in all.
Prepared = tuple[list[KafkaTopic], list[int], int]


class Sender:
    """The producer of one log. `submit` belongs to the event loop that called `start`."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: KafkaTopics,
        clock: Callable[[], float],
        outages: Outages | None = None,
    ) -> None:
        """`outages` gets the result of each append."""
        self._settings = settings
        self._outages = outages or Outages(settings.servers)
        self._topics = topics
        self._clock = clock
        self._delivery: Delivery | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_ms = 0
        self._turns: dict[str, int] = {}
        self.queued_bytes = 0
        self._sending_again: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to accept appends. Raises ConfigInvalid."""
        self._loop = asyncio.get_running_loop()
        self._delivery = self._new_delivery()

    def give_up(self) -> None:
        """Fail everything in flight: it was not confirmed in time."""
        if self._delivery is not None:
            self._delivery.give_up()

    async def stop(self, seconds_max: float) -> None:
        """Accept no more; wait `seconds_max` for what is in flight, then give it up."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            await asyncio.get_running_loop().run_in_executor(None, delivery.stop, seconds_max)
            # The results of the last burst are still queued in the event loop.
            await asyncio.sleep(0)

    def learn(self, full_name: str, partitions: int) -> None:
        """Let the client learn that a topic has this many partitions. Blocks."""
        delivery = self._delivery
        if delivery is not None:
            delivery.learn(full_name, partitions)

    def submit(self, records: Sequence[Record], attempt: int = 0) -> asyncio.Future[Sequence[Placement]]:
        """Hand over an append; see `Log.append`. Raises LogUnavailable, EventTooLarge with nothing handed over.

        `attempt`: how often a broker refused the batch with these records as too large.
        """
        delivery, loop = self._delivery, self._loop
        if delivery is None or loop is None:
            raise LogUnavailable("The log is not open.")
        if delivery.broken:
            # A fatal error of one producer: its records are reported as failed, and a new one takes over.
            delivery.retire()
            delivery = self._delivery = self._new_delivery()
        if not records:
            nothing: asyncio.Future[Sequence[Placement]] = loop.create_future()
            nothing.set_result(())
            return nothing
        prepared = self._prepare(records)
        if prepared is None:
            return loop.create_task(self._submit_later(records, attempt))
        topics, partitions, size = prepared
        if self.queued_bytes and self.queued_bytes + size > self._settings.queue_bytes_max:
            raise LogUnavailable(
                f"{self.queued_bytes} bytes are waiting for the Kafka broker.", hint="Try again, more slowly."
            )
        self.queued_bytes += size
        future: asyncio.Future[Sequence[Placement]] = loop.create_future()
        finished = delivery.finished
        delivery.produce(
            PendingAppend(
                records, partitions, size, time_ms=self.now_ms(), finished=finished, future=future, attempt=attempt
            ),
            topics,
        )
        return future

    def _prepare(self, records: Sequence[Record], *, is_sure: bool = False) -> Prepared | None:
        """Topic and partition (-1: by the key) of each record, and bytes. None: something has to be asked first.

        `is_sure`: how topics are kept was asked just now.
        """
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
                if not is_sure and _is_old(topic):
                    return None
                raise too_large(record, own, topic.record_bytes_max)
            if record.key is None and topic.settings is not None and topic.settings.compact:
                if not is_sure and _is_old(topic):
                    return None
                raise key_missing(record)
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
        """The next partition in the round robin: one for all records without a key of one append."""
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
            topic = await self._topics.measured(record.topic, age_seconds_max=SETTINGS_FRESH_SECONDS)
            if not 0 <= number < topic.partitions:
                await self._topics.renew()
                topic = await self._topics.measured(record.topic)
                if not 0 <= number < topic.partitions:
                    raise TopicUnknown(f"Topic {record.topic!r} has no partition {number}.")
        prepared = self._prepare(records, is_sure=True)
        if prepared is None:
            raise LogUnavailable("The topics are changing.", hint="Try again.")
        return prepared

    async def _submit_later(self, records: Sequence[Record], attempt: int) -> Sequence[Placement]:
        await self.prepare(records)
        return await self.submit(records, attempt)

    async def _send_smaller(self, pending: PendingAppend, future: asyncio.Future[Sequence[Placement]]) -> None:
        """Send again what was in batches that a broker refused as too large, and complete the whole append."""
        refused = [index for index, error in pending.failures.items() if error.code() in TOO_LARGE]
        errors: dict[int, HeadwaterError] = {}
        try:
            for name in {pending.records[index].topic for index in refused}:
                await self._topics.measured(name, age_seconds_max=0.0)
        except HeadwaterError as error:
            errors = dict.fromkeys(refused, error)
        else:
            self._make_smaller()
            fitting = [index for index in refused if not self._note_too_large(pending.records[index], index, errors)]
            # A limit that topics do not report, such as a proxy's, is respected by sending records one by one.
            for some in [fitting] if pending.attempt == 0 else [[index] for index in fitting]:
                await self._send_again(pending, some, errors)
        if future.done():
            return
        if errors or pending.has_failed:
            future.set_exception(incomplete(pending, self._settings.servers, errors))
        else:
            future.set_result(Placements(pending))

    def _make_smaller(self) -> None:
        delivery = self._delivery
        if delivery is not None and delivery.batch_bytes_max > self._topics.batch_bytes_max:
            delivery.retire()
            self._delivery = self._new_delivery()

    def _note_too_large(self, record: Record, index: int, errors: dict[int, HeadwaterError]) -> bool:
        topic, size = self._topics.get(record.topic), record_bytes(record)
        limit = topic.record_bytes_max if topic is not None else None
        if limit is not None and size > limit:
            errors[index] = too_large(record, size, limit)
        return index in errors

    async def _send_again(self, pending: PendingAppend, some: list[int], errors: dict[int, HeadwaterError]) -> None:
        placements: Mapping[int, Placement] = {}
        try:
            found = await self.submit([pending.records[index] for index in some], pending.attempt + 1)
            placements = dict(enumerate(found))
        except AppendIncomplete as incomplete:
            placements = incomplete.placements
            errors.update({some[number]: error for number, error in incomplete.failures.items()})
        except HeadwaterError as error:
            errors.update(dict.fromkeys(some, error))
        for number, placement in placements.items():
            pending.stored_later(some[number], placement)

    def now_ms(self) -> int:
        """The time of receipt, which never goes back."""
        self._last_ms = max(self._last_ms, int(self._clock() * 1000))
        return self._last_ms

    def _new_delivery(self) -> Delivery:
        return Delivery(self._settings, self._topics.batch_bytes_max, self._report)

    def _report(self, finished: list[PendingAppend]) -> None:
        """Hand a burst of finished appends to the event loop; called by the polling thread."""
        if self._loop is not None:
            # The event loop may have been closed; then nothing waits.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, finished)

    def _settle(self, finished: list[PendingAppend]) -> None:
        for pending in finished:
            self.queued_bytes -= pending.size
            # Its result refers to the append: together they would wait for the collector, with all their records.
            future, pending.future = pending.future, None
            if future is None or future.done():
                continue
            if pending.is_too_large and pending.attempt < ATTEMPTS_MAX and self._delivery is not None:
                task = future.get_loop().create_task(self._send_smaller(pending, future), name="headwater-log-smaller")
                self._sending_again.add(task)
                task.add_done_callback(self._sending_again.discard)
            elif pending.has_failed:
                error = incomplete(pending, self._settings.servers)
                for index, one in error.failures.items():
                    self._outages.failed(STORING + repr(pending.records[index].topic), one)
                future.set_exception(error)
            else:
                if self._outages.is_open:
                    for name in {record.topic for record in pending.records}:
                        self._outages.stored(name)
                future.set_result(Placements(pending))


class Delivery:
    """One producer and the thread that polls it."""

    def __init__(
        self, settings: KafkaSettings, batch_bytes_max: int, report: Callable[[list[PendingAppend]], None]
    ) -> None:
        self.finished: list[PendingAppend] = []
        self.batch_bytes_max = batch_bytes_max
        self.broken = False
        self._report = report
        self._open: set[PendingAppend] = set()
        self._unsent: deque[tuple[PendingAppend, int, KafkaError]] = deque()
        self._stopping = self._ended = False
        self._concluding = threading.Lock()
        self._reason = KafkaError(KafkaError._FAIL, "the Kafka client ended")
        self._settings = settings
        self._loss = LossCheck(settings)
        self._looking: threading.Thread | None = None
        self._is_lost = False
        try:
            self._producer = Producer({**settings.producer(batch_bytes_max), "error_cb": self._hear})
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_option(error, settings) from None
        self._thread = threading.Thread(target=self._run, name="headwater-log-delivery", daemon=True)
        self._thread.start()

    def produce(self, pending: PendingAppend, topics: Sequence[KafkaTopic]) -> None:
        """Pass every record to the client. What it does not accept is reported as failed."""
        self._open.add(pending)
        stopped = hand_over(self._producer, pending, topics)
        if stopped is not None:
            self.broken = self.broken or stopped[1].fatal()
            self._unsent.append((pending, *stopped))
        if self._ended:
            self._conclude()

    def learn(self, full_name: str, partitions: int) -> None:
        """Request a topic's partitions until there are this many. Blocks."""
        learn_partitions(self._producer, full_name, partitions)

    def retire(self) -> None:
        """Another producer takes over; this one ends when all its records have been reported."""
        self._stopping = True

    def give_up(self) -> None:
        """Report what is in flight as failed."""
        self._producer.purge()

    def stop(self, seconds_max: float) -> None:
        """Wait until everything is reported, at most `seconds_max`; then give up the rest. Blocks."""
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
            try:
                poll(POLL_SECONDS)
            except (KafkaException, SystemError) as error:
                # The client raises a fatal error here, and loses the report it was about to deliver.
                self._break(error_of(error))
            self._tell_finished()
            self._look_for_loss()
        self._ended = True
        self._conclude()

    def _tell_finished(self) -> None:
        while self._unsent:
            pending, start, reason = self._unsent.popleft()
            pending.unconfirmed(len(pending.records) - start, reason)
        if self.finished:
            # Appends keep a reference to the list: emptied, not replaced.
            finished = self.finished[:]
            self.finished.clear()
            self._open.difference_update(finished)
            if not all(pending.has_failed for pending in finished):
                self._loss.alive()
            self._report(finished)

    def _look_for_loss(self) -> None:
        """Replace a producer that has lost its brokers for good: what it holds can only be given up."""
        if self._is_lost:
            if not self.broken:
                _log.debug("the Kafka producer has lost its brokers and is replaced")
                self._give_up_all(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        elif self._loss.is_due and (self._looking is None or not self._looking.is_alive()):
            # In another thread: while it waits for brokers, this one delivers their answers.
            self._looking = threading.Thread(target=self._look, name="headwater-log-producer-check", daemon=True)
            self._looking.start()

    def _look(self) -> None:
        self._is_lost = is_lost(self._producer, self._settings)
        self._loss.alive()

    def _conclude(self) -> None:
        """Polling has ended: what is still open has failed, except what is known to be stored."""
        with self._concluding:
            self._tell_finished()
            for pending in list(self._open):
                pending.unconfirmed(pending.left, self._reason)
            self._tell_finished()

    def _break(self, error: KafkaError) -> None:
        """Nothing can be sent any longer."""
        if not self.broken:
            _log.error("the Kafka producer failed and is replaced: %s", error.str())
        self._give_up_all(error)

    def _give_up_all(self, error: KafkaError) -> None:
        self._reason = error
        self.broken = self._stopping = True
        deadline = time.monotonic() + BROKEN_SECONDS_MAX
        with contextlib.suppress(KafkaException, SystemError):
            self._producer.purge()
        while len(self._producer) and time.monotonic() < deadline:
            with contextlib.suppress(KafkaException, SystemError):
                self._producer.poll(POLL_SECONDS)

    def _hear(self, error: KafkaError) -> None:
        _log.debug("the Kafka producer: %s", error.str())
        self._loss.suspect()


def _is_old(topic: KafkaTopic) -> bool:
    return topic.measured_at < time.monotonic() - SETTINGS_FRESH_SECONDS
