"""Measures what one dead sink of twenty does to the write latency of the others: refused, silent, slow, or blocking.

Every sink runs as in the platform, on a thread of its own; nineteen fill tables of SQLite files at a fixed pace. Runs
with a healthy and with a dead twentieth alternate; the ratio of the 99th percentiles of the nineteen is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from headwater.connectors.contract import Column, Delivery, Sink, TableShape
from headwater.connectors.isolated import IsolatedSink, isolated
from headwater.connectors.secrets import Secrets
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.errors import SinkUnavailable

SINKS = 20
ROWS = 100
PAUSE_SECONDS = 0.05
CALL_SECONDS_MAX = 0.5
SHAPE = TableShape("rows", (Column("n", "integer", "n"), Column("text", "text", "text")), ("n",))
WAYS = ("refuses", "is silent", "is slow", "blocks")


class DeadSink:
    """Fails in one way."""

    def __init__(self, way: str, release: threading.Event, healthy: SqliteSink) -> None:
        self.features = healthy.features
        self._healthy = healthy
        self._way = way
        self._release = release

    async def open(self) -> str | None:
        await self._fail()
        return await self._healthy.open()

    def check(self, delivery: Delivery) -> None:
        self._healthy.check(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        await self._fail()

    async def close(self) -> None:
        await self._healthy.close()

    async def _fail(self) -> None:
        match self._way:
            case "refuses":
                raise SinkUnavailable("refused")
            case "is silent":
                await asyncio.sleep(3600)
            case "is slow":
                await asyncio.sleep(0.4)
            case "blocks":
                # As a driver does that has no asynchronous calls.
                self._release.wait(30)


async def fill(sink: IsolatedSink, until: float, latencies: list[float] | None) -> None:
    """Write batches at a fixed pace, opening again after an error, as a runner does."""
    number, is_open = 0, False
    while time.perf_counter() < until:
        began = time.perf_counter()
        try:
            if not is_open:
                await sink.open()
                is_open = True
            rows = [Delivery({"n": (number + row) % 5_000, "text": "x" * 100}) for row in range(ROWS)]
            await sink.write(rows, f"token {number}")
            number += ROWS
            if latencies is not None:
                latencies.append(time.perf_counter() - began)
        except SinkUnavailable:
            is_open = False
        await asyncio.sleep(PAUSE_SECONDS)


async def p99(way: str | None, seconds: float, directory: Path) -> float:
    """The 99th percentile of the nineteen, in seconds; `way`: how the twentieth is dead."""
    release = threading.Event()

    def new(index: int) -> Sink:
        made = SqliteSink(directory / f"{index}.db", SHAPE)
        return made if way is None or index else DeadSink(way, release, made)

    sinks = [
        isolated(lambda index=index: new(index), str(index), seconds_max=CALL_SECONDS_MAX, secrets=Secrets([]))  # type: ignore[misc]
        for index in range(SINKS)
    ]
    found: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(fill(sink, until, found if index else None) for index, sink in enumerate(sinks)))
    release.set()
    for sink in sinks:
        sink.stop_within(1.0)
    await asyncio.gather(*(sink.close() for sink in sinks))
    return statistics.quantiles(found, n=100)[98]


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    for way in WAYS:
        healthy, dead = list[float](), list[float]()
        for _ in range(asked.rounds):
            for kind, results in ((None, healthy), (way, dead)):
                with tempfile.TemporaryDirectory() as directory:
                    results.append(asyncio.run(p99(kind, asked.seconds, Path(directory))))
        one, other = statistics.median(healthy), statistics.median(dead)
        print(f"{way}: p99 {one * 1000:.1f} ms with a healthy one, {other * 1000:.1f} ms: ratio {other / one:.2f}")


if __name__ == "__main__":
    main()
