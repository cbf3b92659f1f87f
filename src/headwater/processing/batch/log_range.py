"""A range of a log as input of a run over history: the records of some streams, up to where they ended at its start.

How this works: the log is read by an event loop in a thread of its own, since the iteration may be in one already: a
run in the order of arrival reads while it processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headwater.log.contract import Log, Position, StoredRecord, TopicPartition
from headwater.log.event_time import event_time_of
from headwater.streams.stream import Stream

# Of all partitions together, at a time.
READ_BYTES_MAX = 33_554_432
READ_BYTES_MIN = 65_536

# Runs a coroutine in the thread of the log, and returns its result.
RunThere = Callable[[Coroutine[Any, Any, Any]], Any]


class LogRange:
    """Records of `streams`. `end` is known after `find_end`, or given, as that of an interrupted run."""

    def __init__(
        self, log: Log, streams: Sequence[Stream], *, since_ms: int | None = None, end: Position | None = None
    ) -> None:
        """`since_ms`: an event time before which no event is of interest; it may be received later, never earlier."""
        self.end = end
        self.streams = tuple(stream.name for stream in streams)
        self._log = log
        self._by_topic: Mapping[str, Stream] = {topic: stream for stream in streams for topic in stream.topics}
        self._since_ms = since_ms

    def find_end(self) -> Position:
        """Where the range ends. Blocks. Raises LogUnavailable, TopicUnknown."""
        if self.end is None:
            with self._opened() as run:
                self.end = run(self._last())
        return self.end

    def records(self) -> Iterator[tuple[StoredRecord, Stream]]:
        """The records, in order within each partition, and those of several as they were received. Blocks.

        What several partitions received at one time, such as a file that was loaded, is in order of event time.
        Raises LogUnavailable, PositionLost, LogCorrupt.
        """
        end = self.find_end()
        with self._opened() as run:
            begin = run(self._start(end.topics()))
            left = {part: at for part, at in begin.offsets.items() if at < end.offsets.get(part, 0)}
            bytes_max = max(READ_BYTES_MIN, READ_BYTES_MAX // max(1, len(left)))
            parts = [self._part(run, part, at, end.offsets[part], bytes_max) for part, at in sorted(left.items())]
            for record in heapq.merge(*parts, key=self._received):
                yield record, self._by_topic[record.topic]

    def _part(self, run: RunThere, part: TopicPartition, at: int, end: int, bytes_max: int) -> Iterator[StoredRecord]:
        """The records of one partition from `at` up to `end`."""
        position = Position({part: at})
        while position.offsets[part] < end and (found := run(self._log.read(position, bytes_max=bytes_max))):
            for record in found:
                position = position.after(record)
                if record.offset < end:
                    yield record

    def _received(self, record: StoredRecord) -> tuple[int, int]:
        return record.timestamp_ms, event_time_of(record, self._by_topic[record.topic].event_time_field)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[RunThere]:
        """Open the log, in a thread."""
        with ThreadPoolExecutor(1, thread_name_prefix="headwater-log-range") as thread:
            runner = asyncio.Runner()

            def run(work: Coroutine[Any, Any, Any]) -> Any:
                return thread.submit(runner.run, work).result()

            try:
                run(self._log.open())
                try:
                    yield run
                finally:
                    run(self._log.close())
            finally:
                thread.submit(runner.close).result()

    async def _last(self) -> Position:
        """The end of the topics that are there: a stream may have no events yet."""
        return await self._log.last(await self._log.partition_counts(self._by_topic))

    async def _start(self, topics: Collection[str]) -> Position:
        if self._since_ms is None or not self._log.features.seek_by_time:
            return await self._log.first(topics)
        return await self._log.at(topics, self._since_ms)
