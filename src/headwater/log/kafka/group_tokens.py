"""Stores the token of every group in a compacted topic, and shows it to the brokers' own tools as group offsets.

How this works: a token is a record whose key is the group, so that it can be committed in one transaction with others,
and lasts as long as the topic: offsets of consumer groups expire after a week without a reader. What was read of the
topic stays in memory; a request for a token reads on to the topic's end. From time to time the offsets in the token are
committed to the consumer group of the same name; they are for display only and never read back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

from headwater.errors import LogUnavailable, PositionLost, TokenInvalid, TopicUnknown
from headwater.log.contract import LogReader, Position, Record, TopicSettings
from headwater.log.kafka.offsets import GroupOffsets
from headwater.log.kafka.topics import LATEST, RESERVED, KafkaTopics

MIRROR_SECONDS = 1.0
MIRROR_SECONDS_MAX = 2.0
READ_RECORDS = 10_000
SETTLE_SECONDS_MAX = 10.0
SETTLE_PAUSE_SECONDS = 0.01
# Small segments are compacted soon; every process that starts reads what is not compacted yet.
TOPIC_CONFIG = {
    "segment.bytes": "4194304",
    "segment.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.1",
    "compression.type": "producer",
}
ID_HEADER = "id"

Headers = tuple[tuple[str, bytes], ...]


class GroupTokens:
    """The tokens of one namespace. Belongs to one event loop."""

    def __init__(self, topics: KafkaTopics, log: LogReader, offsets: GroupOffsets) -> None:
        self._topics = topics
        self._log = log
        self._offsets = offsets
        self._position: Position | None = None
        self._known: dict[str, tuple[str, Headers]] = {}
        self._reading = asyncio.Lock()
        self._to_mirror: dict[str, str] = {}
        self._mirroring: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Make the topic where it is missing. Raises LogUnavailable."""
        if self._topics.get(RESERVED) is None:
            await self._topics.ensure(RESERVED, TopicSettings(compact=True), extra=TOPIC_CONFIG)

    def record(self, group: str, token: str) -> Record:
        """The record that commits `token`; its header distinguishes it from every other."""
        return Record(RESERVED, token.encode(), group.encode(), ((ID_HEADER, uuid.uuid4().bytes),), partition=0)

    async def settle(self) -> None:
        """Wait until every token written before this call can be read: transactions of other groups may be open, and
        reading stops at the first of them. Raises LogUnavailable."""
        places = [(RESERVED, 0)]
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        try:
            written = await self._topics.ends_at(places, LATEST, committed=False)
            while (await self._topics.ends_at(places, LATEST))[places[0]] < written[places[0]]:
                if time.monotonic() > deadline:
                    raise LogUnavailable(
                        f"Positions of groups cannot be read: a transaction is open for {SETTLE_SECONDS_MAX:g} s.",
                        hint="Try again: the brokers end it when its time is over.",
                    )
                await asyncio.sleep(SETTLE_PAUSE_SECONDS)
        except TopicUnknown:
            # Nothing was ever committed.
            return

    async def of(self, group: str) -> str | None:
        """The last committed token. Raises LogUnavailable."""
        await self._read()
        found = self._known.get(group)
        return found[0] if found else None

    async def mark_of(self, group: str) -> Headers:
        """The headers of the last record that committed a token of the group."""
        await self._read()
        found = self._known.get(group)
        return found[1] if found else ()

    async def groups(self) -> list[str]:
        """The groups that have committed a token, sorted."""
        await self._read()
        return sorted(self._known)

    def show(self, group: str, token: str) -> None:
        """Give the consumer group of this name the token's offsets, soon."""
        self._to_mirror[group] = token
        if self._mirroring is None or self._mirroring.done():
            self._mirroring = asyncio.get_running_loop().create_task(self._mirror(), name="headwater-log-groups")

    async def close(self) -> None:
        """Show what has not been shown, and forget."""
        if self._mirroring is not None:
            self._mirroring.cancel()
            await asyncio.gather(self._mirroring, return_exceptions=True)
            self._mirroring = None
        self._mirror_once()
        await asyncio.get_running_loop().run_in_executor(None, self._offsets.close, MIRROR_SECONDS_MAX)
        self._known.clear()
        self._position = None

    async def _read(self) -> None:
        async with self._reading:
            try:
                await self._read_on()
            except TopicUnknown:
                # Nothing was ever committed.
                self._known, self._position = {}, None
            except PositionLost:
                # The topic was emptied by another program: what is there now is valid.
                self._known, self._position = {}, None
                await self._read_on()

    async def _read_on(self) -> None:
        position = self._position or await self._log.first([RESERVED])
        while found := await self._log.read(position, records_max=READ_RECORDS):
            for record in found:
                if record.key is not None:
                    self._known[record.key.decode()] = (record.value.decode(), record.headers)
            position = position.after(found[-1])
        self._position = position

    async def _mirror(self) -> None:
        while self._to_mirror:
            # Where brokers are slow, or groups many, the last tokens of all are enough.
            if not self._offsets.is_behind:
                self._mirror_once()
            await asyncio.sleep(MIRROR_SECONDS)

    def _mirror_once(self) -> None:
        wanted, self._to_mirror = self._to_mirror, {}
        for group, token in wanted.items():
            # A token that is not a position has no offsets to show.
            with contextlib.suppress(TokenInvalid):
                if partitions := self._topics.partitions_of(Position.parse(token)):
                    self._offsets.commit(group, partitions)
