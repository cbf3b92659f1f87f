"""What processes for jobs change: how long producers wait while a job blocks, what two jobs gain, what a process costs.

How this works: a whole server is started with `jobs.processes` 0, 1 or 2, on all cores. While a job blocks for some
seconds, single events are sent at a steady rate; the time until the answer counts from when an event was due. Two equal
jobs process one backlog, with some computing for each event, from the moment both run until both are at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import os
import re
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import figures
import jobs
import machine
import sample
from headwater.config import load_config
from headwater.platform import build
from machine import Server

OTHER_SINK = "benchmark.derived.other"
CONNECTIONS = 4
WAIT_SECONDS_MAX = 120.0
BLOCKING = """
import time
from headwater.jobs import job

@job(source="benchmark.page_change", sink="benchmark.derived", name="benchmark")
def derived(event, context):
    if event.get("comment", "").startswith("block "):
        time.sleep(float(event["comment"].split()[1]))
    return {"wiki_id": event["wiki_id"], "rev_id": event["revision"]["rev_id"]}
"""
# About as much computing as parsing some wikitext.
COMPUTING = """
from headwater.jobs import job

def computed(event):
    return sum(number * number % 7 for number in range(event["revision"]["rev_id"] % 2 + 1_000))

@job(source="benchmark.page_change", sink="benchmark.derived", key="wiki_id", state=int)
def one(event, context):
    context.state += 1
    return {"wiki_id": event["wiki_id"], "rev_id": computed(event), "count": context.state}

@job(source="benchmark.page_change", sink="benchmark.derived.other", key="wiki_id", state=int)
def other(event, context):
    context.state += 1
    return {"wiki_id": event["wiki_id"], "rev_id": computed(event), "count": context.state}
"""
PLAIN = COMPUTING.replace("1_000", "0")


@dataclass(slots=True)
class Round:
    """What was measured with one number of processes, a value for each round; times in seconds."""

    quiet: list[float] = field(default_factory=list)
    blocked: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    plain_rates: list[float] = field(default_factory=list)
    plain_cpu: list[float] = field(default_factory=list)


def server_on(project: Path, processes: int) -> AbstractContextManager[Server]:
    """A server of the project on all cores."""
    environment = {**os.environ, "HEADWATER_JOBS_PROCESSES": str(processes), "HEADWATER_MONITORING_CANARIES": "false"}
    command = [str(Path(sys.executable).parent / "headwater"), "up", "--project", str(project)]
    cores = {*range(os.cpu_count() or 1)}
    return machine.running(f"processes {processes}", [*command, "--port", "{port}"], environment, cores)


def write_project(folder: Path, code: str) -> Path:
    """A project with the benchmark's events, and the jobs of `code`."""
    project = jobs.write_project(folder / "project", "stateless")
    (project / f"streams/{OTHER_SINK}.yaml").write_text(
        json.dumps({"stream": OTHER_SINK, "schema_title": "benchmark/derived"})
    )
    (project / "jobs/jobs.py").write_text(code)
    return project


def measure_blocking(folder: Path, processes: int, options: argparse.Namespace, found: Round) -> None:
    """Response times while nothing blocks, and from when a job begins to block until some time after."""
    with server_on(write_project(folder, BLOCKING), processes) as server:
        written(server, 1, lambda: post(server, [sample.body_maker(1)()]))
        found.quiet += response_times(server, options.rate, options.seconds)
        event = {**json.loads(sample.body_maker(1)()), "comment": f"block {options.blocks}"}
        post(server, [json.dumps(event).encode()])
        found.blocked += response_times(server, options.rate, options.blocks)


