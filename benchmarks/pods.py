"""The memory and processor time of the processes that a project is deployed as: one that serves, one with the jobs.

The project is that of `headwater init` (four jobs, two of them fill tables), its log a broker that runs already. One
process runs `headwater up --jobs none`, another `headwater up`; the first is sent events at a steady rate.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import figures
import machine
from headwater.cli.init import write_project
from machine import Server

BATCH = 10
LOOK_SECONDS = 0.5


def main() -> None:
    """Start both, let them idle, send events, and print what each needed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", required=True, help="kafka://HOST:PORT of a running broker")
    parser.add_argument("--rate", type=int, default=1000, help="events per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="to idle, and to send events")
    options = parser.parse_args()
    figures.conditions(f"idle, then {options.rate:,} events/s in requests of {BATCH}, for {options.seconds:g} s each")
    rows = []
    with tempfile.TemporaryDirectory(prefix="headwater-benchmark-") as folder:
        project = Path(folder) / "project"
        write_project(project)
        brokers = options.log.removeprefix("kafka://")
        topics = ("demo.edit", "demo.edits_per_minute", "demo.page_edits")
        with machine.namespace(brokers, topics) as namespace, contextlib.ExitStack() as stack:
            log = f"{options.log}/{namespace}"
            serving = stack.enter_context(started(project, log, "serving", "--jobs", "none"))
            jobs = stack.enter_context(started(project, log, "jobs"))
            time.sleep(5)
            for what, rate in (("idle", 0), (f"{options.rate:,} events/s", options.rate)):
                figures.progress(what)
                for server, cpu, resident in measured((serving, jobs), rate, options.seconds):
                    rows.append([server.name, what, f"{cpu:.2f}", f"{resident / 1e6:.0f}"])
    figures.table(["process", "load", "processors", "largest RSS MB"], rows)


@contextlib.contextmanager
def started(project: Path, log: str, name: str, *options: str) -> Iterator[Server]:
    """`headwater up` with these options, on any core."""
    command = [str(Path(sys.executable).parent / "headwater"), "up", "--project", str(project), "--port", "{port}"]
    environment = {**os.environ, "HEADWATER_LOG": log}
    cores = {*range(os.cpu_count() or 1)}
    with machine.running(name, [*command, *options], environment, cores) as server:
        yield server


def measured(servers: tuple[Server, ...], rate: int, seconds: float) -> list[tuple[Server, float, int]]:
    """Each server with the processors that it used and its largest memory, while the first is sent `rate` events/s."""
    largest = dict.fromkeys(servers, 0)
    before = {server: server.cpu_seconds() for server in servers}
    connection = http.client.HTTPConnection(servers[0].host, servers[0].port)
    begin = look = time.monotonic()
    sent = 0
    while (now := time.monotonic()) < begin + seconds:
        if now >= look:
            look = now + LOOK_SECONDS
            largest = {server: max(most, server.resident_bytes()) for server, most in largest.items()}
        if sent < (now - begin) * rate:
            post(connection, sent)
            sent += BATCH
        else:
            time.sleep(0.001)
    took = time.monotonic() - begin
    if sent < 0.95 * rate * seconds:
        raise SystemExit(f"Only {sent / took:,.0f} of {rate:,} events/s were sent.")
    return [(server, (server.cpu_seconds() - before[server]) / took, largest[server]) for server in servers]


def post(connection: http.client.HTTPConnection, first: int) -> None:
    """One request of `BATCH` events; raises if they are not accepted."""
    events = [
        {
            "$schema": "/demo/edit/1.0.0",
            "meta": {"stream": "demo.edit"},
            "dt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "wiki": f"wiki{number % 20}",
            "title": f"Page {number * 7919 % 5000}",
            "user": "Ann",
            "bot": False,
            "bytes": 12,
        }
        for number in range(first, first + BATCH)
    ]
    connection.request("POST", "/v1/events", json.dumps(events), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 201:
        raise SystemExit(f"The server answered {answer.status}.")


if __name__ == "__main__":
    main()
