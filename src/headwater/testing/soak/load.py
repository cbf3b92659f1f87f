"""The steady load of a soak test: producers on a schedule, and the latency of responses and of `/healthz`."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field

from headwater.testing.whole_platform.connection import Connection, ConnectionEnded
from headwater.testing.whole_platform.project import ORDERS, SCHEMA_URI
from headwater.times import ms_of, utc_seconds

PRODUCERS = 4
BATCH_EVENTS = 50
SHOPS = 20
SLOTS = 5_000
HEALTH_PERIOD_SECONDS = 0.1
LATENCIES_MAX = 2_000_000
_EVENT = (
    b'{"$schema":"%b","meta":{"stream":"%b","id":"%%b-%%d"},"dt":"%%b","shop":"shop%%d","slot":%%d,"amount":%%d}'
    % (SCHEMA_URI.encode(), ORDERS.encode())
)


@dataclass(slots=True)
class Observed:
    """What clients saw: (seconds since the start, latency in seconds) of each response, and wrong responses."""

    accepted: int = 0
    latencies: list[tuple[float, float]] = field(default_factory=list)
    health: list[tuple[float, float]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)


class Load:
    """Orders at a rate, from producers that each wait for the response; one that falls behind continues without a
    pause.
    """

    def __init__(self, address: tuple[str, int], observed: Observed, started: float) -> None:
        self._address = address
        self._observed = observed
        self._started = started
        self._numbers = itertools.count()
        self._name = f"{time.time_ns():x}".encode()

    async def run(self, events_per_second: float) -> None:
        """Run until it is cancelled; `inf`: as fast as they are answered."""
        period = PRODUCERS * BATCH_EVENTS / events_per_second
        await asyncio.gather(*(self._produce(period, period * n / PRODUCERS) for n in range(PRODUCERS)))

    async def watch_health(self) -> None:
        """Request `/healthz` again and again, until it is cancelled."""
        connection = Connection(*self._address)
        try:
            while True:
                before = time.monotonic()
                try:
                    status = (await connection.request("GET", "/healthz")).status
                except ConnectionEnded as error:
                    status = 0
                    self._observed.faults[f"/healthz: {error}"] += 1
                if status not in (0, 200):
                    self._observed.faults[f"/healthz was answered {status}"] += 1
                after = time.monotonic()
                self._observed.health.append((after - self._started, after - before))
                await asyncio.sleep(HEALTH_PERIOD_SECONDS)
        finally:
            connection.abort()

    async def _produce(self, period_seconds: float, first_seconds: float) -> None:
        connection = Connection(*self._address)
        due = time.monotonic() + first_seconds
        try:
            while True:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self._post(connection)
                # Missed requests are not sent later: that would change the load.
                due = max(due + period_seconds, time.monotonic() - period_seconds)
        finally:
            connection.abort()

    async def _post(self, connection: Connection) -> None:
        body = self._batch()
        before = time.monotonic()
        try:
            status = (await connection.request("POST", "/v1/events", body)).status
        except ConnectionEnded as error:
            self._observed.faults[f"a producer: {error}"] += 1
            return
        after = time.monotonic()
        if status == 201:
            self._observed.accepted += BATCH_EVENTS
        else:
            self._observed.faults[f"events were answered {status}"] += 1
        if len(self._observed.latencies) < LATENCIES_MAX:
            self._observed.latencies.append((after - self._started, after - before))

    def _batch(self) -> bytes:
        dt = utc_seconds(ms_of(time.time())).encode()
        numbers = itertools.islice(self._numbers, BATCH_EVENTS)
        return b"[" + b",".join(_EVENT % (self._name, n, dt, n % SHOPS, n % SLOTS, n % 97) for n in numbers) + b"]"
