"""A range of a log as input of a run over history: the records of some streams, up to where they ended at its start."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence

from headwater.log.contract import Log, Position, StoredRecord
from headwater.streams.stream import Stream


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
            with asyncio.Runner() as runner:
                runner.run(self._log.open())
                try:
                    self.end = runner.run(self._last())
                finally:
                    runner.run(self._log.close())
        return self.end

    def records(self) -> Iterator[tuple[StoredRecord, Stream]]:
        """The records, in order within each partition. Blocks. Raises LogUnavailable, PositionLost, LogCorrupt."""
        end = self.find_end()
        with asyncio.Runner() as runner:
            runner.run(self._log.open())
            try:
                position = runner.run(self._start(end.topics()))
                while left := {part: at for part, at in position.offsets.items() if at < end.offsets.get(part, 0)}:
                    found = runner.run(self._log.read(Position(left)))
                    if not found:
                        return
                    for record in found:
                        part = (record.topic, record.partition)
                        position = position.after(record)
                        if record.offset < end.offsets.get(part, 0):
                            yield record, self._by_topic[record.topic]
            finally:
                runner.run(self._log.close())

    async def _last(self) -> Position:
        """The end of the topics that are there: a stream may have no events yet."""
        return await self._log.last(await self._log.partition_counts(self._by_topic))

    async def _start(self, topics: Collection[str]) -> Position:
        if self._since_ms is None or not self._log.features.seek_by_time:
            return await self._log.first(topics)
        return await self._log.at(topics, self._since_ms)
