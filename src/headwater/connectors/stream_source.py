"""The streams of a log as a source: events in the order of each partition, and a token that is a log's position.

Marks of deleted keys, and records that are no JSON object, are no events: they are passed over, and the latter counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import orjson

from headwater.connectors.contract import Delivery
from headwater.errors import EventMalformed, LogUnavailable
from headwater.event import decode_stored, get_path
from headwater.log.contract import LogReader, Position, StoredRecord


class StreamSource:
    """Reads the topics of an open log. `streams` names the stream of each topic. One task uses it at a time."""

    def __init__(self, log: LogReader, streams: Mapping[str, str]) -> None:
        self._log = log
        self._streams = dict(streams)
        self._position: Position | None = None
        self.malformed = 0

    async def open(self, token: str | None) -> None:
        """Go on behind `token`; partitions it does not name are read from their oldest record.

        Raises TokenInvalid, PositionLost, TopicUnknown, LogUnavailable.
        """
        known = Position.parse(token).offsets if token else {}
        first = await self._log.first(self._streams)
        position = Position({place: known.get(place, offset) for place, offset in first.offsets.items()})
        for place in position.offsets.keys() & known.keys():
            # What is lost is said here, and not in the middle of reading.
            await self._log.read(Position({place: known[place]}), records_max=1)
        self._position = position

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> tuple[Sequence[Delivery], str]:
        """Up to `deliveries_max` events, and the token to go on from.

        Raises PositionLost, LogCorrupt, LogUnavailable.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            position = self._opened()
            left = max(0.0, deadline - loop.time())
            records = await self._log.read(position, records_max=deliveries_max, wait_seconds=left)
            offsets = dict(position.offsets)
            deliveries: list[Delivery] = []
            for record in records:
                offsets[record.topic, record.partition] = record.offset + 1
                deliveries += self._delivered(record)
            self._position = Position(offsets)
            # Records that are no events are not the end of what there is.
            if deliveries or not records:
                return deliveries, self._position.token()

    async def close(self) -> None:
        self._position = None

    def _delivered(self, record: StoredRecord) -> list[Delivery]:
        if not record.value:
            return []
        try:
            value = decode_stored(record.value, record.headers)
        except (orjson.JSONDecodeError, EventMalformed):
            value = None
        if not isinstance(value, dict):
            self.malformed += 1
            return []
        event_id = get_path(value, "meta.id")
        stream = self._streams[record.topic]
        return [Delivery(value, event_id if isinstance(event_id, str) else None, stream, record.timestamp_ms)]

    def _opened(self) -> Position:
        if self._position is None:
            raise LogUnavailable("The source is not open.")
        return self._position
