"""A sink that fails on demand, in front of any other: for tests of sinks and of their runners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from headwater.connectors.contract import Delivery, SetsAside
from headwater.connectors.spec import TableSink
from headwater.connectors.tables import TableView
from headwater.errors import SinkUnavailable, WriteIncomplete


class Killed(Exception):
    """The simulated end of the process."""


@dataclass(slots=True)
class Faults:
    """Which faults to inject, and what was observed. Shared by sinks that are created one after the other.

    `rejects` returns why an event is rejected permanently; `postpones` whether it must be written again, after the
    pause `asks_seconds`; `breaks` the
    error with which a write of these events ends, of which nothing is written. `back_offs` are the pauses, in seconds,
    that the next writes ask for, `full` those that the next writes ask for about each of their events; `away` is how
    many writes find the target unavailable, `kill` when the next write ends the process, `slow_seconds` how long each
    write takes at least. `attempts` has the time (monotonic clock) and the events of each write.
    """

    rejects: Callable[[Delivery], Exception | None] = lambda delivery: None
    postpones: Callable[[Delivery], bool] = lambda delivery: False
    breaks: Callable[[Sequence[Delivery]], Exception | None] = lambda deliveries: None
    back_offs: list[float] = field(default_factory=list)
    asks_seconds: float = 0.0
    full: list[float] = field(default_factory=list)
    away: int = 0
    kill: Literal["", "before", "after"] = ""
    slow_seconds: float = 0.0
    attempts: list[tuple[float, list[Delivery]]] = field(default_factory=list)


class FaultySink:
    """Forwards to `sink`, with faults."""

    def __init__(self, sink: TableSink, faults: Faults) -> None:
        self._sink = sink
        self._faults = faults
        self.shape = sink.shape
        self.features = sink.features
        self.check = sink.check

    async def open(self) -> str | None:
        return await self._sink.open()

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        faults = self._faults
        faults.attempts.append((time.monotonic(), list(deliveries)))
        await asyncio.sleep(faults.slow_seconds)
        kill, faults.kill = faults.kill, ""
        if kill == "before":
            raise Killed
        if faults.away:
            faults.away -= 1
            raise SinkUnavailable("The target is away.")
        if faults.back_offs:
            raise SinkUnavailable("The target is busy.", back_off_seconds=faults.back_offs.pop(0))
        if faults.full:
            every = range(len(deliveries))
            raise WriteIncomplete(retry=every, back_off_seconds=faults.full.pop(0), message="The target is full.")
        if (error := faults.breaks(deliveries)) is not None:
            raise error
        await self._write(deliveries, token)
        if kill == "after":
            raise Killed

    async def set_aside(self) -> str | None:
        return await self._sink.set_aside() if isinstance(self._sink, SetsAside) else None

    async def close(self) -> None:
        await self._sink.close()

    def view(self, rows_max: int, order: str = "") -> TableView:
        return self._sink.view(rows_max, order)

    async def _write(self, deliveries: Sequence[Delivery], token: str) -> None:
        rejected: dict[int, Exception] = {}
        retry: list[int] = []
        for index, delivery in enumerate(deliveries):
            if (error := self._faults.rejects(delivery)) is not None:
                rejected[index] = error
            elif self._faults.postpones(delivery):
                retry.append(index)
        bad = {*rejected, *retry}
        if not bad or not self.features.token_in_target:
            await self._sink.write([one for index, one in enumerate(deliveries) if index not in bad], token)
        if bad:
            asks_seconds, reason = self._faults.asks_seconds, "The target does not take it now."
            raise WriteIncomplete(rejected=rejected, retry=retry, back_off_seconds=asks_seconds, message=reason)
