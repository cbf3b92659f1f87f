"""Stateless jobs whose partitions processes share on Kafka: all work, and every input counts once, deaths included."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.config import Config, load_config
from headwater.log.contract import Position, StoredRecord
from headwater.platform import Platform, build
from headwater.processing.embedded import RunnerSettings
from headwater.processing.shared import SharedRunner

PARTITIONS = 4
SCHEMA = """
title: {name}
$id: /{name}/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
properties:
  meta: {{type: object, properties: {{id: {{type: string}}, stream: {{type: string}}, dt: {{type: string}}}}}}
"""
FILES = {
    "schemas/edit/1.0.0.yaml": SCHEMA.format(name="edit"),
    "schemas/count/1.0.0.yaml": SCHEMA.format(name="count"),
    "streams/edit.yaml": f"stream: edit\nschema_title: edit\ntransport: {{partitions: {PARTITIONS}}}\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "jobs/jobs.py": """
import time
from headwater.processing import job

@job(source="edit", sink="passed")
def passed(event, context):
    time.sleep(0.001)
    return {"edit": event["number"]}
""",
}
# Runs the job in small batches until it is killed.
CHILD = """
import asyncio, sys
from pathlib import Path
from headwater.config import load_config
from headwater.platform import build
from headwater.processing.embedded import RunnerSettings

async def main():
    overrides = {"log.url": sys.argv[2], "jobs.shared": True}
    platform = build(load_config(Path(sys.argv[1]), environment={}, overrides=overrides))
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


@pytest.fixture
def config(tmp_path: Path, kafka_server: str) -> Config:
    project = tmp_path / "project"
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    url = f"kafka://{kafka_server}/shared{time.time_ns():x}."
    return load_config(project, environment={}, overrides={"log.url": url, "jobs.shared": True})


def alone(config: Config) -> Config:
    """The same project, whose jobs are not shared."""
    return load_config(config.project_dir, environment={}, overrides={"log.url": config.log.url})


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


async def until(done: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to that in time"
        await asyncio.sleep(0.02)


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


async def test_processes_share_the_partitions_of_a_job_and_hand_them_over_as_they_come_and_leave(
    config: Config,
) -> None:
    first = await started(config)
    platforms = [first]
    try:
        await until(has(first, PARTITIONS))
        await write(first, range(200))
        platforms.append(second := await started(config))
        writing = asyncio.create_task(write(first, range(200, 900)))
        # Who lost a partition names it until its last batch has ended.
        await until(lambda: has(second, 2)() and has(first, 2)())
        assert not shared(first).partitions & shared(second).partitions
        platforms.append(await started(config))
        await until(lambda: all(has(p, n)() for p, n in zip(platforms, sorted_counts(platforms), strict=True)))
        await writing
        await check_exact(first, 900)
        await write(first, range(900, 1100))
        await check_exact(first, 1100)
        for platform in platforms:
            report = platform.runners["passed"].report()
            assert report.state == "running"
            assert report.written > 0
        assert sum(platform.runners["passed"].report().written for platform in platforms) == 1100
        assert [await shared(platform).lag() for platform in platforms] == [0, 0, 0]

        # What was another's can be had again, though it was fenced when the other took it.
        await platforms.pop().stop()
        await platforms.pop().stop()
        await until(has(first, PARTITIONS), seconds=5)
        await write(first, range(1100, 1200))
        await check_exact(first, 1200)
    finally:
        for platform in platforms:
            await platform.stop()


def sorted_counts(platforms: list[Platform]) -> list[int]:
    """How many partitions each has, once all have one and all partitions are somebody's; else what cannot be."""
    counts = [len(shared(platform).partitions) for platform in platforms]
    return counts if sum(counts) == PARTITIONS and min(counts) > 0 else [-1] * len(counts)


def child_of(config: Config) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(config.project_dir), config.log.url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def watch(child: subprocess.Popen[str], partitions: int, written: int) -> None:
    """Read what the child says until it has so many partitions and has written so much."""
    assert child.stdout is not None
    for line in child.stdout:
        now = [int(number) for number in line.split()]
        if now[0] == partitions and now[1] >= written:
            return
    pytest.fail("the child ended")


@pytest.mark.parametrize("way", ["it is killed", "it stands still and goes on"])
async def test_others_take_over_from_a_process_without_losing_or_repeating_anything_when(
    config: Config, way: str
) -> None:
    first = await started(config)
    child = child_of(config)
    try:
        await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 0), 30)
        await until(has(first, 2))
        writing = asyncio.create_task(write(first, range(1500)))
        await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 50), 30)
        child.send_signal(signal.SIGKILL if way == "it is killed" else signal.SIGSTOP)
        gone = time.monotonic()
        await until(has(first, PARTITIONS))
        assert time.monotonic() - gone < 12
        await writing
        await check_exact(first, 1500)
        if way != "it is killed":
            child.send_signal(signal.SIGCONT)
            await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 0), 30)
            await write(first, range(1500, 1800))
            await check_exact(first, 1800)
    finally:
        child.kill()
        await asyncio.to_thread(child.communicate)
        await first.stop()


async def test_a_job_goes_on_where_it_was_when_it_is_shared_and_when_it_no_longer_is(config: Config) -> None:
    whole = build(alone(config))
    await whole.start()
    await write(whole, range(100))
    await check_exact(whole, 100)
    # Not stopped: who shares the job fences it.
    first = await started(config)
    try:
        await until(has(first, PARTITIONS))
        await write(first, range(100, 200))
        await check_exact(first, 200)
    finally:
        await whole.stop()
        await first.stop()
    whole = build(alone(config))
    await whole.start()
    try:
        # Before anything comes, the job's own token says all that the partitions' did.
        last = await whole.log.last(["edit"])
        await until(lambda: whole.runners["passed"].report().state == "running")
        assert Position.parse(await whole.log.committed("job.passed") or "").offsets == last.offsets
        await write(whole, range(200, 300))
        await check_exact(whole, 300)
    finally:
        await whole.stop()
    first = build(config)
    await first.start(run_jobs=False)
    try:
        await write(first, range(300, 320))
        await first.finish_jobs()
        await check_exact(first, 320)
    finally:
        await first.stop()


def two_workers(config: Config) -> subprocess.Popen[bytes]:
    main = [sys.executable, "-c", "from headwater.cli import main; main()"]
    return subprocess.Popen(
        [*main, "up", "--project", str(config.project_dir), "--port", "0", "--workers", "2"],
        env={**os.environ, "HEADWATER_LOG": config.log.url},
    )


async def test_all_workers_of_one_start_work_on_a_shared_job(config: Config) -> None:
    source = (config.project_dir / "jobs" / "jobs.py").read_text()
    told = source.replace('"edit": event["number"]', '"edit": event["number"], "by": os.getpid()')
    (config.project_dir / "jobs" / "jobs.py").write_text(f"import os\n{told}")
    (config.project_dir / "headwater.yaml").write_text("jobs: {shared: true}\n")
    process = two_workers(config)
    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        written, workers = 0, set[int]()
        deadline = time.monotonic() + 40
        while len(workers) < 2:
            assert time.monotonic() < deadline, f"only {len(workers)} of the workers had a share"
            await write(platform, range(written, written + 40))
            written += 40
            await asyncio.sleep(0.5)
            workers = {json.loads(record.value)["by"] for record in await records_of(platform, "passed")}
        await check_exact(platform, written)
        assert process.pid not in workers
    finally:
        await platform.stop()
        process.terminate()
        await asyncio.to_thread(process.wait, 40)
