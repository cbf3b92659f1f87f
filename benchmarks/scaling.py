"""What jobs on Flink cost per event, and how they scale, next to the embedded runner: one backlog in Kafka, each way.

How this works: a cluster of Flink is started as it is deployed, one slot and so one Python for each TaskManager. A
backlog is written, and the job is started on it: on Flink in 1, 2 and 4 parts, embedded by `headwater up` with 1 and 2
processes for jobs. While it works, the number of events that it has read, and the processor time of all processes that
do its work (TaskManagers, or `headwater up`, with their children), are looked at; rate and cost are those between the
looks after the first and before the last part of the backlog, so that starting is not part of them. The broker's work
is not counted. Needs `make flink`, and a running broker: `--log kafka://HOST:PORT`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import figures
import jobs
import machine
import sample
from headwater.config import load_config
from headwater.deploy.flink_manifests import java_options
from headwater.log.contract import Record
from headwater.log.event_time import HEADER
from headwater.processing.flink.cluster.client import FlinkCluster
from headwater.processing.flink.cluster.job_state import look_at
from headwater.processing.flink.runtime import FlinkRuntime, find_runtime
from headwater.times import utc_milliseconds

WINDOWED = """
from headwater.jobs import job, tumbling

@job(source="benchmark.page_change", sink="benchmark.derived", name="benchmark", key="wiki_id",
     window=tumbling("1m").count("edits"), idle="never")
def derived(window, context):
    return {"wiki_id": window.key, "count": window.edits}
"""
KINDS = {"stateless": jobs.CODE["stateless"], "keyed": jobs.CODE["stateful"], "windowed": WINDOWED}
PARALLELISM = (1, 2, 4)
PROCESSES = (1, 2)
STEP_MS = 20
LOOK_SECONDS = 0.5
# The parts of the backlog between which is measured.
FROM, TO = 0.15, 0.95
WAIT_SECONDS_MAX = 600.0
START_SECONDS_MAX = 180.0
_READ = re.compile(rb'^headwater_job_events_total\{job="benchmark",what="read"\} (.*)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of job, and how it runs: on Flink in so many parts, or embedded with so many processes."""

    kind: str
    on_flink: bool
    count: int

    @property
    def way(self) -> str:
        return f"Flink, {self.count} parts" if self.on_flink else f"embedded, {self.count} processes"


@dataclass(frozen=True, slots=True)
class Look:
    """At one moment: the events read, and the seconds of processor time used since the start."""

    at: float
    read: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Events per second, and seconds of processor time per event."""

    rate: float
    cpu: float


class Here:
    """A Flink on this machine: a JobManager, and TaskManagers with one slot each."""

    def __init__(self, runtime: FlinkRuntime, folder: Path, taskmanagers: int) -> None:
        self.runtime, self._folder = runtime, folder
        self._rest, self._rpc = machine.free_port(), machine.free_port()
        self.address = f"127.0.0.1:{self._rest}"
        self._configure()
        self._processes = [self._start("jobmanager")]
        self._processes += [self._start("taskmanager") for _ in range(taskmanagers)]
        self._await(taskmanagers)

    def environment(self) -> dict[str, str]:
        """The variables of a process of this Flink."""
        return self.runtime.environment(self._folder, more={"FLINK_CONF_DIR": str(self._folder / "conf")})

    def cpu_seconds(self) -> float:
        """The processor time of the TaskManagers, with the Python in them and next to them."""
        pids = [pid for process in self._processes[1:] for pid in machine.tree(process.pid)]
        return sum(map(machine.ticks, pids)) / machine.TICKS_PER_SECOND

    def close(self) -> None:
        """End it."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _configure(self) -> None:
        shutil.copytree(self.runtime.home / "conf", self._folder / "conf")
        settings = {
            "env.java.opts.all": f"{java_options()} -XX:+UseSerialGC",
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": self._rpc,
            "jobmanager.memory.process.size": "1000m",
            "taskmanager.host": "127.0.0.1",
            "taskmanager.memory.process.size": "1300m",
            "taskmanager.numberOfTaskSlots": 1,
            "classloader.resolve-order": "parent-first",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self._rest,
            "metrics.fetcher.update-interval": 200,
            "execution.checkpointing.dir": (self._folder / "checkpoints").as_uri(),
            "io.tmp.dirs": str(self._folder),
        }
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
        (self._folder / "conf" / "config.yaml").write_text(text)

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{role}.log").open("ab") as output:
            return subprocess.Popen(
                [str(self.runtime.home / "bin" / f"{role}.sh"), "start-foreground"],
                env=self.environment(),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _await(self, taskmanagers: int) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            address = f"http://{self.address}/overview"
            with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(address, timeout=5) as answer:
                if json.load(answer)["taskmanagers"] >= taskmanagers:
                    return
            time.sleep(0.2)
        self.close()
        raise SystemExit(f"Flink did not start; see {self._folder}.")


@contextlib.contextmanager
def written(kind: str, options: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, str]]:
    """A project with a job of this kind, and the log in which its backlog is."""
    project = jobs.write_project(folder / "project", "stateless")
    (project / "jobs/jobs.py").write_text(KINDS[kind])
    brokers = options.log.removeprefix("kafka://")
    with machine.namespace(brokers, ()) as namespace:
        log = f"{options.log}/{namespace}"
        asyncio.run(append_backlog(project, log, options.events))
        yield project, log


