"""A day of real edits through all jobs of `wikimedia/` that read `recentchange`, at once, each in a process of its own.

How this works: the project is copied with those jobs only, and started with as many processes for jobs as there are
jobs, so that the processor time and the memory of each can be read from the system. The edits are sent over HTTP, a
request after the other, as fast as they are accepted. What each job has processed is asked of `/v1/jobs`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
from headwater.config import load_config
from headwater.processing.declarations import declarations

REPOSITORY = Path(__file__).resolve().parents[1]
STREAM = "mediawiki.recentchange"
FIXTURES = Path(os.environ.get("HEADWATER_FIXTURES") or REPOSITORY.parent / "shared" / "fixtures")
EDITS = FIXTURES / "wikimedia/derived/recentchange_2016-06-27.jsonl.gz"
PER_REQUEST = 100
SECONDS_MAX = 1_800.0
HEADWATER = str(Path(sys.executable).parent / "headwater")
PROCESS_MODULE = b"headwater.cli.up.job_process"


@dataclass(slots=True)
class Figures:
    """Of one job. `lag_max`: the most events that it was behind. `cpu_seconds`: since the first edit was sent."""

    name: str
    counts: dict[str, int]
    lag_max: int
    seconds: float
    cpu_seconds: float
    resident_bytes: int


def project_of_readers(folder: Path) -> tuple[Path, list[str]]:
    """A copy of the project with the files of the jobs that read the stream only, and the names of these jobs."""
    project = folder / "wikimedia"
    shutil.copytree(REPOSITORY / "wikimedia", project, ignore=shutil.ignore_patterns("__pycache__", "var"))
    _, jobs = declarations(load_config(project, environment={}))
    kept = {Path(job.place.file).name for job in jobs if STREAM in job.reads() and job.place is not None}
    for file in (project / "jobs").glob("*.py"):
        if file.name not in kept:
            file.unlink()
    _, jobs = declarations(load_config(project, environment={}))
    return project, [job.name for job in jobs]


def job_processes(root: int) -> dict[str, list[int]]:
    """The processes of each job, by the names in their command lines."""
    found: dict[str, list[int]] = {}
    for pid in machine.tree(root):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if PROCESS_MODULE in arguments:
            for name in arguments[arguments.index(PROCESS_MODULE) + 3].decode().split(","):
                found.setdefault(name, []).append(pid)
    return found


def jobs_of(server: machine.Server, key: str) -> dict[str, dict[str, Any]]:
    """What the server says of its jobs, by name; with a key, since some of their streams are private."""
    request = urllib.request.Request(f"http://{server.host}:{server.port}/v1/jobs")
    request.add_header("authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return {one["name"]: one for one in json.load(answer)["jobs"]}


def key_for(project: Path) -> str:
    """A key that may read everything."""
    command = [HEADWATER, "keys", "create", "benchmark", "--scope", "events:read", "--scope", "streams:read"]
    answer = subprocess.run([*command, "--project", str(project)], check=True, capture_output=True, text=True)
    return next(word for word in answer.stdout.split() if len(word) > 30)


def send(server: machine.Server, lines: list[bytes]) -> None:
    """One request with these events, all of which must be accepted."""
    request = urllib.request.Request(
        f"http://{server.host}:{server.port}{server.path}",
        b"[" + b",".join(lines) + b"]",
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        if answer.status != 201:
            raise SystemExit(f"{answer.status}: {answer.read()[:500]!r}")


def measure(folder: Path, lines: list[bytes]) -> tuple[float, float, float, list[Figures], int]:
    """Seconds until all were accepted and until all were processed, processor seconds of the process that accepts,
    the figures of each job, and the memory of all processes.
    """
    project, names = project_of_readers(folder)
    environment = {
        **os.environ,
        "HEADWATER_JOBS_PROCESSES": str(len(names)),
        "HEADWATER_MONITORING_CANARIES": "false",
    }
    command = [HEADWATER, "up", "--project", str(project), "--port", "{port}"]
    key = key_for(project)
    with machine.running("wikimedia", command, environment, {*range(os.cpu_count() or 1)}) as server:
        pids = _until_all_run(server, names, key)
        assert server.pid is not None
        _until_idle(server)
        before = {pid: machine.ticks(pid) for pid in machine.tree(server.pid)}
        lag, ended = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
        begun = time.monotonic()

        def look() -> bool:
            """Note how far each job is; whether all are at the end."""
            for name, job in jobs_of(server, key).items():
                lag[name] = max(lag[name], job["lag"] or 0)
                if job["read"] >= len(lines) and not ended[name]:
                    ended[name] = time.monotonic() - begun
            return all(ended.values())

        for start in range(0, len(lines), PER_REQUEST):
            send(server, lines[start : start + PER_REQUEST])
            if start % (20 * PER_REQUEST) == 0:
                look()
        accepted = time.monotonic() - begun
        while not look():
            if time.monotonic() - begun > SECONDS_MAX:
                raise SystemExit(f"Not all was processed after {SECONDS_MAX:.0f} s: {jobs_of(server, key)}")
            time.sleep(0.25)
        known = jobs_of(server, key)

        def cpu(pid: int) -> float:
            return (machine.ticks(pid) - before.get(pid, 0)) / machine.TICKS_PER_SECOND

        figures = [
            Figures(
                name,
                {count: known[name][count] or 0 for count in ("written", "errors", "late")},
                lag[name],
                ended[name],
                sum(map(cpu, pids[name])),
                sum(machine.resident_bytes(pid) for pid in pids[name]),
            )
            for name in names
        ]
        return accepted, max(ended.values()), cpu(server.pid), figures, server.resident_bytes()


def _until_all_run(server: machine.Server, names: list[str], key: str) -> dict[str, list[int]]:
    """The processes of all jobs, each of which must have one of its own."""
    assert server.pid is not None
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        pids = job_processes(server.pid)
        known = jobs_of(server, key)
        if set(pids) == set(names) and set(known) >= set(names):
            return pids
        time.sleep(0.25)
    raise SystemExit(f"Not all jobs run: {sorted({*names} - {*known, *pids})}.")


def _until_idle(server: machine.Server) -> None:
    """Return when the processes have loaded the project, which takes longer than a hundred events."""
    used = 0.0
    for _ in range(120):
        before, used = used, server.cpu_seconds()
        if used - before < 0.2:
            return
        time.sleep(1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=Path, default=EDITS, help="events of mediawiki.recentchange, JSON Lines")
    options = parser.parse_args()
    data = options.edits.read_bytes()
    lines = (gzip.decompress(data) if options.edits.suffix == ".gz" else data).splitlines()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        accepted, processed, cpu, figures, resident = measure(Path(folder), lines)
    print(f"{len(lines):,} events; load average {load:.0f} before, {os.getloadavg()[0]:.0f} after")
    print(f"accepted in {accepted:.1f} s, {len(lines) / accepted:,.0f}/s; by all jobs in {processed:.1f} s")
    print(f"accepting: {1e6 * cpu / len(lines):.0f} µs per event; memory of all processes {resident / 1e6:.0f} MB\n")
    print("| job | written | failed | late | processed after | most events behind | CPU per event | memory |")
    print("|---|---|---|---|---|---|---|---|")
    for one in figures:
        counts = [f"{one.counts.get(name, 0):,}" for name in ("written", "errors", "late")]
        print(
            f"| `{one.name}` | {' | '.join(counts)} | {one.seconds:.1f} s | {one.lag_max:,} "
            f"| {1e6 * one.cpu_seconds / len(lines):.0f} µs | {one.resident_bytes / 1e6:.0f} MB |"
        )


if __name__ == "__main__":
    main()
