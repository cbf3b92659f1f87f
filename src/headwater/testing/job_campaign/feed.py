"""Sends the events of the campaign, in order, and each until it is accepted."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headwater.config import Config
from headwater.intake.outcome import Accepted
from headwater.platform import Platform, build
from headwater.testing.whole_platform.connection import Connection, ConnectionEnded

REQUEST_SECONDS_MAX = 10.0
PAUSE_SECONDS = 0.03
REQUEST_EVENTS_MAX = 12
EVENTS_PER_SECOND = 60.0


# Sends events; whether all of them are accepted now. If not, they are to be sent again.
Send = Callable[[Sequence[dict[str, Any]]], Awaitable[bool]]


class HttpSender:
    """Over HTTP, to the process that serves at the address that `address` returns; None: at present there is none."""

    def __init__(self, address: Callable[[], tuple[str, int] | None]) -> None:
        self._address = address

    async def send(self, events: Sequence[dict[str, Any]]) -> bool:
        if (address := self._address()) is None:
            return False
        connection = Connection(*address, REQUEST_SECONDS_MAX)
        try:
            answer = await connection.request("POST", "/v1/events", json.dumps(list(events)).encode())
        except ConnectionEnded:
            return False
        finally:
            connection.abort()
        if answer.status not in (201, 207, 503):
            raise RuntimeError(f"{answer.status} was answered to events: {answer.body[:300]!r}")
        return answer.status == 201


class LogSender:
    """Straight into the log, which other processes write as well."""

    def __init__(self, config: Config) -> None:
        self._platform: Platform = build(config)

    async def start(self) -> None:
        await self._platform.start(run_jobs=False)

    async def stop(self) -> None:
        await self._platform.stop()

    async def send(self, events: Sequence[dict[str, Any]]) -> bool:
        return all(isinstance(outcome, Accepted) for outcome in await self._platform.intake.write(list(events)))


class Feed:
    """Sends `events` in order, as far as it is allowed to, at about EVENTS_PER_SECOND."""

    def __init__(self, events: Sequence[dict[str, Any]], send: Send, chance: random.Random) -> None:
        self._events = events
        self._send = send
        self._chance = chance
        self._allowed = 0
        self._is_hurried = False
        self.sent = 0

    def allow(self, count: int) -> None:
        """So many of the events may be sent."""
        self._allowed = count

    def hurry(self) -> None:
        """Send all that are left, as fast as possible."""
        self._allowed = len(self._events)
        self._is_hurried = True

    async def run(self) -> None:
        """Ends when all are accepted."""
        while self.sent < len(self._events):
            began = time.monotonic()
            count = REQUEST_EVENTS_MAX * 10 if self._is_hurried else self._chance.randint(1, REQUEST_EVENTS_MAX)
            some = self._events[self.sent : min(self.sent + count, self._allowed)]
            if some and await self._send(some):
                self.sent += len(some)
            else:
                await asyncio.sleep(PAUSE_SECONDS)
            if not self._is_hurried:
                await asyncio.sleep(max(0.0, len(some) / EVENTS_PER_SECOND - (time.monotonic() - began)))
