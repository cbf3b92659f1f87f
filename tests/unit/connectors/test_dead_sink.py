"""One dead sink of twenty does not delay the writes of the others."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from headwater.connectors import isolated as isolation
from headwater.connectors.contract import Column, Delivery, Sink, TableShape
from headwater.connectors.isolated import IsolatedSink, SinkThread, isolated
from headwater.connectors.secrets import Secrets
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.errors import SinkUnavailable

SINKS = 20
ROWS = 20
PAUSE_SECONDS = 0.02
CALL_SECONDS = 0.15
PHASE_SECONDS = 0.6
# Long after the call has been given up.
HANGING_SECONDS = PHASE_SECONDS
# What is wanted: with a dead one, the 99th percentile of the others is less than a tenth larger.
RATIO_MAX = 1.10
# Phases with a healthy and a dead twentieth sink alternate, and each pair gives a ratio. A percentile of so few writes
# is noisy, so one pair says little, and the test does not measure the true ratio: it fails where seven of eight pairs
# speak against what is wanted. If the true ratio is at most RATIO_MAX, each pair is above it with a chance of
# at most one half, and at least seven of eight are with one of 9/256; noise of a ratio of 1, at which perhaps a third
# of the pairs are above it, does so in one of 400 runs. Sinks that do wait for the dead one have a ratio of ten.
PAIRS = 8
PAIRS_ABOVE_MAX = 6
SHAPE = TableShape("rows", (Column("n", "integer", "n"), Column("text", "text", "text")), ("n",))


class DyingSink(SqliteSink):
    """Fails in each way in turn while `is_dead`: blocks its event loop, refuses, is silent, or hangs in a thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SHAPE)
        self.is_dead = threading.Event()
        self._ways = itertools.cycle(("blocks", "refuses", "is silent", "hangs"))

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        if not self.is_dead.is_set():
            return await super().write(deliveries, token)
        match next(self._ways):
            case "is silent":
                await asyncio.sleep(3600)
            case "hangs":
                await asyncio.to_thread(threading.Event().wait, HANGING_SECONDS)
            case "blocks":
                threading.Event().wait(HANGING_SECONDS)
        raise SinkUnavailable("dead")


class Fleet:
    """Twenty sinks, each on a thread of its own, of which the first can die."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_dead = False
        self._dying: list[DyingSink] = []
        self._number = 0
        self._sinks = [self._isolated(index) for index in range(SINKS)]

    async def p99(self, *, is_dead: bool) -> float:
        """The 99th percentile of how long a write of the others takes, in seconds, also if it fails."""
        self._is_dead = is_dead
        for dying in self._dying:
            (dying.is_dead.set if is_dead else dying.is_dead.clear)()
        until = time.perf_counter() + PHASE_SECONDS
        _, *others = await asyncio.gather(*(self._fill(sink, until) for sink in self._sinks))
        return statistics.quantiles([seconds for one in others for seconds in one], n=100)[98]

    async def close(self) -> None:
        for sink in self._sinks:
            await sink.close()

    def _isolated(self, index: int) -> IsolatedSink:
        return isolated(lambda: self._new(index), str(index), seconds_max=CALL_SECONDS, secrets=Secrets([]))

    def _new(self, index: int) -> Sink:
        path = self._directory / f"{index}.db"
        if index:
            return SqliteSink(path, SHAPE)
        self._dying.append(DyingSink(path))
        if self._is_dead:
            self._dying[-1].is_dead.set()
        return self._dying[-1]

    async def _fill(self, sink: IsolatedSink, until: float) -> list[float]:
        """Write batches at a fixed pace, opening the sink again after an error, as a job does."""
        found: list[float] = []
        is_open = False
        while time.perf_counter() < until:
            self._number += ROWS
            rows = [Delivery({"n": (self._number + row) % 1_000, "text": "x" * 100}) for row in range(ROWS)]
            began = time.perf_counter()
            try:
                if not is_open:
                    await sink.open()
                    is_open = True
                    began = time.perf_counter()
                await sink.write(rows, f"token {self._number}")
            except SinkUnavailable:
                is_open = False
            found.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE_SECONDS)
        return found


async def ratios(directory: Path, pairs: int) -> list[float]:
    """Of each pair of phases, what the dead one makes of the 99th percentile of the others."""
    fleet = Fleet(directory)
    try:
        await fleet.p99(is_dead=False)  # opens them
        found = []
        for number in range(pairs):
            # In either order, because a machine may become slower or faster.
            by_phase = {is_dead: await fleet.p99(is_dead=is_dead) for is_dead in (number % 2 == 1, number % 2 == 0)}
            found.append(by_phase[True] / by_phase[False])
        return found
    finally:
        await fleet.close()


def above(found: Sequence[float]) -> int:
    return sum(ratio > RATIO_MAX for ratio in found)


@pytest.mark.measures
async def test_with_a_dead_sink_the_99th_percentile_of_the_others_is_a_tenth_larger_in_six_of_eight_pairs_at_most(
    tmp_path: Path,
) -> None:
    found = await ratios(tmp_path, PAIRS)
    assert above(found) <= PAIRS_ABOVE_MAX, sorted(found)


@pytest.mark.measures
async def test_sinks_that_share_a_thread_with_a_dead_one_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[SinkThread] = []

    class SharedThread(SinkThread):
        def __new__(cls, name: str) -> SharedThread:
            if not shared:
                shared.append(super().__new__(cls))
            return shared[0]  # type: ignore[return-value]

        def __init__(self, name: str) -> None:
            if not hasattr(self, "_loop"):
                super().__init__(name)

        def end(self) -> None:
            """The others still need it."""

    monkeypatch.setattr(isolation, "SinkThread", SharedThread)
    found = await ratios(tmp_path, 4)
    assert statistics.median(found) > RATIO_MAX, sorted(found)
