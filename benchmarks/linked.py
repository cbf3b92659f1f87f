"""What it costs that processes of the platform leave the writing of the embedded log to one: over a link, or inside."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

import figures
import sample
from headwater.log.contract import Commit, Log, Record, TopicSettings
from headwater.log.sqlite.linked import LinkedLog
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.serving import LogSession
from headwater.process_link.link import Link

TOPIC, INTAKE = "benchmark", "intake"
VALUES = [json.dumps(event, separators=(",", ":")).encode()[:1_000] for event in sample.events()]
APPEND, FOLLOW = "benchmark.append", "benchmark.follow"
APPENDS_BETWEEN = 0.02


async def append(log: Log, per_commit: int, seconds: float) -> tuple[int, float]:
    """As a job does, one commit after another: how many events, and the CPU seconds of this process."""
    count, cpu = 0, time.process_time()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # As jobs do, records are made for each commit.
        made = [Record(TOPIC, VALUES[number % len(VALUES)]) for number in range(count, count + per_commit)]
        await log.append(made, commit=Commit("job", str(count)))
        count += per_commit
    return count, time.process_time() - cpu


async def follow(log: Log, count: int) -> list[float]:
    """The age of `count` records when they can be read, in seconds."""
    position, ages = await log.last([INTAKE]), list[float]()
    while len(ages) < count:
        for record in await log.read(position, wait_seconds=10.0):
            ages.append(time.monotonic() - float(record.value))
            position = position.after(record)
    return ages


async def child(path: Path, descriptor: int) -> None:
    """Append or read as told."""
    link = Link(socket.socket(fileno=descriptor))
    log = LinkedLog(path, link)

    async def append_here(payload: bytes) -> bytes:
        return json.dumps(await append(log, *json.loads(payload))).encode()

    async def follow_here(payload: bytes) -> bytes:
        return json.dumps(await follow(log, int(payload))).encode()

    link.handle(APPEND, append_here)
    link.handle(FOLLOW, follow_here)
    await link.start()
    await log.open()
    await asyncio.wait([link.closed])
    await log.close()
    await link.close()


@contextlib.asynccontextmanager
async def linked(log: SqliteLog, path: Path) -> AsyncIterator[Link]:
    """A child with a link to the log."""
    here, there = socket.socketpair()
    link = Link(here)
    LogSession(log, link)
    arguments = ["--child", str(there.fileno()), "--folder", str(path)]
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, pass_fds=[there.fileno()])
    there.close()
    await link.start()
    try:
        yield link
    finally:
        await link.close()
        await process.wait()


async def cpu_over_link(link: Link, per_commit: int, seconds: float) -> tuple[int, float, float]:
    """Events, and the CPU seconds here and there."""
    cpu = time.process_time()
    count, there = json.loads(await link.call(APPEND, json.dumps([per_commit, seconds]).encode()))
    return count, time.process_time() - cpu, there


async def measure_costs(log: SqliteLog, link: Link, options: argparse.Namespace) -> None:
    lines = []
    for per_commit in (1, 10, 100, 500):
        figures.progress(f"{per_commit} per commit")
        inside, here, there, ratios, rates = [], [], [], [], []
        for _ in range(options.rounds):
            count, cpu = await append(log, per_commit, options.seconds)
            inside.append(cpu / count * 1e6)
            rates.append(count / options.seconds)
            count, cpu, cpu_there = await cpu_over_link(link, per_commit, options.seconds)
            here.append(cpu / count * 1e6)
            there.append(cpu_there / count * 1e6)
            ratios.append((here[-1] + there[-1]) / inside[-1])
            rates[-1] = count / options.seconds / rates[-1]
        middle = [f"{statistics.median(each):.1f}" for each in (inside, here, there)]
        lines.append([str(per_commit), *middle, figures.spread(ratios), figures.spread(rates)])
    head = ["events per commit", "CPU µs each, inside", "over the link: here", "there", "CPU ratio", "rate ratio"]
    figures.table(head, lines)


async def send(log: SqliteLog, seconds: float) -> list[float]:
    """As an intake does: one event at a time, whose value is the time; how long each append took."""
    took, end = [], time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        await log.append([Record(INTAKE, repr(now).encode())])
        took.append(time.monotonic() - now)
        await asyncio.sleep(APPENDS_BETWEEN)
    return took


async def measure_latency(log: SqliteLog, link: Link, options: argparse.Namespace) -> None:
    count = int(options.seconds / APPENDS_BETWEEN / 2)
    ages: dict[str, list[float]] = {"inside": [], "over the link": []}
    for _ in range(options.rounds):
        reading = asyncio.ensure_future(follow(log, count))
        await asyncio.gather(reading, send(log, options.seconds))
        ages["inside"] += reading.result()
        calling = asyncio.ensure_future(link.call(FOLLOW, str(count).encode()))
        while not calling.done():
            await send(log, options.seconds / 4)
        ages["over the link"] += json.loads(calling.result())
    figures.table(
        ["from append to read by a waiting reader", "p50 ms", "p99 ms"],
        [[name, *_ms(each)] for name, each in ages.items()],
    )


async def measure_intake(log: SqliteLog, link: Link, options: argparse.Namespace) -> None:
    took: dict[str, list[float]] = {"nothing else": [], "jobs inside": [], "jobs over the link": []}
    for _ in range(options.rounds):
        took["nothing else"] += await send(log, options.seconds)
        mine, _ = await asyncio.gather(send(log, options.seconds), append(log, 500, options.seconds))
        took["jobs inside"] += mine
        mine, _ = await asyncio.gather(send(log, options.seconds), cpu_over_link(link, 500, options.seconds))
        took["jobs over the link"] += mine
    figures.table(
        ["append of one event, meanwhile", "p50 ms", "p99 ms"], [[name, *_ms(each)] for name, each in took.items()]
    )


def _ms(values: list[float]) -> list[str]:
    return [f"{figures.percentile(values, share) * 1000:.2f}" for share in (0.5, 0.99)]


async def run(options: argparse.Namespace) -> None:
    """Measure on one log and one child."""
    with tempfile.TemporaryDirectory(prefix="headwater-benchmark-", dir=options.folder) as folder:
        path = Path(folder) / "events.db"
        log = SqliteLog(path, durability=options.durability)
        await log.open()
        for topic in (TOPIC, INTAKE):
            await log.ensure_topic(topic, TopicSettings())
        async with linked(log, path) as link:
            await measure_costs(log, link, options)
            await measure_latency(log, link, options)
            await measure_intake(log, link, options)
        await log.close()


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--durability", choices=("fsync", "os"), default="fsync")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of each measurement")
    parser.add_argument("--folder", help="where to put the log: the disk to measure (default: the temporary folder)")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        uvloop.run(child(Path(options.folder), options.child))
        return
    figures.conditions(
        f"1 KB events, durability {options.durability}, {options.rounds} rounds of {options.seconds:g} s"
    )
    uvloop.run(run(options))


if __name__ == "__main__":
    main()
