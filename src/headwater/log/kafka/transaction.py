"""Appends records and a group's token in one Kafka transaction: readers see all of it, or nothing.

How this works: each group has its own producer, whose transactional id is derived from the group's name. The first
transaction of a process prevents every older process with that id from writing (it is *fenced*), and ends what that
one had left open. The calls block, so they run in threads, one transaction of a group after the other. If the brokers'
last answer was lost, a new producer requests the outcome before anything else is written. Not every fence is caused by
another process: the brokers fence a producer whose transaction was open for too long, as when a process was suspended,
and a request of our own that was delayed on the network fences us when it arrives after its retry. `is_doubtful` shows
whether a fence may be of that kind; the caller then checks whether another process has written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Producer

from headwater.errors import EventTooLarge, HeadwaterError, LogUnavailable, WriterFenced
from headwater.futures import retrieve
from headwater.log.contract import Placement, Record, TopicPartition
from headwater.log.kafka.append import PendingAppend, Placements, hand_over, incomplete, learn_partitions
from headwater.log.kafka.lost import ClientLost, LossCheck
from headwater.log.kafka.producer import Sender
from headwater.log.kafka.settings import KafkaError, KafkaException, KafkaSettings, error_of, refused_option, translate
from headwater.log.kafka.topic import KafkaTopic
from headwater.log.kafka.topics import LATEST, KafkaTopics

THREADS_MAX = 4
VISIBLE_SECONDS_MAX = 10.0
VISIBLE_PAUSE_SECONDS = 0.002
# A producer that was ready only after this time may have sent its request twice, and one of the two is in flight.
LATE_AFTER_SECONDS = 1.0
# For this long such a request is expected to arrive.
LATE_SECONDS_MAX = 300.0
BATCH_BYTES_MAX = 1_000_000
# For this long a call may delay the closing of a log.
SLICE_SECONDS = 1.0
# What the coordinator answers while it ends the transaction that another producer of this group has left open.
CONCURRENT = KafkaError.CONCURRENT_TRANSACTIONS
FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
    }
)

_log = logging.getLogger(__name__)


class OutcomeUnknown(Exception):
    """The brokers were asked to commit and did not answer; they have ended the transaction since, in some way.

    `placements`: where the records went, if it was committed.
    """

    def __init__(self, placements: Sequence[Placement]) -> None:
        super().__init__()
        self.placements = placements


class Transactions:
    """The transactional producers of one log, by group. Belongs to one event loop."""

    def __init__(self, settings: KafkaSettings, topics: KafkaTopics, sender: Sender) -> None:
        self._settings = settings
        self._topics = topics
        self._sender = sender
        self._groups: dict[str, GroupWriter] = {}
        self._pool: ThreadPoolExecutor | None = None
        # By group, until when a request for it may still arrive; also after the group was released.
        self._late_until: dict[str, float] = {}

    async def append(self, records: Sequence[Record], group: str, token: Record) -> Sequence[Placement]:
        """All `records` and the `token`, or nothing; readers see them on return. Answers where the records went.

        Raises TopicUnknown, EventTooLarge, LogUnavailable, WriterFenced, OutcomeUnknown.
        """
        everything = [*records, token]
        writer = self._writer(group)
        async with writer.lock:
            topics, partitions, size = await self._sender.prepare(everything)
            pending = PendingAppend(everything, partitions, size, time_ms=self._sender.now_ms(), finished=[])
            try:
                await self._in_thread(writer, pending, topics)
            except EventTooLarge:
                await self._measure_anew(writer, everything)
                raise
            placed = Placements(pending)
            await self._until_visible(placed)
        return placed[: len(records)]

    async def claim(self, group: str) -> None:
        """End what others had begun for the group, and what this process had; they are fenced from now on.

        Raises LogUnavailable, WriterFenced.
        """
        writer = self._writer(group)
        async with writer.lock:
            await self._run(writer.claim)

    def is_doubtful(self, group: str) -> bool:
        """Whether the group was fenced, but maybe not by another process: by the time its transaction was open, or by
        a request of our own that arrived late."""
        writer = self._groups.get(group)
        return writer is not None and (writer.overdue or time.monotonic() < self._late_until.get(group, 0.0))

    async def release(self, group: str) -> None:
        """Release the group, after what is in flight; a later claim starts afresh, also after a fence."""
        writer = self._groups.pop(group, None)
        if writer is not None:
            async with writer.lock:
                await self._run(writer.release)

    def learn(self, full_name: str, partitions: int) -> None:
        """Let the clients learn that a topic has this many partitions. Blocks."""
        for writer in list(self._groups.values()):
            writer.learn(full_name, partitions)

    async def close(self) -> None:
        """Release the producers."""
        pool, self._pool = self._pool, None
        groups, self._groups = self._groups, {}
        for writer in groups.values():
            async with writer.lock:
                writer.release()
        if pool is not None:
            await asyncio.get_running_loop().run_in_executor(None, pool.shutdown)

    async def _measure_anew(self, writer: GroupWriter, records: Sequence[Record]) -> None:
        """After a batch that was too large. Raises EventTooLarge for a record that is, LogUnavailable where none is."""
        for name in {record.topic for record in records}:
            await self._topics.measured(name, age_seconds_max=0.0)
        await self._sender.prepare(records)
        if writer.made_for > self._topics.batch_bytes_max:
            writer.release()
            raise LogUnavailable(
                "A batch was too large for a topic whose limit was made smaller.",
                hint="Try again: batches are smaller.",
            )

    def _writer(self, group: str) -> GroupWriter:
        writer = self._groups.get(group)
        if writer is None:
            writer = self._groups[group] = GroupWriter(self._settings, group, self._expect_late)
        writer.batch_bytes_max = self._topics.batch_bytes_max
        return writer

    def _expect_late(self, group: str) -> None:
        self._late_until[group] = time.monotonic() + LATE_SECONDS_MAX

    async def _in_thread(self, writer: GroupWriter, pending: PendingAppend, topics: Sequence[KafkaTopic]) -> None:
        try:
            await self._run(writer.append, pending, topics)
        except OutcomeUnknown:
            await self._run(writer.resolve)
            raise OutcomeUnknown(Placements(pending)[:-1]) from None

    async def _run(self, function: Callable[..., None], *arguments: object) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="headwater-log-transactions")
        ending = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        ending.add_done_callback(retrieve)
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            # A transaction that has begun comes to its end before the group's next one begins.
            await asyncio.wait([ending])
            raise

    async def _until_visible(self, placements: Iterable[Placement]) -> None:
        """A committed transaction becomes readable a moment later; writers that read their own records rely on it."""
        wanted: dict[TopicPartition, int] = {}
        for placement in placements:
            place = (placement.topic, placement.partition)
            wanted[place] = max(wanted.get(place, 0), placement.offset)
        deadline = time.monotonic() + VISIBLE_SECONDS_MAX
        while wanted and time.monotonic() < deadline and not self._settings.closing.is_over:
            with contextlib.suppress(HeadwaterError):
                ends = await self._topics.ends_at(wanted, LATEST)
                wanted = {place: offset for place, offset in wanted.items() if ends.get(place, -1) <= offset}
            if wanted:
                await asyncio.sleep(VISIBLE_PAUSE_SECONDS)


class GroupWriter:
    """The producer of one group. `append` and `resolve` block, and are called by one thread at a time."""

    def __init__(
        self, settings: KafkaSettings, group: str, expect_late: Callable[[str], None] = lambda group: None
    ) -> None:
        """`expect_late` is called, in any thread, if a request for the group may arrive after a later one."""
        self.lock = asyncio.Lock()
        self._settings = settings
        self._group = group
        self._expect_late = expect_late
        self._producer: Producer | None = None
        # The largest batch that every topic accepts now, and accepted when the producer was created.
        self.batch_bytes_max = self.made_for = BATCH_BYTES_MAX
        self._is_fenced = False
        # By the wall clock, which continues while the machine is suspended.
        self._began_at: float | None = None
        # Whether the fence may be the brokers' own, for a transaction that was open for too long.
        self.overdue = False
        self._fatal: KafkaError | None = None
        self._lost_connection = False
        self._loss = LossCheck(settings)

    def append(self, pending: PendingAppend, topics: Sequence[KafkaTopic]) -> None:
        """One transaction. Raises LogUnavailable (nothing was stored), WriterFenced, OutcomeUnknown."""
        producer = self._ready()
        deadline = time.monotonic() + self._settings.delivery_seconds_max
        self._began_at = time.time()
        try:
            producer.begin_transaction()
            stopped = hand_over(producer, pending, topics)
            left = self._flush(producer, deadline) if stopped is None else 1
            if left or pending.left or pending.failures:
                raise self._abort(producer, pending, stopped)
        except (KafkaException, SystemError) as error:
            raise self._failed(producer, error) from None
        self._commit(producer, deadline)
        self._began_at = None

    def claim(self) -> None:
        """Start afresh as the only writer. Raises LogUnavailable, WriterFenced."""
        self.release()
        self._ready()

    def resolve(self) -> None:
        """Let the brokers end what was left open, and get its outcome. Raises LogUnavailable, WriterFenced."""
        try:
            self._ready()
        except LogUnavailable as error:
            raise LogUnavailable(
                f"Whether the transaction of {self._group!r} was committed is not known: {error.message}",
                hint="The group's committed token shows the outcome once the brokers answer.",
            ) from None

    def learn(self, full_name: str, partitions: int) -> None:
        """Request a topic's partitions until there are this many."""
        producer = self._producer
        if producer is not None:
            learn_partitions(producer, full_name, partitions)

    def release(self) -> None:
        """Drop the producer. What it had open is aborted by the brokers, or by the next one."""
        self._producer = None

    def _ready(self) -> Producer:
        if self._is_fenced:
            raise self._fenced()
        if self._producer is None:
            settings = self._settings
            self.made_for = self.batch_bytes_max
            try:
                producer = Producer(
                    {
                        **settings.producer(self.made_for),
                        "transactional.id": f"{settings.namespace}headwater.{self._group}",
                        "transaction.timeout.ms": int(self._settings.open_seconds_max * 1_000),
                        # Without one, a fatal error is raised from any call that is running at the time.
                        "error_cb": self._hear,
                    }
                )
            except (KafkaException, ValueError, TypeError) as error:
                raise refused_option(error, settings) from None
            self._fatal, self._lost_connection, self._loss = None, False, LossCheck(settings)
            began = time.monotonic()
            try:
                self._in_slices(producer.init_transactions, settings.answer_seconds_max)
            except KafkaException as error:
                self._expect_late(self._group)
                raise self._failed(None, error) from None
            if self._lost_connection or time.monotonic() - began > LATE_AFTER_SECONDS:
                self._expect_late(self._group)
            self._producer, self._began_at = producer, None
        return self._producer

    def _hear(self, error: KafkaError) -> None:
        _log.debug("the producer of the group %s: %s", self._group, error.str())
        if error.fatal():
            self._fatal = error
            return
        if error.code() == KafkaError._TRANSPORT:
            self._lost_connection = True
        self._loss.suspect()

    def _flush(self, producer: Producer, deadline: float) -> int:
        """How many records are not delivered by the deadline, or when the log has to be closed."""
        while True:
            left = producer.flush(max(0.0, min(SLICE_SECONDS, deadline - time.monotonic())))
            if not left or time.monotonic() >= deadline or self._settings.closing.is_over:
                return left
            if self._loss.finds_lost(producer):
                # It would abort in itself alone, and be used again: the next one ends what the brokers have of it.
                self.release()
                raise ClientLost()

    def _in_slices(self, call: Callable[[float], None], seconds_max: float) -> None:
        """A call that resumes when it is repeated after its timeout, so that it can be given up."""
        deadline = time.monotonic() + seconds_max
        while True:
            try:
                call(max(0.01, min(SLICE_SECONDS, deadline - time.monotonic())))
                return
            except KafkaException as error:
                inner = error_of(error)
                over = time.monotonic() >= deadline or self._settings.closing.is_over
                if over or not (inner.retriable() or inner.code() in (KafkaError._TIMED_OUT, CONCURRENT)):
                    raise

    def _commit(self, producer: Producer, deadline: float) -> None:
        while True:
            try:
                producer.commit_transaction(SLICE_SECONDS)
                return
            except (KafkaException, SystemError) as error:
                inner = error_of(error)
                over = time.monotonic() >= deadline or self._settings.closing.is_over
                if inner.retriable() and not over:
                    if not self._loss.finds_lost(producer):
                        continue
                    self.release()
                    raise OutcomeUnknown(()) from None
                if inner.code() in FENCED:
                    raise self._fenced() from None
                if not inner.txn_requires_abort():
                    self.release()
                    raise OutcomeUnknown(()) from None
                # A coordinator that is about to fence this producer answers with its own failure, not with the fence.
                refused = self._undo(producer)
                if refused is None:
                    raise translate(error, f"The transaction of {self._group!r}", self._settings.servers) from None
                if refused.code() in FENCED:
                    raise self._fenced() from None
                # It cannot be undone, so it may have been committed.
                raise OutcomeUnknown(()) from None

    def _abort(
        self, producer: Producer, pending: PendingAppend, stopped: tuple[int, KafkaError] | None
    ) -> HeadwaterError:
        """Undo the transaction; answers why it had to be."""
        if self._fatal is not None and self._fatal.code() in FENCED:
            return self._fenced()
        refused = self._undo(producer)
        why = next(iter(pending.failures.values()), stopped[1] if stopped else None)
        if any(error is not None and error.code() in FENCED for error in (refused, why)):
            return self._fenced()
        if pending.failures and stopped is None:
            failures = incomplete(pending, self._settings.servers).failures
            first = next(iter(failures.values()))
            if not isinstance(first, LogUnavailable):
                return first
        reason = why.str() if why is not None else "the brokers did not confirm in time"
        return LogUnavailable(f"The transaction of {self._group!r} was undone: {reason}.", hint="Try again.")

    def _undo(self, producer: Producer) -> KafkaError | None:
        """Abort the transaction. Answers why that could not be: then the next producer of this id undoes it."""
        try:
            self._in_slices(producer.abort_transaction, self._settings.answer_seconds_max)
        except (KafkaException, SystemError) as error:
            self.release()
            return error_of(error)
        return None

    def _failed(self, producer: Producer | None, error: Exception) -> HeadwaterError:
        """What kept a transaction from being written, or a producer from being ready."""
        inner = error_of(error)
        refused = None
        if producer is not None and inner.txn_requires_abort():
            refused = self._undo(producer)
        elif inner.code() not in FENCED:
            self.release()
        if any(one is not None and one.code() in FENCED for one in (inner, refused)):
            return self._fenced()
        return translate(error, f"The transaction of {self._group!r}", self._settings.servers)

    def _fenced(self) -> WriterFenced:
        if not self._is_fenced:
            self._is_fenced = True
            self.overdue = (
                self._began_at is not None and time.time() - self._began_at >= self._settings.open_seconds_max
            )
        self.release()
        return WriterFenced(
            f"Another process has taken over the group {self._group!r}: this one may no longer write for it.",
            hint="Run a job once only; restart this process to take the group back.",
        )