def response_times(server: Server, rate: float, seconds: float) -> list[float]:
    """Of single events sent at this rate over several connections."""
    numbers, times = itertools.count(), []
    begin, bodies, lock = time.perf_counter(), sample.body_maker(1), threading.Lock()

    def send() -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        while True:
            with lock:
                due, body = begin + next(numbers) / rate, bodies()
            if due > begin + seconds:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.request("POST", server.path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 201:
                raise SystemExit(f"{server.name} answered {answer.status}")
            times.append(time.perf_counter() - due)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def measure_two_jobs(folder: Path, processes: int, code: str, count: int) -> tuple[float, float]:
    """Events per second of two equal jobs on a backlog, and processor time per event of the whole server."""
    project = write_project(folder, code)
    asyncio.run(_write_backlog(project, count))
    with server_on(project, processes) as server:
        first = written(server, 2)
        cpu, start = server.cpu_seconds(), time.perf_counter()
        done = written(server, 2 * count) - first
        took = time.perf_counter() - start
        return done / took, (server.cpu_seconds() - cpu) / done


async def _write_backlog(project: Path, count: int) -> None:
    platform = build(load_config(project, environment={}))
    await platform.start(run_jobs=False)
    await jobs.append_backlog(platform, count)
    await platform.stop()


def written(server: Server, least: int, meanwhile: Callable[[], None] = lambda: None) -> int:
    """How many events its jobs have written, as soon as each has begun and these are at least as many."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        meanwhile()
        counts = [int(float(one)) for one in re.findall(r'job_events_total{.*?what="written"} (\S+)', metrics(server))]
        if counts and all(counts) and sum(counts) >= least:
            return sum(counts)
        time.sleep(0.05)
    raise SystemExit(f"{server.name}: the jobs have not written {least} events in {WAIT_SECONDS_MAX:g} s")


def metrics(server: Server) -> str:
    """Its metrics as text."""
    with urllib.request.urlopen(f"http://{server.host}:{server.port}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def post(server: Server, bodies: Sequence[bytes]) -> None:
    """Send these bodies one after the other."""
    for body in bodies:
        url = f"http://{server.host}:{server.port}{server.path}"
        request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60):
            pass


def idle_process(folder: Path, seconds: float) -> tuple[float, float, float]:
    """Of an idle process of jobs: seconds of processor time until it runs, its share of a processor, and its memory."""

    def value(name: str, text: str) -> float:
        return float(re.findall(rf'headwater_job_process_{name}{{process="1"}} (\S+)', text)[0])

    with server_on(write_project(folder, PLAIN), 1) as server:
        while not value("up", metrics(server)):
            time.sleep(0.05)
        first = value("cpu_seconds_total", metrics(server))
        # What follows a start, such as the collection of garbage.
        time.sleep(2)
        before = value("cpu_seconds_total", metrics(server))
        time.sleep(seconds)
        after = metrics(server)
        share = (value("cpu_seconds_total", after) - before) / seconds
        return first, share, value("resident_bytes", after) / 1e6


def main() -> None:
    """Measure all, in rounds, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0, help="events sent per second while a job blocks")
    parser.add_argument("--seconds", type=float, default=5.0, help="to send before a job blocks, and to be idle")
    parser.add_argument("--blocks", type=float, default=5.0, help="seconds for which the job blocks")
    parser.add_argument("--events", type=int, default=20_000, help="of the backlog of two jobs")
    options = parser.parse_args()
    figures.conditions(f"{options.rounds} rounds; {options.rate:g} events/s; a job blocks for {options.blocks:g} s")
    found = {number: Round() for number in (0, 1, 2)}
    idle = []
    for turn in range(options.rounds):
        figures.progress(f"round {turn + 1} of {options.rounds}")
        with tempfile.TemporaryDirectory(prefix="headwater-benchmark-") as folder:
            for number, one in sorted(found.items(), reverse=turn % 2 == 1):
                if number < 2:
                    measure_blocking(Path(folder) / f"blocking{number}", number, options, one)
                for code, rates, cpu in ((COMPUTING, one.rates, one.cpu), (PLAIN, one.plain_rates, one.plain_cpu)):
                    place = Path(folder) / f"{number}-{len(code)}"
                    rate, per_event = measure_two_jobs(place, number, code, options.events)
                    rates.append(rate)
                    cpu.append(per_event * 1e6)
            idle.append(idle_process(Path(folder) / "idle", options.seconds))
    _show(found, idle)


def _show(found: dict[int, Round], idle: Sequence[tuple[float, float, float]]) -> None:
    def milliseconds(times: Sequence[float]) -> str:
        return "/".join(f"{figures.percentile(times, share) * 1000:,.1f}" for share in (0.5, 0.99, 1.0))

    figures.table(
        ["jobs.processes", "p50/p99/max ms, no job blocks", "while a job blocks"],
        [[number, milliseconds(one.quiet), milliseconds(one.blocked)] for number, one in found.items() if one.quiet],
    )
    figures.table(
        ["jobs.processes", "two computing jobs, events/s", "µs/event", "two plain jobs, events/s", "µs/event"],
        [
            [number, *(figures.spread(values) for values in (one.rates, one.cpu, one.plain_rates, one.plain_cpu))]
            for number, one in found.items()
        ],
    )
    starts, shares, sizes = zip(*idle, strict=True)
    figures.table(
        ["processor time of a start, s", "share of a processor when idle, %", "memory when idle, MB"],
        [[figures.spread(starts), figures.spread([100 * one for one in shares]), figures.spread(sizes)]],
    )


if __name__ == "__main__":
    main()
