"""The streams of a log as a source: events in the order of each partition, and a token that is a log's position.

Tombstones, and records that are not a JSON object, are not events: they are skipped, and the latter are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import orjson

from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.errors import EventMalformed, LogUnavailable
from headwater.event import decode_stored, get_path
from headwater.log.contract import LogReader, Position, StoredRecord, TopicPartition


class StreamSource:
    """Reads the topics of an open log. `streams` names the stream of each topic. One task uses it at a time."""

    features = SourceFeatures(partitions=True)

    def __init__(self, log: LogReader, streams: Mapping[str, str]) -> None:
        self._log = log
        self._streams = dict(streams)
        self._position: Position | None = None
        self.malformed = 0

    async def partitions(self) -> Sequence[str]:
        """`topic/number` of each. Raises TopicUnknown, LogUnavailable."""
        first = await self._log.first(self._streams)
        return [_name(place) for place in sorted(first.offsets)]

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Resume after `token`; partitions it does not name are read from their oldest record.

        Raises TokenInvalid, PositionLost, TopicUnknown, LogUnavailable.
        """
        known = Position.parse(token).offsets if token else {}
        first = await self._log.first(self._streams)
        wanted = {place: at for place, at in first.offsets.items() if partitions is None or _name(place) in partitions}
        position = Position({place: known.get(place, offset) for place, offset in wanted.items()})
        for place in position.offsets.keys() & known.keys():
            # Lost positions are reported here, not in the middle of reading.
            await self._log.read(Position({place: known[place]}), records_max=1)
        self._position = position

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """Up to `deliveries_max` events. Raises PositionLost, LogCorrupt, LogUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            position = self._opened()
            left = max(0.0, deadline - loop.time())
            records = await self._log.read(position, records_max=deliveries_max, wait_seconds=left)
            deliveries: list[Delivery] = []
            # How many records were read with each delivery, including preceding ones that are not events.
            read_with: list[int] = []
            for number, record in enumerate(records, 1):
                if (delivery := self._delivery(record)) is not None:
                    deliveries.append(delivery)
                    read_with.append(number)
            self._position = _behind(position, records)
            # Records that are not events do not mean that the end is reached.
            if deliveries or not records:
                return SourceBatch(deliveries, _tokens(position, records, read_with))

    async def confirm(self, token: str) -> None:
        """Does nothing: the log's retention is independent of its readers."""

    async def close(self) -> None:
        self._position = None

    def _delivery(self, record: StoredRecord) -> Delivery | None:
        if not record.value:
            return None
        try:
            value = decode_stored(record.value, record.headers)
        except (orjson.JSONDecodeError, EventMalformed):
            value = None
        if not isinstance(value, dict):
            self.malformed += 1
            return None
        event_id = get_path(value, "meta.id")
        return Delivery(
            value,
            event_id if isinstance(event_id, str) else None,
            self._streams[record.topic],
            record.timestamp_ms,
            _name((record.topic, record.partition)),
        )

    def _opened(self) -> Position:
        if self._position is None:
            raise LogUnavailable("The source is not open.")
        return self._position


def _name(place: TopicPartition) -> str:
    return f"{place[0]}/{place[1]}"


def _behind(position: Position, records: Sequence[StoredRecord]) -> Position:
    offsets = dict(position.offsets)
    for record in records:
        offsets[record.topic, record.partition] = record.offset + 1
    return Position(offsets)


def _tokens(position: Position, records: Sequence[StoredRecord], read_with: Sequence[int]) -> Callable[[int], str]:
    """The token after a number of deliveries; after the last one it includes following records that are not events."""

    def token_after(count: int) -> str:
        if not 0 <= count <= len(read_with):
            raise ValueError(f"The batch has {len(read_with)} deliveries, not {count}.")
        read = len(records) if count == len(read_with) else read_with[count - 1] if count else 0
        return _behind(position, records[:read]).token()

    return token_after
