"""Reads records from any position with a few shared consumers, each moved to where the next reader needs it.

How this works: a consumer is assigned the partitions of a position and read until limits are reached or every partition
reports its end. A reader that resumes where it stopped finds its consumer still there, with prefetched records; any
other takes the one that was idle longest. Calls block, so they run in a pool with one thread for each consumer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as KafkaPartition

from headwater.errors import HeadwaterError, LogCorrupt
from headwater.log.contract import StoredRecord, TopicPartition
from headwater.log.kafka.lost import ClientLost, LossCheck
from headwater.log.kafka.outage import Closing
from headwater.log.kafka.settings import KafkaError, KafkaException, KafkaSettings, refused_option, translate
from headwater.log.tail_cache import record_bytes

FETCH_WAIT_MS = 5
QUEUED_KIB_MAX = 8_192
TAKEN_AT_ONCE = 500
IDLE_SECONDS = 10.0
CHECK_ENDS_SECONDS = 1.0
ASK_SECONDS_MAX = 5.0
ASKED_ONE_BY_ONE_MAX = 8


class Found(NamedTuple):
    """The result of a read: records, the ends of the partitions that ended, and those whose offset does not exist."""

    records: Sequence[StoredRecord]
    ends: Mapping[TopicPartition, int]
    lost: Sequence[TopicPartition]


class Seeker:
    """One consumer. Used by one thread at a time."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.used_at = time.monotonic()
        self.is_spoilt = False
        self._strip = len(settings.namespace)
        self._settings = settings
        self._said = ""
        self._rest: deque[StoredRecord] = deque()
        self._ended: dict[TopicPartition, int] = {}
        self._offsets: dict[TopicPartition, int] = {}
        self._met: set[str] = set()
        self._loss = LossCheck(settings)
        try:
            self._consumer = Consumer(
                {
                    **settings.consumer(fetch_wait_ms=FETCH_WAIT_MS, queued_kib_max=QUEUED_KIB_MAX),
                    "error_cb": self._hear,
                }
            )
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_option(error, settings) from None

    @property
    def is_free(self) -> bool:
        """Whether the last read left nothing to resume with."""
        return not self._offsets

    def stands_at(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Whether the last read stopped just here, with more to come."""
        return bool(self._offsets) and self._offsets == offsets

    def read(
        self,
        offsets: Mapping[TopicPartition, int],
        ended: Mapping[TopicPartition, int],
        records_max: int,
        bytes_max: int,
    ) -> Found:
        """Records from `offsets` on, by our own names; of these, `ended` are known to be at their end.

        Raises LogUnavailable, TopicUnknown, LogCorrupt; ClientLost where only another consumer can read.
        """
        goes_on = self.stands_at(offsets)
        try:
            if not goes_on:
                self._place(offsets, ended)
            found = self._read(offsets, records_max, bytes_max)
            if goes_on and not found.records and not found.lost:
                # What had ended then may have grown since.
                self._place(offsets, {})
                found = self._read(offsets, records_max, bytes_max)
        except ClientLost:
            self.is_spoilt = True
            raise
        except BaseException:
            self.release()
            raise
        if found.lost:
            # Of several errors, the others are still pending, and would be raised to the next reader.
            self.is_spoilt = True
        if found.lost or (not self._rest and len(found.ends) == len(offsets)):
            # Nothing more to fetch: an idle consumer would ask the brokers without end.
            self.release()
        else:
            self._offsets = dict(offsets)
            for record in found.records:
                self._offsets[record.topic, record.partition] = record.offset + 1
        self.used_at = time.monotonic()
        return found

    def release(self) -> None:
        """Stop fetching."""
        self._offsets, self._ended = {}, {}
        self._rest.clear()
        self._consumer.unassign()

    def close(self) -> None:
        self._consumer.close()

    def _place(self, offsets: Mapping[TopicPartition, int], ended: Mapping[TopicPartition, int]) -> None:
        self._rest.clear()
        self._ended = dict(ended)
        offsets = {place: offset for place, offset in offsets.items() if place not in ended}
        namespace = self._settings.namespace
        meet(self._consumer, [namespace + name for name, _ in offsets], self._met, self._settings.closing)
        self._consumer.assign([KafkaPartition(namespace + name, number, at) for (name, number), at in offsets.items()])

    def _read(self, offsets: Mapping[TopicPartition, int], records_max: int, bytes_max: int) -> Found:
        found: list[StoredRecord] = []
        lost: list[TopicPartition] = []
        bytes_left = bytes_max
        deadline = time.monotonic() + self._settings.answer_seconds_max
        check_at = time.monotonic() + CHECK_ENDS_SECONDS
        self._loss.suspect()
        while True:
            while self._rest:
                size = record_bytes(self._rest[0])
                if len(found) >= records_max or (found and size > bytes_left):
                    return Found(found, self._ended, lost)
                bytes_left -= size
                found.append(self._rest.popleft())
            if len(found) >= records_max or len(self._ended) + len(lost) >= len(offsets):
                return Found(found, self._ended, lost)
            message = self._consumer.poll(0.02 if found else 0.25)
            if message is None:
                if found:
                    return Found(found, self._ended, lost)
                now = time.monotonic()
                if now > deadline or self._settings.closing.is_over:
                    raise self._silent()
                if now > check_at:
                    check_at = now + CHECK_ENDS_SECONDS
                    self._look_why_silent(offsets)
                continue
            for one in (message, *self._consumer.consume(min(TAKEN_AT_ONCE, records_max), 0)):
                self._take(one, offsets, lost)

    def _take(self, message: Message, offsets: Mapping[TopicPartition, int], lost: list[TopicPartition]) -> None:
        error = message.error()
        if error is None:
            record = stored(message, self._strip)
            self._ended.pop((record.topic, record.partition), None)
            self._rest.append(record)
            return
        code = error.code()
        place = ((message.topic() or "")[self._strip :], message.partition() or 0)
        if place not in offsets:
            return
        if code == KafkaError._PARTITION_EOF:
            self._ended[place] = max(offsets[place], message.offset() or 0)
        elif code == KafkaError._AUTO_OFFSET_RESET:
            lost.append(place)
        else:
            raise refused_read(error, place, message.offset(), self._settings, self._said)

    def _look_why_silent(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._find_ended(offsets)
        if self._loss.finds_lost(self._consumer):
            raise ClientLost()

    def _find_ended(self, offsets: Mapping[TopicPartition, int]) -> None:
        """A partition whose next record belongs to an open transaction reports nothing: readers are at its end."""
        for place, offset in offsets.items():
            if place in self._ended:
                continue
            partition = KafkaPartition(self._settings.namespace + place[0], place[1])
            try:
                low, high = self._consumer.get_watermark_offsets(partition, timeout=1.0)
            except KafkaException:
                return
            if 0 <= low <= offset and 0 <= high <= offset:
                self._ended[place] = offset

    def _silent(self) -> HeadwaterError:
        return translate(
            KafkaException(KafkaError(KafkaError._TIMED_OUT)), "Reading", self._settings.servers, self._said
        )

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._said = str(error.str())


class SeekerPool:
    """The consumers of one log; `read` is called from at most `seekers_max` threads at once."""

    def __init__(self, settings: KafkaSettings, seekers_max: int) -> None:
        self._settings = settings
        self._seekers_max = seekers_max
        self._idle: list[Seeker] = []
        self._busy = 0
        self._freed = threading.Condition()

    def goes_on(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Whether a consumer is at exactly these offsets."""
        with self._freed:
            return any(seeker.stands_at(offsets) for seeker in self._idle)

    def read(
        self,
        offsets: Mapping[TopicPartition, int],
        ended: Mapping[TopicPartition, int],
        records_max: int,
        bytes_max: int,
    ) -> Found:
        """See `Seeker.read`."""
        try:
            return self._read(offsets, ended, records_max, bytes_max)
        except ClientLost:
            # Another consumer: this one was not put back.
            return self._read(offsets, ended, records_max, bytes_max)

    def _read(
        self,
        offsets: Mapping[TopicPartition, int],
        ended: Mapping[TopicPartition, int],
        records_max: int,
        bytes_max: int,
    ) -> Found:
        seeker = self._check_out(offsets)
        try:
            return seeker.read(offsets, ended, records_max, bytes_max)
        finally:
            with self._freed:
                self._busy -= 1
                if not seeker.is_spoilt:
                    self._idle.append(seeker)
                self._freed.notify()
            if seeker.is_spoilt:
                seeker.close()

    def close_idle(self, idle_seconds: float = IDLE_SECONDS) -> int:
        """Close consumers that were unused for this long. Returns how many are left."""
        limit = time.monotonic() - idle_seconds
        with self._freed:
            closing = [seeker for seeker in self._idle if seeker.used_at <= limit]
            self._idle = [seeker for seeker in self._idle if seeker.used_at > limit]
            left = len(self._idle) + self._busy
        for seeker in closing:
            seeker.close()
        return left

    def _check_out(self, offsets: Mapping[TopicPartition, int]) -> Seeker:
        with self._freed:
            while True:
                chosen = next((seeker for seeker in self._idle if seeker.stands_at(offsets)), None)
                # Of the others, prefer one that no reader will resume with.
                chosen = chosen or next((seeker for seeker in self._idle if seeker.is_free), None)
                if chosen is None and len(self._idle) + self._busy >= self._seekers_max:
                    chosen = min(self._idle, key=_used_at, default=None)
                    if chosen is None:
                        self._freed.wait()
                        continue
                self._busy += 1
                if chosen is not None:
                    self._idle.remove(chosen)
                    return chosen
                break
        try:
            return Seeker(self._settings)
        except BaseException:
            with self._freed:
                self._busy -= 1
            raise


def meet(consumer: Consumer, full_names: Iterable[str], met: set[str], closing: Closing) -> None:
    """Let the client request new topics now: on its own, it would do so within a second."""
    new = set(full_names) - met
    with contextlib.suppress(KafkaException):
        if len(new) > ASKED_ONE_BY_ONE_MAX:
            consumer.list_topics(timeout=closing.left(ASK_SECONDS_MAX))
        else:
            for name in new:
                consumer.list_topics(name, timeout=closing.left(ASK_SECONDS_MAX))
        met |= new


def stored(message: Message, strip: int) -> StoredRecord:
    """A message as a record, its topic without the namespace."""
    headers = message.headers()
    return StoredRecord(
        message.topic()[strip:],  # type: ignore[index]
        message.partition(),  # type: ignore[arg-type]
        message.offset(),  # type: ignore[arg-type]
        message.timestamp()[1],
        message.key(),
        tuple((name, value or b"") for name, value in headers) if headers else (),  # type: ignore[misc, str-unpack]
        message.value() or b"",
    )


def refused_read(
    error: KafkaError, place: TopicPartition, offset: int | None, settings: KafkaSettings, said: str
) -> HeadwaterError:
    """Why a partition cannot be read."""
    if error.code() in (KafkaError._BAD_MSG, KafkaError.INVALID_MSG, KafkaError._BAD_COMPRESSION):
        return LogCorrupt(
            f"Topic {place[0]!r}, partition {place[1]}, is damaged near offset {offset}: {error.str()}.",
            hint="Restore the partition from another replica.",
        )
    return translate(KafkaException(error), f"Reading {place[0]!r}", settings.servers, said)


def _used_at(seeker: Seeker) -> float:
    return seeker.used_at
