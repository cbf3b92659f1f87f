"""A sink whose driver hangs delays nobody else, is given up after a time, and recovers by itself."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from headwater.connectors.contract import Column, Delivery, Sink, SinkFeatures, TableShape
from headwater.connectors.isolated import IsolatedSink, IsolatedTable, isolated
from headwater.connectors.secrets import Secrets
from headwater.errors import SinkUnavailable, WriterFenced
from headwater.foreign import Escaped
from headwater.testing.memory_sink import WITH_TOKEN, MemorySink, MemoryTarget

SHAPE = TableShape("numbers", (Column("n", "integer", "n"),), ("n",))
ROWS = [Delivery({"n": 1})]
CALL_SECONDS = 0.2
# Bounds only a test that fails.
SECONDS_MAX = 30.0


class Driver:
    """Hangs while `hangs` is set, in one of the ways in which drivers do. `release` ends all calls that hang."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.hangs = False
        self.release = threading.Event()
        self.own = ThreadPoolExecutor(1)

    async def call(self) -> None:
        if not self.hangs:
            return
        match self.way:
            case "in its own thread":
                await asyncio.get_running_loop().run_in_executor(self.own, self.release.wait)
            case "in a thread of the loop":
                await asyncio.to_thread(self.release.wait)
            case "in the loop":
                self.release.wait()
            case "and ignores that it is cancelled":
                while not self.release.is_set():
                    try:
                        await asyncio.sleep(0.01)
                    except asyncio.CancelledError:
                        continue
            case "in a thread that is no daemon":
                threading.Thread(target=self.release.wait, daemon=False).start()
                await asyncio.sleep(3600)
            case "asynchronously":
                await asyncio.sleep(3600)


WAYS = [
    "in its own thread",
    "in a thread of the loop",
    "in the loop",
    "in a thread that is no daemon",
    "and ignores that it is cancelled",
    "asynchronously",
]


class HangingSink(MemorySink):
    """A table in memory, behind a driver."""

    def __init__(self, target: MemoryTarget, driver: Driver) -> None:
        super().__init__(target, SHAPE)
        self.driver = driver

    async def open(self) -> str | None:
        await self.driver.call()
        return await super().open()

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        await self.driver.call()
        await super().write(deliveries, token)

    async def close(self) -> None:
        await self.driver.call()
        await super().close()


@pytest.fixture(params=WAYS)
def drivers(request: pytest.FixtureRequest) -> Iterator[Callable[[], Driver]]:
    """Makes drivers that hang in one way."""
    made: list[Driver] = []

    def new() -> Driver:
        made.append(Driver(request.param))
        return made[-1]

    yield new
    for driver in made:
        driver.release.set()


def sink_on(new_sink: Callable[[], Sink], secrets: Secrets | None = None) -> IsolatedSink:
    return isolated(new_sink, "sink.numbers", seconds_max=CALL_SECONDS, secrets=secrets or Secrets([]))


async def test_a_call_that_hangs_is_given_up_and_the_next_one_succeeds(drivers: Callable[[], Driver]) -> None:
    target, made = MemoryTarget(WITH_TOKEN), list[Driver]()

    def new_sink() -> Sink:
        made.append(drivers())
        return HangingSink(target, made[-1])

    sink = sink_on(new_sink)
    assert await sink.open() is None
    await sink.write(ROWS, "token 1")
    made[0].hangs = True
    with pytest.raises(SinkUnavailable, match=r"sink\.numbers: its target has not answered for 0\.2 s"):
        await asyncio.wait_for(sink.write([Delivery({"n": 2})], "token 2"), SECONDS_MAX)
    assert await sink.open() == "token 1"
    await sink.write([Delivery({"n": 2})], "token 2")
    assert isinstance(sink, IsolatedTable)
    assert sorted(row[0] for row in sink.view(10).rows) == [1, 2]
    await sink.close()


