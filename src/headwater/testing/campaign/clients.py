"""Clients that retry every request until each of its orders is acknowledged or refused, by any server."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field

from headwater.testing.campaign.orders import identifier, is_refused, order_of
from headwater.testing.whole_platform.connection import Answer, Connection, ConnectionEnded

REQUEST_SECONDS_MAX = 4.0
PAUSE_SECONDS = 0.05
BATCH_EVENTS_MAX = 120
# Feed, and the most orders in one request: some feeds are sent by two clients, with equal or with other batches.
CLIENTS = ((0, 60), (0, 60), (1, BATCH_EVENTS_MAX), (1, 40), (2, 1), (3, 30))


@dataclass(slots=True)
class Sent:
    """What the clients know: ids of orders, and for refused ones how often they were sent and refused."""

    base_ms: int
    numbers: dict[int, int] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    refused_sent: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    repeated: int = 0
    problems: list[str] = field(default_factory=list)


class Clients:
    """All clients of a campaign; `serve_at` gives them the current address of the server."""

    def __init__(self, seed: int, base_ms: int) -> None:
        self.sent = Sent(base_ms)
        self._seed = seed
        self._address: tuple[str, int] | None = None
        self._changed = asyncio.Event()
        self._finishing = False

    def serve_at(self, address: tuple[str, int] | None) -> None:
        """None: there is no server at present."""
        self._address = address
        if address is None:
            self._changed.clear()
        else:
            self._changed.set()

    def finish(self) -> None:
        """Let every client end after its current request."""
        self._finishing = True

    async def run(self) -> None:
        """Wait until they have finished."""
        await asyncio.gather(*(self._run(number, *client) for number, client in enumerate(CLIENTS)))

    async def _run(self, client: int, feed: int, batch_max: int) -> None:
        chance = random.Random(f"{self._seed}/{client if batch_max != CLIENTS[0][1] else feed}")
        number = 0
        while not self._finishing:
            count = chance.randint(1, batch_max)
            await self._deliver(feed, range(number, number + count))
            number += count
            self.sent.numbers[feed] = max(number, self.sent.numbers.get(feed, 0))

    async def _deliver(self, feed: int, numbers: range) -> None:
        left = {identifier(feed, number): number for number in numbers}
        connection: Connection | None = None
        first = True
        while left:
            await self._changed.wait()
            address = self._address
            if address is None:
                continue
            connection = connection or Connection(*address, REQUEST_SECONDS_MAX)
            orders = [order_of(feed, number, self.sent.base_ms) for number in left.values()]
            self.sent.requests += 1
            self.sent.repeated += not first
            first = False
            self.sent.refused_sent.update(name for name, number in left.items() if is_refused(number))
            try:
                answer = await connection.request("POST", "/v1/events", json.dumps(orders).encode())
            except ConnectionEnded:
                connection = None
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if not self._settle(answer, left):
                await asyncio.sleep(PAUSE_SECONDS)
        if connection is not None:
            connection.abort()

    def _settle(self, answer: Answer, left: dict[str, int]) -> bool:
        """Remove from `left` what was decided; returns whether anything was."""
        if answer.status not in (201, 207, 400):
            if answer.status not in (503, 507):
                self._problem(f"{answer.status} was answered to orders: {answer.body[:300]!r}")
            return False
        lists = json.loads(answer.body) if answer.body else {}
        invalid = {entry["event"]["meta"]["id"] for entry in lists.get("invalid", ())}
        # Orders that could not be stored are sent again.
        failed = {entry["event"]["meta"]["id"] for entry in lists.get("error", ())}
        for name in [name for name in left if name not in failed]:
            number = left.pop(name)
            if is_refused(number) != (name in invalid):
                self._problem(f"{name} was {'refused' if name in invalid else 'accepted'} with {answer.status}")
            elif name in invalid:
                self.sent.refusals[name] += 1
            else:
                self.sent.accepted.add(name)
        return len(failed) < len(left) + 1

    def _problem(self, text: str) -> None:
        if len(self.sent.problems) < 50:
            self.sent.problems.append(text)
