"""The speed of the embedded log: appends of 1 to 1000 records per commit, then reading all of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import figures
import machine
import sample
from headwater.log.contract import Position, Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog

TOPIC = "benchmark"


async def append(
    log: SqliteLog, records: list[Record], per_commit: int, seconds: float
) -> tuple[float, float, list[float]]:
    """Append for `seconds`, one commit after another: records per second, CPU µs per record, latencies in seconds."""
    latencies = []
    count = 0
    start, cpu = time.perf_counter(), time.process_time()
    now = start
    while now < start + seconds:
        offset = count % (len(records) - per_commit + 1)
        await log.append(records[offset : offset + per_commit])
        count += per_commit
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    return count / (now - start), (time.process_time() - cpu) / count * 1e6, latencies


async def read_all(log: SqliteLog) -> tuple[float, int]:
    """Read everything from the beginning: records per second, and how many."""
    position: Position = await log.first([TOPIC])
    count = 0
    start = time.perf_counter()
    while records := await log.read(position):
        position = position.after(records[-1])
        count += len(records)
    return count / (time.perf_counter() - start), count


async def run(options: argparse.Namespace) -> None:
    """Measure each commit size on a log of its own, `options.rounds` times."""
    values = [json.dumps(event, separators=(",", ":")).encode() for event in sample.events()]
    records = [Record(TOPIC, value, key=b"%d" % (number % 50)) for number, value in enumerate(values)]
    lines = []
    for per_commit in (1, 10, 100, 1000):
        figures.progress(f"{per_commit} per commit")
        results, reads, latencies, sizes = [], [], [], []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="headwater-benchmark-", dir=options.folder) as folder:
                path = Path(folder) / "events.db"
                log = SqliteLog(path, durability=options.durability)
                await log.open()
                await log.ensure_topic(TOPIC, TopicSettings())
                rate, cpu, took = await append(log, records, per_commit, options.seconds)
                results.append((rate, cpu))
                latencies += took
                rate, count = await read_all(log)
                await log.close()
                reads.append(rate)
                sizes.append(path.stat().st_size / count)
        p50, p99 = (figures.percentile(latencies, share) * 1000 for share in (0.5, 0.99))
        lines.append(
            [
                str(per_commit),
                figures.spread([rate for rate, _ in results]),
                f"{statistics.median(cpu for _, cpu in results):.1f}",
                f"{p50:.2f}/{p99:.2f}",
                f"{statistics.median(sizes):,.0f}",
                f"{statistics.median(reads):,.0f}",
            ]
        )
    head = ["per commit", "appends/s min/median/max", "CPU µs each", "p50/p99 ms", "bytes on disk each", "reads/s"]
    figures.table(head, lines)


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--durability", choices=("fsync", "os"), default="fsync")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of each measurement")
    parser.add_argument("--folder", help="where to put the log: the disk to measure (default: the temporary folder)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {machine.SERVER_CORE, machine.LOAD_CORE})
    figures.conditions(
        f"1.9 KB events, durability {options.durability}, {options.rounds} rounds of {options.seconds:g} s"
    )
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
