"""Jobs of Headwater, Quix Streams, Bytewax and PyFlink that do the same work: processor time and time per event.

How this works: each engine is a process of its own, in an environment of its own (`--quix PYTHON`, …), which reads the
same events of 1 KB from a new topic, writes its results to another, commits, and ends. Each task is run with few and
with many events: the differences of processor time and of time, divided by the difference of the numbers, are what an
event costs, without what starting costs. Processor time is that of all processes of the engine. All results are read
back and compared with those that are known; a run whose results differ is shown as wrong, with no figures. The engines
take turns, `--rounds` times. The broker is not part of any engine's time; Headwater on SQLite has none.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import headwater_job
import work

import figures
import machine

HERE = Path(__file__).resolve().parent
# Few events, and many; where an engine waits for one lookup after the other, fewer.
COUNTS = {"async": (2_000, 22_000)}
COUNTS_OTHERWISE = (2_000, 42_000)
COUNTS_ONE_BY_ONE = (100, 400)
SAMPLE_SECONDS = 0.02
RUN_SECONDS_MAX = 300.0
EXACTLY_ONCE, AT_LEAST_ONCE = "exactly once", "at least once"


@dataclass(frozen=True, slots=True)
class Engine:
    """One column of the comparison. `script` runs in the environment of `python`; None: Headwater, on this log."""

    name: str
    guarantee: str
    python: str
    script: str | None = None
    log: str = "sqlite"
    environment: tuple[tuple[str, str], ...] = ()
    # The tasks for which it has no operator, and what was done instead.
    instead: tuple[tuple[str, str], ...] = ()

    def counts(self, task: str, scale: float) -> tuple[int, int]:
        """With how many events the task is run."""
        if self.name == "Quix Streams" and task == "async":
            return COUNTS_ONE_BY_ONE
        few, many = COUNTS.get(task, COUNTS_OTHERWISE)
        return int(few * scale), int(many * scale)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took, in seconds; `wrong`: what is wrong with its results."""

    cpu: float
    wall: float
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class PerEvent:
    """One round of an engine and a task, in microseconds per event of a stream."""

    cpu_us: float
    wall_us: float


def engines_of(options: argparse.Namespace) -> list[Engine]:
    """The engines there are."""
    found = [Engine("Headwater, SQLite", EXACTLY_ONCE, sys.executable)]
    if not options.kafka:
        return found
    found.append(Engine("Headwater, Kafka", EXACTLY_ONCE, sys.executable, log="kafka"))
    if options.quix:
        sleeping = (("async", "a function that sleeps: it has no async operator"),)
        found.append(Engine("Quix Streams", EXACTLY_ONCE, options.quix, "quix.py", instead=sleeping))
    if options.bytewax:
        batch = (
            ("async", "batches of 1,000 that are awaited together: it has no async operator"),
            ("joined", "without a bound in time"),
        )
        found.append(Engine("Bytewax", AT_LEAST_ONCE, options.bytewax, "byte_wax.py", instead=batch))
    if options.flink:
        for mode in options.flink_modes.split(","):
            environment = (("FLINK_KAFKA_JAR", options.flink_kafka_jar), ("FLINK_PYTHON_MODE", mode))
            found.append(Engine(f"PyFlink, {mode}", EXACTLY_ONCE, options.flink, "flink.py", environment=environment))
    return [one for one in found if not options.only or options.only.lower() in one.name.lower()]


