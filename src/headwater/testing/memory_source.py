"""A source in memory, for tests: an upstream with partitions, read as a snapshot first and then as a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from headwater.connectors.contract import Delivery, Phase, SourceBatch, SourceFeatures
from headwater.errors import LogUnavailable, PositionLost, TokenInvalid

TIMESTAMP_MS = 1_750_000_000_000
# Partition → where its snapshot ends, and up to where it was read; both count from its first event.
Places = Mapping[str, tuple[int, int]]


class MemoryPlace:
    """The upstream of sources: the changes of each partition, which are deleted when they are confirmed."""

    def __init__(self, partitions: Sequence[str] = ("",)) -> None:
        self.changes: dict[str, list[Mapping[str, Any]]] = {name: [] for name in partitions}
        self.forgotten: dict[str, int] = dict.fromkeys(partitions, 0)
        self.came = asyncio.Event()

    def put(self, event: Mapping[str, Any], partition: str) -> None:
        self.changes[partition].append(event)
        self.came.set()


class MemorySource:
    """Reads a place. The snapshot is what a partition has when it is first opened; its changes follow.

    A token is JSON: partition → where its snapshot ends, and up to where it was read.
    """

    def __init__(self, place: MemoryPlace) -> None:
        self.features = SourceFeatures(
            partitions=len(place.changes) > 1,
            snapshot=True,
            forgets=True,
            seeks_time=True,
            seeks_position="numbers of events, such as `a=3,b=2`",
        )
        self._place = place
        self._at: Places | None = None

    async def partitions(self) -> Sequence[str]:
        return tuple(self._place.changes)

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        known = _parsed(token) if token is not None else {}
        place = self._place
        wanted = [name for name in place.changes if partitions is None or name in partitions]
        at = {name: known.get(name, (len(place.changes[name]), place.forgotten[name])) for name in wanted}
        for name, (_, read) in at.items():
            if read < place.forgotten[name]:
                raise PositionLost(f"Of the partition {name!r} everything before {place.forgotten[name]} is gone.")
        self._at = at

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            before = self._opened()
            self._place.came.clear()
            phase: Phase = "snapshot" if any(read < end for end, read in before.values()) else "stream"
            some = self._next(before, phase, deliveries_max)
            if some or loop.time() >= deadline:
                break
            try:
                await asyncio.wait_for(self._place.came.wait(), deadline - loop.time())
            except TimeoutError:
                continue
        self._at = _behind(before, some)
        deliveries = [self._delivery(name, number) for name, number in some]
        return SourceBatch(deliveries, _tokens(before, some), phase)

    async def confirm(self, token: str) -> None:
        for name, (_, read) in _parsed(token).items():
            self._place.forgotten[name] = max(read, self._place.forgotten[name])

    async def token_at(self, timestamp_ms: int) -> str:
        place = self._place
        number = max(0, timestamp_ms - TIMESTAMP_MS)
        ends = {name: min(len(changes), max(number, place.forgotten[name])) for name, changes in place.changes.items()}
        return json.dumps({name: (0, end) for name, end in ends.items()})

    async def token_of(self, position: str) -> str:
        try:
            numbers = {name: int(number) for name, number in (part.split("=") for part in position.split(","))}
        except ValueError:
            raise TokenInvalid(f"{position!r} is no position of this source.") from None
        return json.dumps({name: (0, number) for name, number in numbers.items()})

    async def upstream_lag(self) -> int | None:
        return sum(len(self._place.changes[name]) - read for name, (_, read) in self._opened().items())

    async def probe(self) -> Sequence[str]:
        return [f"It has {len(self._place.changes)} partitions."]

    async def close(self) -> None:
        self._at = None

    def _next(self, at: Places, phase: Phase, count: int) -> list[tuple[str, int]]:
        """The next events, partition and number: of the snapshots first, and nothing else before they end."""
        found = []
        for name, (end, read) in at.items():
            until = end if phase == "snapshot" else len(self._place.changes[name])
            found += [(name, number) for number in range(read, until)]
        return found[:count]

    def _delivery(self, name: str, number: int) -> Delivery:
        event = self._place.changes[name][number]
        return Delivery(event, event["meta"]["id"], "memory", TIMESTAMP_MS + number, name)

    def _opened(self) -> Places:
        if self._at is None:
            raise LogUnavailable("The source is not open.")
        return self._at


def _behind(at: Places, some: Sequence[tuple[str, int]]) -> Places:
    read = {name: number + 1 for name, number in some}
    return {name: (end, read.get(name, before)) for name, (end, before) in at.items()}


def _tokens(at: Places, some: Sequence[tuple[str, int]]) -> Callable[[int], str]:
    def token_after(count: int) -> str:
        if not 0 <= count <= len(some):
            raise ValueError(f"The batch has {len(some)} deliveries, not {count}.")
        return json.dumps(_behind(at, some[:count]))

    return token_after


def _parsed(token: str) -> dict[str, tuple[int, int]]:
    try:
        return {str(name): (int(end), int(read)) for name, (end, read) in json.loads(token).items()}
    except (ValueError, TypeError, AttributeError):
        raise TokenInvalid(f"{token!r} is no token of this source.") from None
