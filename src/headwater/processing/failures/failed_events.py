"""The original bytes of failed events that do not fit into their error events, in a topic of the platform's own.

They are committed together with the error event, so that the retention of the source cannot delete what a redrive
needs. The topic is no stream: nobody reads it over HTTP. An event is divided into records that every broker accepts.
"""

from __future__ import annotations

from headwater.log.contract import Log, LogReader, Record, TopicSettings
from headwater.log.reading_on import read_on

TOPIC = "headwater.failed_events"
PART_BYTES_MAX = 262_144
# How much earlier than its error event a part may have been received, by another clock.
EARLIER_MS = 60_000
_PART = "part"


class FailedEvents:
    """Stores the bytes of failed events next to their error events. Used by one runner."""

    def __init__(self, log: Log | None, retention_seconds: float | None = None) -> None:
        """`log` makes the topic; None: it is there."""
        self._log = log
        self._settings = TopicSettings(retention_seconds=retention_seconds)
        self._exists = False

    async def records(self, error_id: str, data: bytes) -> list[Record]:
        """The records of `data`, for the commit of the error event with this id. Raises LogUnavailable."""
        if self._log is not None and not self._exists:
            await self._log.ensure_topic(TOPIC, self._settings)
            self._exists = True
        parts = [data[at : at + PART_BYTES_MAX] for at in range(0, max(1, len(data)), PART_BYTES_MAX)]
        return [
            Record(TOPIC, part, error_id.encode(), ((_PART, f"{number}/{len(parts)}".encode()),))
            for number, part in enumerate(parts, start=1)
        ]


async def stored_bytes(log: LogReader, error_id: str, received_ms: int, size: int) -> bytes | None:
    """The bytes that were stored for an error event, received at this time; None if they are not there any more."""
    if not await log.partition_counts([TOPIC]):
        return None
    position, end = await log.at([TOPIC], received_ms - EARLIER_MS), (await log.last([TOPIC])).offsets
    found: list[bytes] = []
    key = error_id.encode()
    while any(at < end.get(place, 0) for place, at in position.offsets.items()):
        records, position = await read_on(log, position)
        if not records:
            return None
        for record in records:
            if record.key != key:
                continue
            if record.headers and record.headers[0][1].startswith(b"1/"):
                found.clear()
            found.append(record.value)
            if sum(map(len, found)) >= size:
                data = b"".join(found)
                return data if len(data) == size else None
    return None
