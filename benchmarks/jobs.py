"""The cost of jobs: events per second and processor time per event of a backlog, and latency from input to output.

How this works: a process on the servers' core runs only one job, on a backlog that was written before; with two
processes that share the job, the second is on the other core, and the backlog is written once each has its partitions.
The run ends when the job's position in the log, committed with its outputs, is at the end. Latency is that of a whole
platform in one process: single events are sent at a steady rate, each with its send time, and the job's outputs are
read from the log. `--log kafka://HOST:PORT` adds a running broker; it is kept on the load's core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import figures
import machine
import sample
from headwater.config import load_config
from headwater.log.contract import Position, Record
from headwater.platform import Platform, build

JOB = "benchmark"
SINK = "benchmark.derived"
PARTITIONS = 4
PER_APPEND = 1_000
WAIT_SECONDS_MAX = 60.0
SINK_SCHEMA = {
    "title": "benchmark/derived",
    "$id": "/benchmark/derived/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"wiki_id": {"type": "string"}, "rev_id": {"type": "integer"}, "count": {"type": "integer"}},
}
CODE = {
    "stateless": """
from headwater.jobs import job

@job(source="benchmark.page_change", sink="benchmark.derived", name="benchmark")
def derived(event, context):
    return {"wiki_id": event["wiki_id"], "rev_id": event["revision"]["rev_id"], "sent_ns": event.get("sent_ns")}
""",
    "stateful": """
from headwater.jobs import job

@job(source="benchmark.page_change", sink="benchmark.derived", name="benchmark", key="wiki_id", state=int)
def derived(event, context):
    context.state += 1
    return {"wiki_id": event["wiki_id"], "count": context.state, "sent_ns": event.get("sent_ns")}
""",
    "awaiting 20 ms": """
import asyncio
from headwater.jobs import Await, Job, ToStream

async def derived(event, context):
    await asyncio.sleep(0.02)
    return {"wiki_id": event["wiki_id"], "rev_id": event["revision"]["rev_id"], "sent_ns": event.get("sent_ns")}

awaiting = Job(
    "benchmark", ("benchmark.page_change",), (Await("derived", derived, 1000),), ToStream("benchmark.derived")
)
""",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table: a kind of job, a log (None is SQLite), and how many processes share the job, if any."""

    kind: str
    log: str | None
    sharing: int = 0

    @property
    def name(self) -> str:
        log = "Kafka" if self.log else "SQLite"
        return f"{self.kind}, {log}" + (f", shared by {self.sharing}" if self.sharing else "")

    def overrides(self, folder: Path) -> dict[str, object]:
        """The settings of a run of its own."""
        log = f"{self.log}/benchmark-{secrets.token_hex(4)}." if self.log else f"sqlite:///{folder}/events.db"
        return {"log.url": log, "jobs.shared": self.sharing > 0, "monitoring.canaries": False}


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of one round of a case, in seconds."""

    rate: float
    cpu_per_event: float
    latencies: Sequence[float]


class Process:
    """A process of this file that reads commands and writes results, one per line."""

    def __init__(self, project: Path, overrides: dict[str, object], core: int) -> None:
        command = [sys.executable, __file__, "--child", str(project), json.dumps(overrides)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self._process.pid, {core})
        self.heard()

    def tell(self, order: str) -> None:
        """Send a command."""
        _pipe(self._process.stdin).write(f"{order}\n")
        _pipe(self._process.stdin).flush()

    def heard(self) -> str:
        """The next line of its output."""
        line = _pipe(self._process.stdout).readline().strip()
        if not line:
            raise SystemExit("The process with the job has ended early; see above.")
        return line

    def cpu_seconds(self) -> float:
        """Its processor time so far."""
        return machine.Server("", "", 0, "", self._process.pid).cpu_seconds()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@contextlib.contextmanager
def processes(case: Case, project: Path, overrides: dict[str, object]) -> Iterator[list[Process]]:
    """The processes that run the case's job, on the servers' core and, where there are two, on the load's."""
    cores = (machine.SERVER_CORE, machine.LOAD_CORE)
    running = [Process(project, overrides, cores[number % 2]) for number in range(max(1, case.sharing))]
    try:
        yield running
    finally:
        for process in running:
            process.close()