async def append_backlog(project: Path, log: str, count: int) -> None:
    """Write `count` events over all partitions, of which the times are `STEP_MS` apart."""
    platform = jobs.platform_of(project, {"log.url": log, "monitoring.canaries": False})
    await platform.start(run_jobs=False)
    (topic,) = platform.streams.get(sample.STREAM).topics
    body, begin_ms = sample.body_maker(1), int(time.time() * 1000) - count * STEP_MS
    try:
        for start in range(0, count, jobs.PER_APPEND):
            await platform.log.append(
                [
                    Record(
                        topic,
                        body(),
                        partition=number % jobs.PARTITIONS,
                        headers=((HEADER, utc_milliseconds(begin_ms + number * STEP_MS).encode()),),
                    )
                    for number in range(start, min(start + jobs.PER_APPEND, count))
                ]
            )
    finally:
        await platform.stop()


def measure(case: Case, flink: Here, options: argparse.Namespace, folder: Path) -> Figures:
    """One round of a case, on a backlog of its own."""
    with written(case.kind, options, folder) as (project, log):
        if case.on_flink:
            return _on_flink(case, flink, project, log, options.events)
        return _embedded(case, project, log, options.events)


def _on_flink(case: Case, flink: Here, project: Path, log: str, count: int) -> Figures:
    command = [str(flink.runtime.python), "-m", "headwater.processing.flink.entry", "--project", str(project)]
    command += ["--job", jobs.JOB, "--cluster", flink.address, "--parallelism", str(case.count), "--until-end"]
    command += ["--idle", "never"]
    begin = flink.cpu_seconds()
    with tempfile.TemporaryFile() as output:
        environment = {**flink.environment(), "HEADWATER_LOG": log}
        client = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

        async def read() -> int:
            async with FlinkCluster(f"http://{flink.address}") as cluster:
                return (await look_at(cluster, jobs.JOB)).read

        try:
            looks = looked(lambda: asyncio.run(read()), lambda: flink.cpu_seconds() - begin, count, client.poll)
            if client.wait(WAIT_SECONDS_MAX):
                output.seek(0)
                raise SystemExit(output.read()[-4000:].decode("utf-8", "replace"))
        finally:
            client.kill()
            client.wait()
    return between(looks, count)


