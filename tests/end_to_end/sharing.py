"""A project with one shared job, for the tests of how processes share it, and how its outputs are counted."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.edits import SCHEMAS, write_files
from headwater.config import Config, load_config
from headwater.log.contract import StoredRecord
from headwater.platform import Platform, build
from headwater.processing.embedded.partitioned import SharedRunner
from headwater.processing.embedded.settings import RunnerSettings

PARTITIONS = 4
FILES = {
    **SCHEMAS,
    "streams/edit.yaml": f"stream: edit\nschema_title: edit\ntransport: {{partitions: {PARTITIONS}}}\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "jobs/jobs.py": """
import time
from headwater.jobs import job

@job(source="edit", sink="passed")
def passed(event, context):
    time.sleep(0.001)
    return {"edit": event["number"]}
""",
}
# Runs the job in small batches until it is killed.
CHILD = """
import asyncio, json, logging, sys
from pathlib import Path
from headwater.config import load_config
from headwater.platform import build
from headwater.processing.embedded.settings import RunnerSettings

async def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    platform = build(load_config(Path(sys.argv[1]), environment={}, overrides=json.loads(sys.argv[2])))
    runner = platform.runners["passed"].runner
    runner.settings = RunnerSettings(batch_records_max=10)
    await platform.start(run_jobs=False, run_shared_jobs=True)
    while True:
        print(len(runner.partitions), platform.runners["passed"].report().written, flush=True)
        await asyncio.sleep(0.05)

asyncio.run(main())
"""


def edit(number: int) -> dict[str, Any]:
    return {
        "$schema": "/edit/1.0.0",
        "meta": {"stream": "edit", "id": f"edit-{number}", "dt": "2023-11-14T20:00:00Z"},
        "number": number,
    }


def shared_project(project: Path, kafka_server: str, **overrides: object) -> Config:
    """A new project whose job is shared, in a namespace of its own. `overrides`: settings, with `__` for the dot."""
    write_files(project, FILES)
    settings = {"log.url": f"kafka://{kafka_server}/shared{time.time_ns():x}.", "jobs.shared": True}
    settings |= {name.replace("__", "."): value for name, value in overrides.items()}
    return load_config(project, environment={}, overrides=settings)


def shared(platform: Platform) -> SharedRunner:
    runner = platform.runners["passed"].runner
    assert isinstance(runner, SharedRunner)
    return runner


async def started(config: Config) -> Platform:
    platform = build(config)
    shared(platform).settings = RunnerSettings(batch_records_max=10)
    await platform.start(run_jobs=False, run_shared_jobs=True)
    return platform


async def write(platform: Platform, numbers: range) -> None:
    # In small appends: each goes to the next partition.
    for start in range(numbers.start, numbers.stop, 5):
        await platform.intake.write([edit(number) for number in range(start, min(start + 5, numbers.stop))])


async def records_of(platform: Platform, topic: str) -> list[StoredRecord]:
    position = await platform.log.first([topic])
    found: list[StoredRecord] = []
    while records := await platform.log.read(position):
        found += records
        for record in records:
            position = position.after(record)
    return found


async def numbers_of(platform: Platform) -> list[int]:
    """What the job has made, in order."""
    return [json.loads(record.value)["edit"] for record in await records_of(platform, "passed")]


async def check_exact(platform: Platform, count: int) -> None:
    """Wait for one output for every input; then there are no more, and those of a partition are in its order."""
    deadline = time.monotonic() + 40
    while len(numbers := await numbers_of(platform)) < count:
        assert time.monotonic() < deadline, f"{len(numbers)} of {count} came"
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.3)
    numbers = await numbers_of(platform)
    assert sorted(numbers) == list(range(count))
    place_of = {
        json.loads(record.value)["number"]: (record.partition, record.offset)
        for record in await records_of(platform, "edit")
    }
    for partition in range(PARTITIONS):
        places = [place_of[number] for number in numbers if place_of[number][0] == partition]
        assert places == sorted(places)


def has(platform: Platform, partitions: int) -> Callable[[], bool]:
    return lambda: len(shared(platform).partitions) == partitions


def child_of(config: Config, said: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Another process that shares the job; it prints what `watch` reads, and logs into the file `said`."""
    settings = {
        "log.url": config.log.url,
        "jobs.shared": True,
        "jobs.shared_stall_seconds_max": config.jobs.shared_stall_seconds_max,
    }
    with open(said or os.devnull, "w") as logged:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(config.project_dir), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=logged,
            text=True,
            env={**os.environ, **environment},
        )


def watch(child: subprocess.Popen[str], partitions: int, written: int) -> None:
    """Read what the child says until it has so many partitions and has written so much."""
    assert child.stdout is not None
    for line in child.stdout:
        now = [int(number) for number in line.split()]
        if now[0] == partitions and now[1] >= written:
            return
    pytest.fail("the child ended")
