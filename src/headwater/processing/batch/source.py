"""Entries of files as the source of one job: sorted by event time or in the order of the input, without repeats.

How this works: the position counts the entries of each topic that were processed, after repeats were left out; since
the order is the same in each run, a run resumes by skipping as many. Sorted, no event is ever behind another: the
watermark follows the last one that was read, whatever stream it is of. In the order of the input a batch ends before an
event that is older than one in the same batch, so that it meets the watermark that the events before it have set.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

from headwater.errors import HeadwaterError, InputInvalid
from headwater.jobs.steps import NO_WATERMARK
from headwater.log.contract import Position, StoredRecord, TopicPartition
from headwater.processing.batch.sorting import Entry

# Later than any offset.
NO_END = 2**62


class RecentIds:
    """The ids of events of the last `window_ms` of event time, at most `ids_max` of them, in two generations."""

    def __init__(self, window_ms: int, ids_max: int) -> None:
        self._window_ms = window_ms
        self._generation_max = max(1, ids_max // 2)
        self._younger: set[str] = set()
        self._older: set[str] = set()
        self._since_ms = NO_WATERMARK

    def is_repeat(self, key: str, at_ms: int) -> bool:
        """Whether the id is remembered; it is from now on."""
        if key in self._younger or key in self._older:
            return True
        if len(self._younger) >= self._generation_max or at_ms - self._since_ms >= self._window_ms:
            self._older, self._younger, self._since_ms = self._younger, set(), at_ms
        self._younger.add(key)
        return False


class EntrySource:
    """Reads the entries that `entries()` yields, all of them at each call. Has the shape of a `JobSource`; its input
    ends."""

    def __init__(
        self,
        entries: Callable[[], Iterator[Entry]],
        topics: Collection[str],
        *,
        ids: Callable[[], RecentIds],
        events_per_second: float | None = None,
    ) -> None:
        self._entries = entries
        self._new_ids = ids
        self._rate = events_per_second
        # Until when what was read so far takes at the rate, by the monotonic clock.
        self._paced_until = 0.0
        self._topics = tuple(topics)
        self.duplicates = 0
        self._next: Iterator[Entry] = iter(())
        # What was read and is after `position`, or was at the last read.
        self._ahead: deque[tuple[Entry, StoredRecord]] = deque()
        # Why records that are not committed yet are not events, by topic and offset.
        self._refused: dict[str, dict[int, InputInvalid]] = {topic: {} for topic in self._topics}
        self._offsets: dict[TopicPartition, int] = {}
        # The partition of the newest event that was read, and the time of the newest one before `position`.
        self._newest: tuple[int, TopicPartition | None] = (NO_WATERMARK, None)
        self._passed_ms = NO_WATERMARK
        self.position = self.processed = Position()

    async def begin(self, token: str | None, topics: Collection[str]) -> None:
        """Resume after `token`; raises TokenInvalid. Blocks while it skips."""
        known = Position.parse(token).offsets if token else {}
        self._offsets = {(topic, 0): known.get((topic, 0), 0) for topic in self._topics}
        self.position = self.processed = Position(dict(self._offsets))
        self._ahead.clear()
        self._refused = {topic: {} for topic in self._topics}
        self.duplicates = 0
        self._next = self._distinct()
        for entry in islice(self._next, sum(self._offsets.values())):
            self._pass(entry)

    async def refresh(self) -> None:
        """Nothing can be added to the input."""

    async def read(
        self, *, records_max: int, bytes_max: int, wait_seconds: float, stopping: asyncio.Event
    ) -> Sequence[StoredRecord]:
        self._forget_passed()
        if self._rate is not None:
            records_max = min(records_max, max(1, int(self._rate / 10)))
            await self._pause(stopping)
        found: list[StoredRecord] = []
        size = 0
        newest_ms, has_risen = self._passed_ms, False
        for entry, record in self._from_position():
            is_behind = entry.refused is None and entry.time_ms < newest_ms and has_risen
            if found and (len(found) >= records_max or size + len(record.value) > bytes_max or is_behind):
                break
            found.append(record)
            size += len(record.value)
            if entry.refused is None and entry.time_ms > newest_ms:
                newest_ms, has_risen = entry.time_ms, True
                if newest_ms > self._newest[0]:
                    self._newest = (newest_ms, (entry.topic, 0))
        if self._rate is not None:
            self._paced_until = max(self._paced_until, time.monotonic()) + len(found) / self._rate
        return found

    def refused(self, records: Sequence[StoredRecord]) -> Mapping[int, HeadwaterError]:
        if not any(self._refused.values()):
            return {}
        reasons = ((index, self._refused[record.topic].get(record.offset)) for index, record in enumerate(records))
        return {index: reason for index, reason in reasons if reason is not None}

    def after(self, records: Sequence[StoredRecord]) -> Position:
        return self.position.after_all(records)

    async def move(self, position: Position) -> None:
        self.position = position
        await self.committed(position)

    async def committed(self, position: Position) -> None:
        self.processed = position
        for (topic, _), offset in position.offsets.items():
            refused = self._refused[topic]
            for done in [one for one in refused if one < offset]:
                del refused[done]

    def token(self, position: Position) -> str:
        return position.token()

    def now(self) -> float:
        """The time of the newest event that was read, in seconds: the clock of a run over history."""
        return max(0, self._newest[0]) / 1000

    def was_replaced(self) -> bool:
        return False

    async def end(self) -> Position:
        """Unknown until it is reached: a read then returns nothing."""
        return Position({(topic, 0): NO_END for topic in self._topics})

    async def lag(self) -> int:
        return len(self._ahead)

    async def with_backlog(self, position: Position, read: Collection[TopicPartition] = ()) -> set[TopicPartition]:
        """The partition of the newest event that was read: none of the others can have an older one."""
        part = self._newest[1]
        return set(read) if part is None else {part}

    async def _pause(self, stopping: asyncio.Event) -> None:
        """Wait until what was read before has taken as long as the rate asks for."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), max(0.0, self._paced_until - time.monotonic()))

    def _from_position(self) -> Iterator[tuple[Entry, StoredRecord]]:
        yield from self._ahead
        for entry in self._next:
            part = (entry.topic, 0)
            offset = self._offsets[part]
            self._offsets[part] = offset + 1
            record = StoredRecord(entry.topic, 0, offset, entry.time_ms, entry.key, entry.headers, entry.value)
            if entry.refused is not None:
                self._refused[entry.topic][offset] = refusal = InputInvalid(entry.refused)
                refusal.because = entry.refused_code
            self._ahead.append((entry, record))
            yield entry, record

    def _distinct(self) -> Iterator[Entry]:
        ids = self._new_ids()
        for entry in self._entries():
            if entry.duplicate_key is not None and ids.is_repeat(entry.duplicate_key, entry.time_ms):
                self.duplicates += 1
                continue
            yield entry

    def _forget_passed(self) -> None:
        offsets = self.position.offsets
        while self._ahead and self._ahead[0][1].offset < offsets[self._ahead[0][0].topic, 0]:
            self._pass(self._ahead.popleft()[0])

    def _pass(self, entry: Entry) -> None:
        if entry.refused is None and entry.time_ms > self._passed_ms:
            self._passed_ms = entry.time_ms