def write_project(folder: Path, kind: str) -> Path:
    """A project with the benchmark's events, one job on them, and the stream it writes."""
    project = sample.write_project(folder)
    (project / "schemas/benchmark/derived").mkdir(parents=True)
    (project / "schemas/benchmark/derived/1.0.0.yaml").write_text(json.dumps(SINK_SCHEMA))
    declared = {"stream": SINK, "schema_title": "benchmark/derived"}
    (project / f"streams/{SINK}.yaml").write_text(json.dumps(declared))
    declared = json.loads((project / f"streams/{sample.STREAM}.yaml").read_text())
    declared["transport"] = {"partitions": PARTITIONS}
    (project / f"streams/{sample.STREAM}.yaml").write_text(json.dumps(declared))
    (project / "jobs/jobs.py").write_text(CODE[kind])
    return project


def platform_of(project: Path, overrides: dict[str, object]) -> Platform:
    """The project's platform, not started."""
    return build(load_config(project, environment={}, overrides=overrides))


async def append_backlog(platform: Platform, count: int) -> None:
    """Write `count` events directly into the log, over all partitions."""
    (topic,) = platform.streams.get(sample.STREAM).topics
    body = sample.body_maker(1)
    for start in range(0, count, PER_APPEND):
        numbers = range(start, min(start + PER_APPEND, count))
        await platform.log.append([Record(topic, body(), partition=number % PARTITIONS) for number in numbers])


async def measure(case: Case, options: argparse.Namespace) -> Figures:
    """One round of a case on a log of its own."""
    with tempfile.TemporaryDirectory(prefix="headwater-benchmark-", dir=options.folder) as folder:
        project = write_project(Path(folder) / "project", case.kind)
        overrides = case.overrides(Path(folder))
        if case.sharing:
            rate, cpu = await _backlog_shared(case, project, overrides, options.events)
        else:
            rate, cpu = await _backlog_alone(case, project, overrides, options.events)
    with tempfile.TemporaryDirectory(prefix="headwater-benchmark-", dir=options.folder) as folder:
        project = write_project(Path(folder) / "project", case.kind)
        with processes(case, project, case.overrides(Path(folder))) as running:
            _start_sharing(case, running)
            running[0].tell(f"latency {options.rate} {options.seconds}")
            latencies = json.loads(running[0].heard())
    return Figures(rate, cpu, latencies)


async def _backlog_alone(case: Case, project: Path, overrides: dict[str, object], count: int) -> tuple[float, float]:
    platform = platform_of(project, overrides)
    await platform.start(run_jobs=False)
    await append_backlog(platform, count)
    await platform.stop()
    with processes(case, project, overrides) as (process,):
        process.tell(f"process {count}")
        # From the first batch on: the start is measured by `idle`.
        count -= int(await asyncio.to_thread(process.heard))
        cpu, start = process.cpu_seconds(), time.perf_counter()
        await asyncio.to_thread(process.heard)
        return count / (time.perf_counter() - start), (process.cpu_seconds() - cpu) / count


async def _backlog_shared(case: Case, project: Path, overrides: dict[str, object], count: int) -> tuple[float, float]:
    platform = platform_of(project, overrides)
    await platform.start(run_jobs=False)
    try:
        with processes(case, project, overrides) as running:
            await asyncio.to_thread(_start_sharing, case, running)
            cpu, start = sum(process.cpu_seconds() for process in running), time.perf_counter()
            await append_backlog(platform, count)
            await _until_all_is_processed(platform)
            took = time.perf_counter() - start
            return count / took, (sum(process.cpu_seconds() for process in running) - cpu) / count
    finally:
        await platform.stop()


def _start_sharing(case: Case, running: Sequence[Process]) -> None:
    """Let the processes share the job, and wait until each has half of the partitions."""
    if case.sharing:
        for process in running:
            process.tell("share")
        for process in running:
            process.tell(f"await {PARTITIONS // case.sharing}")
            process.heard()


async def _until_all_is_processed(platform: Platform) -> None:
    """Wait for the tokens of all partitions of the shared job."""
    topics = platform.streams.get(sample.STREAM).topics
    group = platform.runners[JOB].job.group
    ends = (await platform.log.last(topics)).offsets
    wanted = {f"{group}/{topic}/{partition}": end for (topic, partition), end in ends.items()}
    while wanted:
        for name in list(wanted):
            token = await platform.log.committed(name)
            if token and next(iter(Position.parse(token).offsets.values())) >= wanted[name]:
                del wanted[name]
        await asyncio.sleep(0.02)