def _embedded(case: Case, project: Path, log: str, count: int) -> Figures:
    command = [str(Path(sys.executable).parent / "headwater"), "up", "--project", str(project), "--port", "{port}"]
    environment = {
        **os.environ,
        "HEADWATER_LOG": log,
        "HEADWATER_JOBS_PROCESSES": str(case.count),
        "HEADWATER_MONITORING_CANARIES": "false",
        "HEADWATER_MONITORING_COMPLETENESS": "false",
    }
    with machine.running(case.way, command, environment, {*range(os.cpu_count() or 1)}) as server:

        def read() -> int:
            with urllib.request.urlopen(f"http://{server.host}:{server.port}/metrics", timeout=10) as answer:
                found = _READ.search(answer.read())
            return int(float(found[1])) if found else 0

        return between(looked(read, server.cpu_seconds, count, lambda: None), count)


def looked(
    read: Callable[[], int], cpu_seconds: Callable[[], float], count: int, ended: Callable[[], object]
) -> list[Look]:
    """Looks until the backlog is read, or the job has ended."""
    looks: list[Look] = []
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        before = time.monotonic()
        number = read()
        # What was read meanwhile is seen late by as much.
        looks.append(Look((before + time.monotonic()) / 2, number, cpu_seconds()))
        if number >= count or ended() is not None:
            return looks
        time.sleep(LOOK_SECONDS)
    raise SystemExit(f"Of {count} events {looks[-1].read} were read.")


def between(looks: list[Look], count: int) -> Figures:
    """The figures of the middle of a backlog; of all of it if it was read too fast to be looked at."""
    middle = [look for look in looks if FROM * count <= look.read <= TO * count]
    first, last = (middle[0], middle[-1]) if len(middle) > 1 else (looks[0], looks[-1])
    done = last.read - first.read
    if len(middle) < 3:
        figures.progress(f"only {len(middle)} looks: use more --events")
    return Figures(done / (last.at - first.at), (last.cpu - first.cpu) / max(1, done))


def main() -> None:
    """Read the options, measure each case in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", required=True, help="kafka://HOST:PORT of a running broker")
    parser.add_argument("--events", type=int, default=60_000, help="events in a backlog")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    figures.conditions(
        f"1.9 KB events, {jobs.PARTITIONS} partitions, backlogs of {options.events:,}, {options.rounds} rounds;"
        f" {os.cpu_count()} processors, which the broker uses as well"
    )
    cases = [Case(kind, True, count) for kind in options.kinds for count in PARALLELISM]
    cases += [Case(kind, False, count) for kind in options.kinds for count in PROCESSES]
    results: dict[Case, list[Figures]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory(prefix="headwater-benchmark-") as made:
        folder = Path(made)
        (folder / "flink").mkdir()
        project = jobs.write_project(folder / "any", "stateless")
        flink = Here(find_runtime(load_config(project, dict(os.environ))), folder / "flink", max(PARALLELISM))
        try:
            # Java compiles what is used often: without this, the first job of a process would cost far more.
            figures.progress("warming up")
            measure(Case(options.kinds[0], True, max(PARALLELISM)), flink, options, folder / "warm")
            for number in range(options.rounds):
                for case in cases if number % 2 == 0 else reversed(cases):
                    figures.progress(f"round {number + 1} of {options.rounds}: {case.kind}, {case.way}")
                    results[case].append(measure(case, flink, options, folder / secrets.token_hex(4)))
                    latest = results[case][-1]
                    figures.progress(f"{latest.rate:,.0f} events/s, {latest.cpu * 1e6:,.0f} µs")
        finally:
            flink.close()
    rows = [
        [
            case.kind,
            case.way,
            figures.spread([one.rate for one in rounds]),
            f"{statistics.median(one.cpu for one in rounds) * 1e6:.0f}",
        ]
        for case, rounds in sorted(results.items(), key=lambda item: options.kinds.index(item[0].kind))
    ]
    figures.table(["job", "runs", "events/s min/median/max", "CPU µs per event"], rows)


if __name__ == "__main__":
    main()
