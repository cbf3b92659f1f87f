"""Reading streams from a position on, in batches in which every event has its token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from headwater.consumption.filter import Filter
from headwater.consumption.framing import Selection, TokenWriter
from headwater.log.contract import LogReader, Position, StoredRecord
from headwater.streams.stream import Stream


@dataclass(frozen=True, slots=True)
class Delivered:
    """The result of one read: matching events, each with the token to resume after it, and the token after the read.

    `token` is also after what a filter removed, so that it is not read again.
    """

    events: Sequence[tuple[StoredRecord, str]]
    token: str


class Subscription:
    """An endless asynchronous iterator of batches from `start` on; one reader, no sharing.

    Batches without events are given too (their token moves on). Raises what `LogReader.read` raises; the position
    is then still the one after the last batch given.
    """

    def __init__(
        self,
        log: LogReader,
        streams: Sequence[Stream],
        *,
        start: Position,
        filter: Filter | None = None,  # noqa: A002 - the word the contract uses
        canaries: bool = False,
        records_max: int = 1000,
    ) -> None:
        self.topics = topics_of(streams)
        self.position = start
        self._log = log
        self._chosen = Selection(filter, canaries)
        self._records_max = records_max

    async def next(self, *, wait_seconds: float = 1.0) -> Delivered | None:
        """The next batch, or None when nothing came within `wait_seconds`."""
        records = await self._log.read(self.position, records_max=self._records_max, wait_seconds=wait_seconds)
        if not records:
            return None
        writer = TokenWriter(self.position)
        offsets = dict(self.position.offsets)
        events: list[tuple[StoredRecord, str]] = []
        for record in records:
            token = writer.after(record)
            offsets[record.topic, record.partition] = record.offset + 1
            if self._chosen.value_of(record) is not None:
                events.append((record, token.decode()))
        self.position = Position(offsets)
        return Delivered(events, writer.token().decode())

    async def __aiter__(self) -> AsyncIterator[Delivered]:
        while True:
            delivered = await self.next()
            if delivered is not None:
                yield delivered


def topics_of(streams: Iterable[Stream]) -> tuple[str, ...]:
    """The topics of all `streams`, each once, in the order of the streams."""
    return tuple(dict.fromkeys(topic for stream in streams for topic in stream.topics))
