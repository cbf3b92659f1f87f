"""The processor time of the operators and windows of jobs, per event of a backlog in a log on SQLite.

How this works: one job after the other runs in this process, on a log of its own with events of 1 KB, until all are
processed and committed. Times are of the whole process: reading, decoding, state, commit. The functions of the jobs
return nothing, so that writing events is not part of it. Of several rounds, the least is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import figures
from headwater.event import json_bytes
from headwater.jobs import Context, Dedupe, Job, Join, Rate, job, session, sliding, tumbling
from headwater.log.contract import Record, TopicSettings
from headwater.log.open import log_at
from headwater.processing.embedded.runner import runner_on
from headwater.testing.job_kit import open_gate, streams_of
from headwater.times import utc_text

LEFT, RIGHT = "benchmark.left", "benchmark.right"
START_MS = 1_700_000_000_000
# Between two events of a stream.
STEP_MS = 50
PER_APPEND = 1_000
PADDING = "x" * 790


def _nothing(event: Any, context: Context) -> None:
    return None


def _one_more(event: Any, context: Context) -> None:
    context.state += 1


def _job(function: Callable[[Any, Context], Any] = _nothing, **settings: Any) -> Job:
    return job(source=LEFT, sink="benchmark.out", name="benchmark", **settings)(function)


KEYED: Mapping[str, Any] = {"key": "key"}
JOBS: Mapping[str, Job] = {
    "stateless": _job(),
    "state": _job(_one_more, **KEYED, state=int),
    "tumbling 1m: count, sum": _job(**KEYED, window=tumbling("1m").count("n").sum("sum", "size")),
    "tumbling 1m: distinct": _job(**KEYED, window=tumbling("1m").count_distinct("units", "unit")),
    "tumbling 1m: top 3": _job(**KEYED, window=tumbling("1m").top_k("top", "unit", 3)),
    "tumbling 1m: percentiles": _job(**KEYED, window=tumbling("1m").percentiles("sizes", "size")),
    "sliding 5m by 1m: count, sum": _job(**KEYED, window=sliding("5m", "1m").count("n").sum("sum", "size")),
    "session 30s: count, sum": _job(**KEYED, window=session("30s").count("n").sum("sum", "size")),
    "dedupe": _job(dedupe=Dedupe()),
    "reorder, held for 5s": _job(**KEYED, reorder=("number", "5s")),
    "rate, drop": _job(**KEYED, rate=Rate(5, "1s", over="drop")),
    "join within 5s": _job(**KEYED, join=Join(RIGHT, "5s")),
    "left join within 5s": _job(**KEYED, join=Join(RIGHT, "5s", "left")),
}


def event_of(number: int, stream: str, keys: int) -> bytes:
    """About 1 KB."""
    meta = {"id": f"{stream}-{number:010}", "dt": utc_text(START_MS + number * STEP_MS), "stream": stream}
    shown = {"number": number, "key": f"key {number * 7919 % keys}", "unit": f"unit {number % 5003}"}
    return json_bytes({"$schema": "/benchmark/1.0.0", "meta": meta, **shown, "size": number % 977, "pad": PADDING})


async def measure(one: Job, count: int, keys: int, folder: Path) -> float:
    """The processor time per event, in seconds."""
    log = log_at(f"sqlite:///{folder}/events.db", create=True)
    await log.open()
    streams = streams_of(one)
    for stream in streams.all():
        await log.ensure_topic(stream.name, TopicSettings())
    for start in range(0, count, PER_APPEND):
        numbers = range(start, min(start + PER_APPEND, count))
        for source in one.reads():
            await log.append([Record(source, event_of(number, source, keys)) for number in numbers])
    runner = runner_on(log, one, open_gate(streams))
    events = count * len(one.reads())
    began = time.process_time()
    running = asyncio.create_task(runner.run())
    while runner.status.report().read < events:  # noqa: ASYNC110 - what is measured has no event to wait for
        await asyncio.sleep(0.02)
    took = time.process_time() - began
    runner.stop()
    await running
    await log.close()
    return took / events


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000, help="events per stream (20000)")
    parser.add_argument("--keys", type=int, default=50, help="different keys; with many, each has few events (50)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--folder", type=Path, help="where the logs are written; by default a temporary directory")
    options = parser.parse_args()
    figures.conditions(f"1 KB events, {options.events:,} per stream, {options.keys} keys, {options.rounds} rounds")
    best: dict[str, float] = {}
    for number in range(options.rounds):
        for name, one in JOBS.items():
            figures.progress(f"round {number + 1} of {options.rounds}: {name}")
            with tempfile.TemporaryDirectory(prefix="headwater-benchmark-", dir=options.folder) as folder:
                took = asyncio.run(measure(one, options.events, options.keys, Path(folder)))
            best[name] = min(took, best.get(name, took))
    rows = [[name, f"{took * 1e6:.1f}", f"{took / best['stateless']:.1f}"] for name, took in best.items()]
    figures.table(["job", "CPU µs per event", "to stateless"], rows)


if __name__ == "__main__":
    main()
