"""Follows the ends of partitions for all readers that keep up, with one consumer, and keeps what is fresh in memory.

How this works: a partition is followed from the moment a reader waits at its end until nobody has read it for a while.
One thread owns the consumer: it takes what has come, and hands it to the event loop in one call; there it goes into a
`Tail`, whose records every reader shares, and the bell wakes those who wait. A tail holds all records from `low` on up
to `next`; who is behind that reads through the seekers until it has caught up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, Message, TopicPartition

from headwater.log.contract import StoredRecord
from headwater.log.kafka_reader import meet, stored
from headwater.log.kafka_settings import KafkaError, KafkaException, KafkaSettings
from headwater.log.tail_cache import Bell, record_bytes

Place = tuple[str, int]
# A partition, from where on to follow it (None: no longer), and the number of its tail.
Order = tuple[Place, int | None, int]
# What has come of one partition: the number of the tail it was for, records, where it ends, and whether it is lost.
Arrival = tuple[int, list[StoredRecord], int | None, bool]

POLL_SECONDS = 0.05
FETCH_WAIT_MS = 100
QUEUED_KIB_MAX = 16_384
TAKEN_AT_ONCE = 1_000
UNREAD_SECONDS = 30.0
SWEEP_SECONDS = 5.0
OVERHEAD_BYTES = 200

_log = logging.getLogger(__name__)


class Chunk:
    """Records of one partition that arrived together."""

    __slots__ = ("records", "size", "start")

    def __init__(self, start: int, records: list[StoredRecord], size: int) -> None:
        self.start = start
        self.records = records
        self.size = size


class Tail:
    """What memory has of one partition: all its records at offsets in [`low`, `next`)."""

    __slots__ = ("checked_at", "chunks", "low", "next", "number", "place", "read_at", "slot")

    def __init__(self, place: Place, slot: int, number: int, low: int, following: int) -> None:
        """`number` tells this tail from earlier ones of the same partition."""
        now = time.monotonic()
        self.place = place
        self.slot = slot
        self.number = number
        self.low = low
        self.next = following
        self.chunks: list[Chunk] = []
        self.read_at = now
        self.checked_at = now

    def covers(self, offset: int) -> bool:
        return self.low <= offset <= self.next

    def at(self, offset: int) -> tuple[int, int] | None:
        """Chunk and index of the first record at or after `offset`; None at the end."""
        if not self.chunks or offset > self.chunks[-1].records[-1].offset:
            return None
        number = max(0, bisect_right(self.chunks, offset, key=_start_of) - 1)
        while self.chunks[number].records[-1].offset < offset:
            number += 1
        return number, bisect_left(self.chunks[number].records, offset, key=_offset_of)


class Follower:
    """The tails of one log. Belongs to the event loop, but for `_run`, which is the thread."""

    def __init__(self, settings: KafkaSettings, bell: Bell, bytes_max: int) -> None:
        self._settings = settings
        self._bell = bell
        self._bytes_max = bytes_max
        self._bytes = 0
        self._tails: dict[Place, Tail] = {}
        self._in_order_of_age: deque[tuple[Tail, Chunk]] = deque()
        self._slots: dict[Place, int] = {}
        self._orders: deque[Order] = deque()
        self._count = 0
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._sweeping: asyncio.TimerHandle | None = None

    def slot(self, place: Place) -> int:
        """The number by which the bell knows the partition."""
        return self._slots.setdefault(place, len(self._slots))

    def tail(self, place: Place) -> Tail | None:
        return self._tails.get(place)

    def take(self, offsets: Mapping[Place, int], records_max: int, bytes_max: int) -> list[StoredRecord] | None:
        """What memory has from `offsets` on, oldest first; None where it does not reach back so far."""
        now = time.monotonic()
        ready: list[tuple[Tail, int, int]] = []
        for place, offset in offsets.items():
            tail = self._tails.get(place)
            if tail is None or not tail.covers(offset):
                return None
            tail.read_at = now
            if offset != tail.next and (found := tail.at(offset)) is not None:
                ready.append((tail, *found))
        taken: list[StoredRecord] = []
        while ready:
            which = 0 if len(ready) == 1 else min(range(len(ready)), key=lambda index: _time_of(ready[index]))
            tail, number, index = ready[which]
            chunk = tail.chunks[number]
            if index == 0 and chunk.size <= bytes_max and len(chunk.records) <= records_max:
                some: Sequence[StoredRecord] = chunk.records
                bytes_max -= chunk.size
            else:
                some, used = _within(chunk.records, index, records_max, bytes_max, first=not taken)
                bytes_max -= used
            taken.extend(some)
            records_max -= len(some)
            if records_max <= 0 or index + len(some) < len(chunk.records):
                break
            if number + 1 < len(tail.chunks):
                ready[which] = (tail, number + 1, 0)
            else:
                del ready[which]
        return taken

    def follow(self, offsets: Mapping[Place, int], ends: Mapping[Place, int]) -> None:
        """Follow partitions from their `ends` on; there is no record between `offsets` and those."""
        now = time.monotonic()
        for place, end in ends.items():
            tail, offset = self._tails.get(place), offsets[place]
            if tail is None:
                self._count += 1
                tail = self._tails[place] = Tail(place, self.slot(place), self._count, offset, end)
                self._orders.append((place, end, self._count))
            elif offset > tail.next:
                # What is between has not come here yet, and would be missing.
                self._forget(tail)
                tail.low, tail.next = offset, end
            elif tail.low <= end:
                tail.low, tail.next = min(tail.low, offset), max(tail.next, end)
            tail.checked_at = now
        if self._thread is None and self._tails:
            self._start()

    def unfollow(self, place: Place) -> None:
        """Trust nothing that is in memory of this partition, and let those who wait look for themselves."""
        tail = self._tails.pop(place, None)
        if tail is not None:
            self._forget(tail)
            self._orders.append((place, None, 0))
            self._bell.ring(tail.slot)

    def stop(self) -> threading.Thread | None:
        """End the thread, which can then be joined."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        thread, self._thread = self._thread, None
        self._ending.set()
        for tail in self._tails.values():
            self._bell.ring(tail.slot)
        self._tails.clear()
        self._in_order_of_age.clear()
        self._orders = deque()
        self._bytes = 0
        return thread

    def _ended_early(self, ending: threading.Event) -> None:
        if self._ending is ending:
            self.stop()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._ending = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(loop, self._ending, self._orders), name="headwater-log-follower", daemon=True
        )
        self._thread.start()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Let go of what nobody reads any more; without readers, of the consumer too."""
        limit = time.monotonic() - UNREAD_SECONDS
        for place in [place for place, tail in self._tails.items() if tail.read_at < limit]:
            self.unfollow(place)
        if self._tails:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        else:
            self.stop()

    def _arrived(self, arrivals: Mapping[Place, Arrival]) -> None:
        """What the thread has taken: into the tails with it."""
        for place, (number, records, end, lost) in arrivals.items():
            tail = self._tails.get(place)
            if tail is None or tail.number != number:
                continue
            if lost:
                self.unfollow(place)
                continue
            fresh = [record for record in records if record.offset >= tail.next] if records else records
            if fresh:
                chunk = Chunk(tail.next, fresh, sum(map(record_bytes, fresh)))
                tail.chunks.append(chunk)
                tail.next = fresh[-1].offset + 1
                self._bytes += chunk.size + OVERHEAD_BYTES * len(fresh)
                self._in_order_of_age.append((tail, chunk))
                self._bell.ring(tail.slot)
            if end is not None and end > tail.next:
                tail.next = end
        while self._bytes > self._bytes_max and self._in_order_of_age:
            self._drop(*self._in_order_of_age.popleft())

    def _drop(self, tail: Tail, chunk: Chunk) -> None:
        if tail.chunks and tail.chunks[0] is chunk:
            del tail.chunks[0]
            tail.low = tail.chunks[0].start if tail.chunks else tail.next
            self._bytes -= chunk.size + OVERHEAD_BYTES * len(chunk.records)

    def _forget(self, tail: Tail) -> None:
        self._bytes -= sum(chunk.size + OVERHEAD_BYTES * len(chunk.records) for chunk in tail.chunks)
        tail.chunks.clear()

    def _run(self, loop: asyncio.AbstractEventLoop, ending: threading.Event, orders: deque[Order]) -> None:
        consumer = Consumer(self._settings.consumer(fetch_wait_ms=FETCH_WAIT_MS, queued_kib_max=QUEUED_KIB_MAX))
        followed: dict[Place, int] = {}
        met: set[str] = set()
        try:
            while not ending.is_set():
                taken = [orders.popleft() for _ in range(len(orders))]
                if taken:
                    meet(consumer, {self._settings.namespace + place[0] for place, _, _ in taken}, met)
                for order in taken:
                    self._obey(consumer, followed, *order)
                message = consumer.poll(POLL_SECONDS)
                if message is not None:
                    messages = (message, *consumer.consume(TAKEN_AT_ONCE, 0))
                    loop.call_soon_threadsafe(self._arrived, self._sorted(messages, followed))
        except Exception:
            if not ending.is_set():
                _log.exception("the follower of the Kafka log ended; readers start another")
        finally:
            consumer.close()
            if not ending.is_set():
                # The event loop may have ended first: then there is nobody to tell.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._ended_early, ending)

    def _sorted(self, messages: Iterable[Message], followed: Mapping[Place, int]) -> dict[Place, Arrival]:
        strip = len(self._settings.namespace)
        records: dict[Place, list[StoredRecord]] = {}
        ends: dict[Place, int] = {}
        lost: set[Place] = set()
        for message in messages:
            error = message.error()
            if error is None:
                record = stored(message, strip)
                records.setdefault((record.topic, record.partition), []).append(record)
            elif (name := message.topic()) is not None:
                place = (name[strip:], message.partition() or 0)
                if error.code() == KafkaError._PARTITION_EOF:
                    ends[place] = message.offset() or 0
                else:
                    lost.add(place)
        return {
            place: (followed.get(place, 0), records.get(place, []), ends.get(place), place in lost)
            for place in {*records, *ends, *lost}
        }

    def _obey(
        self, consumer: Consumer, followed: dict[Place, int], place: Place, offset: int | None, number: int
    ) -> None:
        name = self._settings.namespace + place[0]
        with contextlib.suppress(KafkaException):
            if followed.pop(place, None) is not None:
                consumer.incremental_unassign([TopicPartition(name, place[1])])
            if offset is not None:
                consumer.incremental_assign([TopicPartition(name, place[1], offset)])
                followed[place] = number


def _within(
    records: Sequence[StoredRecord], start: int, records_max: int, bytes_max: int, *, first: bool
) -> tuple[Sequence[StoredRecord], int]:
    """Records from index `start` on within the limits, at least one where it is the `first`; and their size."""
    end, size = start, 0
    while end < len(records) and end - start < records_max:
        own = record_bytes(records[end])
        if size + own > bytes_max and not (first and end == start):
            break
        size += own
        end += 1
    return records[start:end], size


def _start_of(chunk: Chunk) -> int:
    return chunk.start


def _offset_of(record: StoredRecord) -> int:
    return record.offset


def _time_of(ready: tuple[Tail, int, int]) -> int:
    tail, number, index = ready
    return tail.chunks[number].records[index].timestamp_ms
