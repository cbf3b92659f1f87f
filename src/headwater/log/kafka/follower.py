"""Follows the ends of partitions for all readers that keep up, and keeps recent records in memory.

How this works: a partition is followed from the moment a reader waits at its end until no reader has read it for some
time. A `Feed`, one of few, fetches new records and passes them to the event loop in one call; there they are added to a
`Tail`, whose records all readers share, and waiting readers are woken. A tail holds all records from `low` up to
`next`; a reader that is behind reads through the seekers until it has caught up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from headwater.errors import HeadwaterError
from headwater.log.contract import StoredRecord, TopicPartition
from headwater.log.kafka.feed import Arrivals, Feed
from headwater.log.kafka.settings import KafkaSettings
from headwater.log.tail_cache import AppendSignal, record_bytes, within

# Beyond that, feeds grow.
FEEDS_MAX = 32
UNREAD_SECONDS = 30.0
SWEEP_SECONDS = 5.0
OVERHEAD_BYTES = 200
# After this time, tails are compared with the brokers, this many in one request.
CONFIRM_SECONDS = 15.0
CONFIRMED_AT_ONCE = 250

Ends = Callable[[Iterable[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class Chunk:
    """Records of one partition that arrived together."""

    __slots__ = ("records", "size", "start")

    def __init__(self, start: int, records: list[StoredRecord], size: int) -> None:
        self.start = start
        self.records = records
        self.size = size


class Tail:
    """What memory has of one partition: all its records at offsets in [`low`, `next`)."""

    __slots__ = ("checked_at", "chunks", "feed", "low", "next", "number", "place", "read_at", "slot")

    def __init__(self, place: TopicPartition, feed: Feed, *, slot: int, number: int, low: int, following: int) -> None:
        """`number` distinguishes this tail from earlier ones of the same partition."""
        now = time.monotonic()
        self.place = place
        self.feed = feed
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
    """The tails of one log. Belongs to the event loop."""

    def __init__(self, settings: KafkaSettings, bell: AppendSignal, bytes_max: int, ends: Ends) -> None:
        """`ends` asks the brokers where partitions end."""
        self._settings = settings
        self._ends = ends
        self._bell = bell
        self._bytes_max = bytes_max
        self._bytes = 0
        self._tails: dict[TopicPartition, Tail] = {}
        self._in_order_of_age: deque[tuple[Tail, Chunk]] = deque()
        self._slots: dict[TopicPartition, int] = {}
        self._feeds: list[Feed] = []
        self._count = 0
        self._sweeping: asyncio.TimerHandle | None = None
        self._confirming: asyncio.Task[None] | None = None

    def slot(self, place: TopicPartition) -> int:
        """The number by which the bell knows the partition."""
        return self._slots.setdefault(place, len(self._slots))

    def tail(self, place: TopicPartition) -> Tail | None:
        return self._tails.get(place)

    def take(
        self, offsets: Mapping[TopicPartition, int], records_max: int, bytes_max: int
    ) -> list[StoredRecord] | None:
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
                some, used = within(chunk.records, index, records_max, bytes_max, first=not taken)
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

    def follow(self, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        """Follow partitions from their `ends` on; there is no record between `offsets` and those."""
        now = time.monotonic()
        for place, end in ends.items():
            tail, offset = self._tails.get(place), offsets[place]
            if tail is None:
                self._count += 1
                feed = self._feed()
                tail = self._tails[place] = Tail(
                    place, feed, slot=self.slot(place), number=self._count, low=offset, following=end
                )
                feed.follow(place, end, self._count)
            elif offset > tail.next:
                # What is between has not come here yet, and would be missing.
                self._forget(tail)
                tail.low, tail.next = offset, end
            elif tail.low <= end:
                tail.low, tail.next = min(tail.low, offset), max(tail.next, end)
            tail.checked_at = now
        if self._sweeping is None and self._tails:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def unfollow(self, place: TopicPartition) -> None:
        """Discard what is in memory for this partition, and let waiting readers ask the brokers."""
        tail = self._tails.pop(place, None)
        if tail is not None:
            self._forget(tail)
            tail.feed.unfollow(place)
            self._bell.ring(tail.slot)

    def stop(self) -> list[threading.Thread]:
        """End the threads, which can then be joined."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        if self._confirming is not None:
            self._confirming.cancel()
            self._confirming = None
        feeds, self._feeds = self._feeds, []
        for feed in feeds:
            feed.stop()
        for tail in self._tails.values():
            self._bell.ring(tail.slot)
        self._tails.clear()
        self._in_order_of_age.clear()
        self._bytes = 0
        return [feed.thread for feed in feeds]

    def _feed(self) -> Feed:
        """The first feed with room for one more partition; where all may be full, the one with the most room."""
        for feed in self._feeds:
            if not feed.is_full:
                return feed
        if len(self._feeds) >= FEEDS_MAX:
            return min(self._feeds, key=lambda feed: len(feed.places))
        feed = Feed(self._settings, self._arrived, self._ended_early)
        self._feeds.append(feed)
        return feed

    def _ended_early(self, feed: Feed) -> None:
        if feed in self._feeds:
            self.stop()

    def _sweep(self) -> None:
        """Stop following partitions that are no longer read, and close feeds without partitions."""
        limit = time.monotonic() - UNREAD_SECONDS
        for place in [place for place, tail in self._tails.items() if tail.read_at < limit]:
            self.unfollow(place)
        for feed in [feed for feed in self._feeds if not feed.places]:
            self._feeds.remove(feed)
            feed.stop()
        self._sweeping = None
        if self._tails:
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)
            if self._confirming is None or self._confirming.done():
                self._confirming = loop.create_task(self._confirm(), name="followed Kafka partitions are confirmed")

    async def _confirm(self) -> None:
        """See for all readers at once that nothing was missed; each of them would soon ask for itself."""
        limit = time.monotonic() - CONFIRM_SECONDS
        old = [tail for tail in self._tails.values() if tail.checked_at < limit]
        for start in range(0, len(old), CONFIRMED_AT_ONCE):
            some = [(tail, tail.next) for tail in old[start : start + CONFIRMED_AT_ONCE]]
            try:
                ends = await self._ends([tail.place for tail, _ in some])
            except HeadwaterError:
                # A reader of a failing partition asks the brokers itself and gets the error.
                return
            now = time.monotonic()
            for tail, before in some:
                if before <= ends[tail.place] <= tail.next:
                    tail.checked_at = now

    def _arrived(self, arrivals: Arrivals) -> None:
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


def _start_of(chunk: Chunk) -> int:
    return chunk.start


def _offset_of(record: StoredRecord) -> int:
    return record.offset


def _time_of(ready: tuple[Tail, int, int]) -> int:
    tail, number, index = ready
    return tail.chunks[number].records[index].timestamp_ms