async def test_neither_the_event_loop_nor_another_sink_waits(drivers: Callable[[], Driver]) -> None:
    driver = drivers()
    driver.hangs = True
    bad = isolated(
        lambda: HangingSink(MemoryTarget(), driver), "sink.bad", seconds_max=SECONDS_MAX, secrets=Secrets([])
    )
    good = sink_on(lambda: MemorySink(MemoryTarget(), SHAPE))
    opening = asyncio.create_task(bad.open())
    await good.open()
    for number in range(20):
        await asyncio.wait_for(good.write(ROWS, str(number)), CALL_SECONDS)
    assert not opening.done()
    # Others use the threads of the event loop.
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), SECONDS_MAX) == 1
    bad.stop_within(0)
    with pytest.raises(SinkUnavailable):
        await asyncio.wait_for(opening, SECONDS_MAX)
    await good.close()


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_stop_is_bounded(drivers: Callable[[], Driver], is_running: bool) -> None:
    driver = drivers()
    sink = isolated(
        lambda: HangingSink(MemoryTarget(), driver), "sink.numbers", seconds_max=SECONDS_MAX, secrets=Secrets([])
    )
    await sink.open()
    driver.hangs = True
    began = time.monotonic()
    writing = asyncio.create_task(sink.write(ROWS, "token"))
    if is_running:
        await asyncio.sleep(0.05)
    sink.stop_within(0.1)
    with pytest.raises(SinkUnavailable):
        await writing
    await sink.close()
    assert time.monotonic() - began < SECONDS_MAX / 2


async def test_whatever_a_sink_raises_arrives() -> None:
    class Odd(MemorySink):
        async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
            raise {"fenced": WriterFenced("by another"), "value": ValueError("odd"), "exit": SystemExit(3)}[token]

    sink = sink_on(lambda: Odd(MemoryTarget(), SHAPE))
    await sink.open()
    for token, kind in (("fenced", WriterFenced), ("value", ValueError), ("exit", Escaped)):
        with pytest.raises(kind):
            await sink.write(ROWS, token)
    await sink.close()
    # It is opened again after it was closed.
    await sink.open()
    await sink.close()


def test_a_sink_that_cannot_be_read_is_no_table() -> None:
    class Blind:
        features = SinkFeatures(token_in_target=False, upsert=False, reads_back=False)

        async def open(self) -> str | None:
            return None

        def check(self, delivery: Delivery) -> None: ...

        async def write(self, deliveries: Sequence[Delivery], token: str) -> None: ...

        async def close(self) -> None: ...

    assert not hasattr(sink_on(Blind), "view")


HANGING = """
import asyncio, os, signal, sys, threading
from tests.unit.connectors.test_isolated import Driver, HangingSink, sink_on
from headwater.connectors.isolated import exit_process
from headwater.errors import SinkUnavailable
from headwater.testing.memory_sink import MemoryTarget

async def main():
    driver = Driver(sys.argv[1])
    sink = sink_on(lambda: HangingSink(MemoryTarget(), driver))
    await sink.open()
    driver.hangs = True
    try:
        await sink.write([], "token")
    except SinkUnavailable:
        print("given up")

asyncio.run(main())
"""
# How a process ends, the status that it then has, and the end of what it prints about it.
ENDS = (
    ("", 0, ""),
    ("sys.exit(1)", 1, ""),
    ("exit_process(4)", 4, ""),
    ("raise SystemExit(3)", 3, ""),
    ("sys.exit('no more')", 1, "no more\n"),
    ("raise ValueError('odd')", 1, "ValueError: odd\n"),
    ("os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()", -signal.SIGTERM, ""),
    ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); os.kill(os.getpid(), signal.SIGTERM)", 7, ""),
)


@pytest.mark.parametrize("way", ["in its own thread", "in a thread that is no daemon"])
def test_a_thread_that_hangs_in_a_driver_neither_keeps_the_process_nor_changes_its_status(way: str) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", f"{HANGING}\n{end}", way], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for end, _, _ in ENDS
    ]
    heard = [process.communicate(timeout=60) for process in running]
    for process, (end, status, said), (printed, errors) in zip(running, ENDS, heard, strict=True):
        assert (end, process.returncode) == (end, status), errors
        # What is in a buffer is written at the end of a process that is not killed.
        assert printed == "given up\n" or status < 0
        assert errors.endswith(said) if said else not errors, errors
