"""Recent records in memory for readers: decoded batches, the known ends, and the signal that wakes waiting readers.

Readers that keep up get what the writer has just written from here and never touch the file; many readers of one
stream share each decoded batch. Only the signal belongs to the event loop; the cache is used by reading threads too.
"""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from headwater.log.contract import StoredRecord
from headwater.log.record_batch import Batch, BatchHeader

_OVERHEAD_PER_RECORD = 160


class Followed:
    """One partition a reader follows: where it is, and the next batch to give."""

    __slots__ = ("at_end", "crc", "header", "offset", "partition", "slot", "topic")

    def __init__(self, topic: str, partition: int, slot: int, offset: int) -> None:
        self.topic = topic
        self.partition = partition
        self.slot = slot
        self.offset = offset
        self.header: BatchHeader | None = None
        self.crc = 0
        self.at_end = False


class BatchCache:
    """Recently decoded batches, bounded in bytes; the least recently used goes first. Thread-safe."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._batches: OrderedDict[tuple[int, int], tuple[Batch, int]] = OrderedDict()
        self._bases: dict[int, list[int]] = {}
        self._lock = threading.Lock()

    def get(self, slot: int, base_offset: int, crc: int) -> Batch | None:
        """The batch, if it is still the one with this checksum."""
        with self._lock:
            found = self._batches.get((slot, base_offset))
            if found is None or found[1] != crc:
                return None
            self._batches.move_to_end((slot, base_offset))
            return found[0]

    def holding(self, slot: int, offset: int) -> Batch | None:
        """The batch with this offset."""
        with self._lock:
            bases = self._bases.get(slot)
            if not bases:
                return None
            index = bisect_right(bases, offset)
            if index == 0:
                return None
            batch = self._batches[slot, bases[index - 1]][0]
            return batch if offset <= batch.last_offset else None

    def put(self, slot: int, batch: Batch, crc: int) -> None:
        size = _size(batch)
        if size > self._bytes_max // 2:
            return
        with self._lock:
            self._drop(slot, batch.base_offset)
            self._batches[slot, batch.base_offset] = (batch, crc)
            insort(self._bases.setdefault(slot, []), batch.base_offset)
            self._bytes += size
            while self._bytes > self._bytes_max:
                oldest = next(iter(self._batches))
                self._drop(*oldest)

    def forget(self, slot: int, *, below: int | None = None) -> None:
        """Drop the batches of a slot that begin below an offset; all of them by default."""
        with self._lock:
            for base in [b for b in self._bases.get(slot, ()) if below is None or b < below]:
                self._drop(slot, base)

    def clear(self) -> None:
        with self._lock:
            self._batches.clear()
            self._bases.clear()
            self._bytes = 0

    def _drop(self, slot: int, base_offset: int) -> None:
        found = self._batches.pop((slot, base_offset), None)
        if found is not None:
            self._bytes -= _size(found[0])
            self._bases[slot].remove(base_offset)


class AppendSignal:
    """Wakes readers that wait for partitions to grow. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}

    def listen(self, slots: Iterable[int]) -> asyncio.Future[None]:
        """A future that ends when one of `slots` grows. Give it back with `leave`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for slot in slots:
            self._waiting.setdefault(slot, set()).add(future)
        return future

    def leave(self, slots: Iterable[int], future: asyncio.Future[None]) -> None:
        for slot in slots:
            waiting = self._waiting.get(slot)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[slot]
        future.cancel()

    def ring(self, slot: int) -> None:
        for future in self._waiting.get(slot, ()):
            if not future.done():
                future.set_result(None)

    def slots(self) -> list[int]:
        """The slots that readers wait for."""
        return list(self._waiting)


def take(
    batch: Batch, offset: int, records_max: int, bytes_max: int, first: bool
) -> tuple[Sequence[StoredRecord], int, bool]:
    """Records of the batch from `offset` within the limits, their size, and whether they reach the end of the batch."""
    start = batch.index_of(offset)
    records = batch.records
    if batch.bytes_total <= bytes_max and len(records) - start <= records_max:
        return (records if start == 0 else records[start:]), batch.bytes_total, True
    found, size = within(records, start, records_max, bytes_max, first=first)
    return found, size, start + len(found) == len(records)


def within(
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


def record_bytes(record: StoredRecord) -> int:
    """The size of a record as limits count it."""
    size = len(record.value) + len(record.key or b"")
    return size + sum(len(name) + len(value) for name, value in record.headers)


def take_from_memory(
    cache: BatchCache, known_next: Mapping[int, int], followed: Sequence[Followed], records_max: int, bytes_max: int
) -> list[StoredRecord] | None:
    """What the cache has for a reader that keeps up; [] when it is known to be at the end; None: ask the file."""
    ready: list[tuple[Followed, Batch]] = []
    for one in followed:
        if known_next.get(one.slot) != one.offset:
            batch = cache.holding(one.slot, one.offset)
            if batch is None:
                return None
            ready.append((one, batch))
    found: list[StoredRecord] = []
    bytes_left = bytes_max
    while ready and len(found) < records_max:
        chosen = min(range(len(ready)), key=lambda index: _first_ms(ready[index][1])) if len(ready) > 1 else 0
        one, batch = ready[chosen]
        taken, size, whole = take(batch, one.offset, records_max - len(found), bytes_left, not found)
        found.extend(taken)
        bytes_left -= size
        if not whole:
            break
        one.offset = batch.last_offset + 1
        following = cache.holding(one.slot, one.offset)
        if following is None:
            del ready[chosen]
        else:
            ready[chosen] = (one, following)
    return found if found or not ready else None


def _first_ms(batch: Batch) -> int:
    return batch.records[0].timestamp_ms if batch.records else 0


def _size(batch: Batch) -> int:
    return batch.bytes_total + _OVERHEAD_PER_RECORD * len(batch.records) + 200
