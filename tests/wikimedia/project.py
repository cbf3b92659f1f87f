"""The project in `wikimedia/` and its runs: the fixtures as events, each job over them, and what it made."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gzip
import importlib
import json
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from headwater.cli import main
from headwater.config import load_config
from headwater.event import event_time_ms, get_path
from headwater.intake.gate import Gate, GateSettings
from headwater.jobs import Await, Retry
from headwater.jobs.job import Job
from headwater.jobs.metrics import JobMetrics
from headwater.log.contract import Record, TopicSettings
from headwater.platform import schemas_of
from headwater.processing.declarations import declarations
from headwater.processing.embedded.loop import EmbeddedRunner, RunnerSettings
from headwater.processing.embedded.runner import runner_on
from headwater.streams.registry import StreamRegistry
from headwater.telemetry import Telemetry
from headwater.testing.clock import ManualClock
from headwater.testing.eventually import eventually
from headwater.testing.memory_tables import tables_in_memory
from headwater.testing.oracle_log import OracleLog
from requirements import REPOSITORY, check_need, fixtures_folder

PROJECT = REPOSITORY / "wikimedia"
FIXTURES = fixtures_folder() / "wikimedia"

Event = dict[str, Any]


@dataclass(frozen=True)
class Ran:
    """What a run of a job wrote, in order, and how many late events it counted. `others`: by further output."""

    outputs: list[Event]
    errors: list[Event]
    late: int
    others: dict[str, list[Event]] = field(default_factory=dict)


def read(name: str) -> list[Event]:
    """The rows of a fixture, JSON or JSON Lines, maybe compressed."""
    path = FIXTURES / name
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
    if ".jsonl" not in path.name:
        rows: list[Event] = json.loads(text)
        return rows
    return [json.loads(line) for line in text.splitlines() if line]


@functools.cache
def declared() -> tuple[StreamRegistry, dict[str, Job], Gate]:
    """The streams and jobs of the project, and the gate that checks the events of its streams."""
    config = load_config(PROJECT, environment={})
    streams, jobs = declarations(config)
    return streams, {job.name: job for job in jobs}, Gate(streams, schemas_of(config), GateSettings.from_config(config))


def in_project(name: str) -> Any:
    """A module of the project, such as `content.pages`, as its jobs have it."""
    declared()
    loaded = next(
        name for name in sys.modules if name.startswith("headwater_project_") and _path_of(name) == [str(PROJECT)]
    )
    return importlib.import_module(f"{loaded}.{name}")


def _path_of(module: str) -> list[str]:
    return list(getattr(sys.modules[module], "__path__", ()))


def job_named(name: str, *, library: str | None = None) -> Job:
    """A job of the project; skips the test if the library it uses is missing."""
    if library is not None:
        need_library(library)
    return declared()[1][name]


def retrying_for(within: str, job: Job) -> Job:
    """The same job, with calls that are given up after this time."""
    steps = (
        dataclasses.replace(step, retry=Retry(within=within, base="50ms")) if isinstance(step, Await) else step
        for step in job.steps
    )
    return dataclasses.replace(job, steps=tuple(steps))


def need_library(name: str) -> None:
    from importlib.util import find_spec

    check_need("wikimedia", find_spec(name), "install the extra: pip install 'headwater[wikimedia]'")


def interleaved(partitions: Sequence[Sequence[Event]], seed: int) -> list[tuple[int, Event]]:
    """The events of all partitions in a random order that keeps that of each partition."""
    order = [number for number, events in enumerate(partitions) for _ in events]
    random.Random(seed).shuffle(order)
    left = [iter(events) for events in partitions]
    return [(number, next(left[number])) for number in order]


def partitioned(events: Iterable[Event], paths: Sequence[str], count: int) -> list[list[Event]]:
    """The events by key, as a log with `count` partitions has them."""
    made: list[list[Event]] = [[] for _ in range(count)]
    for event in events:
        key = "\0".join(str(get_path(event, path)) for path in paths)
        made[sum(key.encode()) % count].append(event)
    return made


async def run(
    job: Job,
    placed: Iterable[tuple[int, Event]],
    *,
    batch: int = 500,
    restarts: int = 0,
    tables: Mapping[str, Any] | None = None,
) -> Ran:
    """Run `job` over events, each with its partition, in this order, to their end.

    `restarts`: as a live job, which is stopped so often in between, after all that it has received. `tables`: name →
    rows by key, of those that it reads.
    """
    placed = list(placed)
    log, runner = await _started(job, placed, batch, tables or {})
    part = len(placed) // (restarts + 1) + 1
    for start in range(0, len(placed), part):
        await log.append([_record(job, event, partition) for partition, event in placed[start : start + part]])
        if start + part < len(placed):
            await _until_read(runner())
    await runner().run(drain=True)
    writes = job.writes()
    outputs = [] if writes.output is None else await _events(log, writes.output)
    others = {each.stream: await _events(log, each.stream) for each in job.outputs}
    return Ran(outputs, await _events(log, writes.errors), 0, others)


async def _started(
    job: Job, placed: Sequence[tuple[int, Event]], batch: int, tables: Mapping[str, Any]
) -> tuple[OracleLog, Callable[[], EmbeddedRunner]]:
    """A log with the topics of the job, and what makes its runners."""
    _, _, gate = declared()
    # Everything was received after it happened.
    clock = ManualClock(max((_time_ms(event) for _, event in placed), default=0) / 1000)
    log = OracleLog(clock=clock)
    await log.open()
    count = 1 + max((partition for partition, _ in placed), default=0)
    for stream in {*job.reads(), *job.writes().streams}:
        await log.ensure_topic(stream, TopicSettings(partitions=count))
    settings = RunnerSettings(wait_seconds=0.02, batch_records_max=batch)

    def runner() -> EmbeddedRunner:
        metrics = JobMetrics(Telemetry(), job.name)
        offered = {"metrics": metrics, "tables": tables_in_memory(tables)}
        return runner_on(log, job, gate, settings=settings, clock=clock, **offered)

    return log, runner


def _record(job: Job, event: Event, partition: int) -> Record:
    topic = get_path(event, "meta.stream")
    return Record(topic if topic in job.reads() else job.reads()[0], json.dumps(event).encode(), None, (), partition)


async def _until_read(runner: EmbeddedRunner) -> None:
    """Run it until nothing is left, then stop it."""
    task = asyncio.create_task(runner.run())

    async def has_stopped() -> bool:
        # A runner that has not begun yet knows of nothing that is left, and does not remember being stopped.
        if await runner.lag() == 0:
            runner.stop()
        return task.done()

    await eventually(has_stopped)
    await task


def run_files(name: str, events: Iterable[Event | str], folder: Path, *options: str) -> Ran:
    """Run the job over a file, as `headwater job run` does; a text among the events is a line of its own."""
    source, target, errors = folder / "input.jsonl", folder / "output.jsonl", folder / "errors.jsonl"
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    source.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    if "--from" not in options:
        options = (*options, "--from", str(source))
    arguments = ["job", "run", name, "--project", str(PROJECT), "--to", str(target)]
    answer = CliRunner().invoke(main, [*arguments, "--errors", str(errors), "--json", "--restart", *options])
    assert answer.exit_code == 0, answer.output
    # Not by `splitlines`: texts may have other line ends in them.
    written = [[json.loads(line) for line in path.read_bytes().split(b"\n") if line] for path in (target, errors)]
    return Ran(*written, json.loads(answer.stdout)["late"])


def _time_ms(event: Event) -> int:
    return event_time_ms(event, "dt") or 0


async def _events(log: OracleLog, stream: str) -> list[Event]:
    position = await log.first([stream])
    found: list[Event] = []
    while records := await log.read(position):
        for record in records:
            found.append(json.loads(record.value))
            position = position.after(record)
    return found


def only(rows: Iterable[Event], names: Iterable[str]) -> list[Event]:
    """The rows with only these fields, as the goldens have them."""
    kept = list(names)
    return [{name: row[name] for name in kept if name in row} for row in rows]