def version_of(engine: Engine) -> str:
    """The versions of the packages that matter, as installed."""
    packages = ["headwater", "quixstreams", "bytewax", "apache-flink", "confluent-kafka"]
    code = (
        "import importlib.metadata as m, platform, contextlib\n"
        f"found = [platform.python_version()]\nfor name in {packages}:\n"
        "    with contextlib.suppress(m.PackageNotFoundError): found.append(f'{name} {m.version(name)}')\n"
        "print('Python ' + ', '.join(found))"
    )
    return subprocess.run([engine.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def measured(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Cost:
    """Run a command to its end; the processor time of all its processes."""
    ticks: dict[int, int] = {}
    started = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT, cwd=HERE
        )
    try:
        while process.poll() is None:
            for pid in machine.tree(process.pid):
                ticks[pid] = max(ticks.get(pid, 0), machine.ticks(pid))
            if time.perf_counter() - started > RUN_SECONDS_MAX:
                return Cost(0.0, 0.0, f"it did not end within {RUN_SECONDS_MAX:g} s")
            time.sleep(SAMPLE_SECONDS)
    finally:
        for pid in machine.tree(process.pid) if process.poll() is None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
    took = time.perf_counter() - started
    if process.returncode:
        return Cost(0.0, 0.0, "\n".join(log.read_text().splitlines()[-15:]))
    return Cost(sum(ticks.values()) / machine.TICKS_PER_SECOND, took)


class Topics:
    """New topics on a broker, which are filled and read."""

    def __init__(self, brokers: str) -> None:
        from confluent_kafka.admin import AdminClient

        self._brokers = brokers
        self._admin = AdminClient({"bootstrap.servers": brokers})

    @contextlib.contextmanager
    def created(self, names: Sequence[str]) -> Iterator[None]:
        """Topics of one partition, whose records never expire."""
        from confluent_kafka.cimpl import NewTopic

        topics = [NewTopic(name, 1, 1, config={"retention.ms": "-1"}) for name in names]
        for future in self._admin.create_topics(topics).values():
            future.result()
        try:
            yield
        finally:
            self._admin.delete_topics(list(names))

    def fill(self, run: work.Run, topics: Sequence[str]) -> None:
        """Write the events of the run, those of two streams in turns, with their keys and times."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self._brokers, "linger.ms": 50, "compression.type": "lz4"})
        sides = [work.events_of(run, side) for side in range(len(topics))]
        for number in range(run.count):
            for topic, events in zip(topics, sides, strict=True):
                key, at_ms, value = next(events)
                producer.produce(topic, value, key, timestamp=at_ms)
            if number % 1_000 == 0:
                producer.flush()
        producer.flush()

    def results(self, topic: str) -> list[Any]:
        """What is committed in a topic."""
        from confluent_kafka import Consumer, TopicPartition

        settings = {"bootstrap.servers": self._brokers, "group.id": secrets.token_hex(4), "enable.auto.commit": False}
        consumer = Consumer(settings | {"isolation.level": "read_committed"})
        partition = TopicPartition(topic, 0, 0)
        _, end = consumer.get_watermark_offsets(partition, timeout=10)
        consumer.assign([partition])
        found = []
        while consumer.position([partition])[0].offset < end:
            if (message := consumer.poll(10)) is None:
                break
            if message.error() is None:
                found.append(json.loads(message.value() or b"null"))
        consumer.close()
        return found


def run_once(engine: Engine, task: str, count: int, options: argparse.Namespace) -> Cost:
    """One run of an engine; its results are checked."""
    name = f"comparison-{secrets.token_hex(4)}."
    # Of the day before: records of the future would be dated by their receipt.
    start_ms = int(time.time() - 172_800) // 60 * 60_000
    sides = 2 if task == "joined" else 1
    inputs = tuple(f"{name}{topic}" for topic in headwater_job.SOURCES[:sides])
    with tempfile.TemporaryDirectory(prefix="headwater-comparison-", dir=options.folder) as folder:
        run = work.Run(task, count, start_ms, inputs, f"{name}{headwater_job.SINK}", options.kafka or "", folder)
        log = Path(folder) / "output.txt"
        wanted = work.expected(run)
        if engine.script is None and engine.log == "sqlite":
            project = new_project(run, f"sqlite:///{folder}/events.db", options.processes)
            asyncio.run(headwater_job.fill(project, run))
            return checked(run, measured(*headwater(run, project), log), wanted, lambda: results_of(project))
        topics = Topics(run.brokers)
        with topics.created((*inputs, run.output)):
            topics.fill(run, inputs)
            if engine.script is None:
                project = new_project(run, f"kafka://{run.brokers}/{name}", options.processes)
                cost = measured(*headwater(run, project), log)
            else:
                command = [engine.python, str(HERE / engine.script), *work.arguments_of(run)]
                cost = measured(command, dict(engine.environment), log)
            return checked(run, cost, wanted, lambda: topics.results(run.output))


def new_project(run: work.Run, log_url: str, processes: int) -> Path:
    """A project of Headwater for the run."""
    project = Path(run.folder) / "project"
    project.mkdir()
    headwater_job.write_project(project, run.task, log_url, processes)
    return project


def headwater(run: work.Run, project: Path) -> tuple[list[str], dict[str, str]]:
    """The command that runs the project's job until its input is processed, and its environment."""
    count = run.count * len(run.inputs)
    return [sys.executable, headwater_job.__file__, str(project), str(count)], {"PYTHONPATH": str(HERE)}


def results_of(project: Path) -> list[Any]:
    """What the job of a project has written."""
    return asyncio.run(headwater_job.results(project))


def checked(run: work.Run, cost: Cost, wanted: tuple[int, int], results: Callable[[], list[Any]]) -> Cost:
    """The cost, if the results are right."""
    if cost.wrong is not None:
        return cost
    found = work.checked(run, results())
    if found == wanted:
        return cost
    return Cost(0.0, 0.0, f"{found[0]:,} results with the checksum {found[1]}, not {wanted[0]:,} with {wanted[1]}")


def round_of(engine: Engine, task: str, options: argparse.Namespace) -> PerEvent | str:
    """One round: what an event costs, or what is wrong."""
    few, many = engine.counts(task, options.scale)
    costs = []
    for count in (few, many):
        cost = run_once(engine, task, count, options)
        if cost.wrong is not None:
            return cost.wrong
        costs.append(cost)
    events = (many - few) * (2 if task == "joined" else 1)
    return PerEvent(
        (costs[1].cpu - costs[0].cpu) / events * 1e6, max(0.0, costs[1].wall - costs[0].wall) / events * 1e6
    )


def shown(engine: Engine, task: str, rounds: Sequence[PerEvent]) -> list[str]:
    """A row of the table."""
    cpu = [one.cpu_us for one in rounds]
    wall = statistics.median(one.wall_us for one in rounds)
    return [
        task,
        engine.name,
        engine.guarantee,
        f"{min(cpu):.1f}/{statistics.median(cpu):.1f}/{max(cpu):.1f}",
        f"{1e6 / wall:,.0f}" if wall else "–",
        dict(engine.instead).get(task, ""),
    ]


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", help="HOST:PORT of a running broker; without it, only Headwater on SQLite is run")
    parser.add_argument("--quix", help="the Python of an environment with quixstreams")
    parser.add_argument("--bytewax", help="the Python of an environment with bytewax[kafka]")
    parser.add_argument("--flink", help="the Python of an environment with apache-flink")
    parser.add_argument("--flink-kafka-jar", help="the path of the connector flink-sql-connector-kafka")
    parser.add_argument(
        "--flink-modes", default="process", help="execution modes of PyFlink, process or thread (process)"
    )
    parser.add_argument("--tasks", default=",".join(work.TASKS), help=f"which tasks ({','.join(work.TASKS)})")
    parser.add_argument("--only", help="only the engines with this in their name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of events (1.0)")
    parser.add_argument("--processes", type=int, default=1, help="jobs.processes of Headwater (1)")
    parser.add_argument("--folder", help="where logs and state are written (default: the temporary folder)")
    options = parser.parse_args()
    engines, tasks = engines_of(options), options.tasks.split(",")
    figures.conditions(f"1 KB events, {options.rounds} rounds, jobs.processes {options.processes}")
    for engine in engines:
        print(f"{engine.name}: {version_of(engine)}")
    rounds: dict[tuple[str, Engine], list[PerEvent]] = {}
    with contextlib.suppress(KeyboardInterrupt):  # what is measured by then is shown
        for number in range(options.rounds):
            for task in tasks:
                for engine in engines if number % 2 == 0 else reversed(engines):
                    figures.progress(f"round {number + 1} of {options.rounds}: {task}, {engine.name}")
                    found = round_of(engine, task, options)
                    if isinstance(found, str):
                        print(f"{task}, {engine.name}: {found}", flush=True)
                    else:
                        figures.progress(f"  {found.cpu_us:.1f} µs of processor time, {found.wall_us:.1f} µs")
                        rounds.setdefault((task, engine), []).append(found)
    rows = [
        shown(engine, task, rounds[task, engine]) for task in tasks for engine in engines if (task, engine) in rounds
    ]
    head = ["task", "engine", "guarantee", "CPU µs per event min/median/max", "events/s", "instead"]
    figures.table(head, rows)


if __name__ == "__main__":
    main()