async def child(project: Path, overrides: dict[str, object]) -> None:
    """Execute commands from standard input until the end."""
    platform = platform_of(project, overrides)
    supervisor = platform.inside.jobs[JOB]
    runner: Any = supervisor.runner
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    while order := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        match order:
            case ["process", count]:
                await platform.start()
                await _until(lambda: supervisor.report().read > 0, True)
                print(supervisor.report().read, flush=True)
                await _until(lambda: supervisor.report().read, int(count))
                await supervisor.stop()
                print("done", flush=True)
            case ["share"]:
                await platform.start(run_jobs=False, run_shared_jobs=True)
            case ["await", partitions]:
                await _until(lambda: len(runner.partitions), int(partitions))
                # The process that lost partitions may still be stopping, and the one that has them still starting.
                await asyncio.sleep(3.0)
                print("done", flush=True)
            case ["latency", rate, seconds]:
                if not overrides["jobs.shared"]:
                    await platform.start()
                print(json.dumps(await latencies_of(platform, float(rate), float(seconds))), flush=True)


async def _until(now: Callable[[], object], wanted: object) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while now() != wanted:  # noqa: ASYNC110 - what is measured has no event to wait for
            await asyncio.sleep(0.01)


async def latencies_of(platform: Platform, rate: float, seconds: float) -> list[float]:
    """Send single events at `rate` per second; returns the time until each output of the job could be read."""
    await _until(lambda: platform.runners[JOB].report().state, "running")
    topics = platform.streams.get(SINK).topics
    position = await platform.log.last(topics)
    count, found = int(rate * seconds), list[float]()
    events = sample.events()
    sending = asyncio.create_task(_send(platform, events, rate, count))
    deadline = time.monotonic() + seconds + 10
    while len(found) < count and time.monotonic() < deadline:
        for record in await platform.log.read(position, wait_seconds=1.0):
            position = position.after(record)
            found.append((time.monotonic_ns() - json.loads(record.value)["sent_ns"]) / 1e9)
    await sending
    if len(found) < count:
        raise SystemExit(f"Of {count} events {len(found)} came out of the job.")
    # The first second is affected by connections and caches.
    return found[int(rate) :]


async def _send(platform: Platform, events: Sequence[dict[str, Any]], rate: float, count: int) -> None:
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        event = events[number % len(events)]
        meta = {**event["meta"], "id": f"sent-{number}"}
        await platform.intake.write([{**event, "meta": meta, "sent_ns": time.monotonic_ns()}])


async def run(options: argparse.Namespace) -> None:
    """Measure every case, in turns, `options.rounds` times, and print."""
    cases = [Case(kind, None) for kind in CODE]
    if options.log:
        cases += [Case(kind, options.log) for kind in CODE]
        cases += [Case("stateless", options.log, sharing) for sharing in (1, 2)]
    results: dict[Case, list[Figures]] = {case: [] for case in cases}
    for number in range(options.rounds):
        for case in cases if number % 2 == 0 else reversed(cases):
            figures.progress(f"round {number + 1} of {options.rounds}: {case.name}")
            results[case].append(await measure(case, options))
    rows = []
    for case, rounds in results.items():
        latencies = [latency for one in rounds for latency in one.latencies]
        p50, p99 = (figures.percentile(latencies, share) * 1000 for share in (0.5, 0.99))
        rows.append(
            [
                case.name,
                figures.spread([one.rate for one in rounds]),
                f"{statistics.median(one.cpu_per_event for one in rounds) * 1e6:.0f}",
                f"{p50:.1f}/{p99:.1f}",
            ]
        )
    figures.table(["job", "events/s min/median/max", "CPU µs per event", "p50/p99 ms"], rows)


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", help="kafka://HOST:PORT of a running broker (default: only SQLite is measured)")
    parser.add_argument("--events", type=int, default=30_000, help="events in a backlog")
    parser.add_argument("--rate", type=float, default=100.0, help="events per second while latency is measured")
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds for which latency is measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to put the log: the disk to measure (default: the temporary folder)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        asyncio.run(child(Path(options.child[0]), json.loads(options.child[1])))
        return
    figures.conditions(
        f"1.9 KB events, {PARTITIONS} partitions, backlogs of {options.events:,}, latency at {options.rate:g}/s, "
        f"{options.rounds} rounds"
    )
    machine.pin_load()
    brokers = options.log.removeprefix("kafka://") if options.log else None
    with machine.broker_beside_the_load(brokers) if brokers else contextlib.nullcontext():
        asyncio.run(run(options))


if __name__ == "__main__":
    main()
