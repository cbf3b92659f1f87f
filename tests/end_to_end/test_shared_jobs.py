"""Stateless jobs whose partitions processes share on Kafka: all work, and every input counts once, deaths included."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from end_to_end.sharing import (
    PARTITIONS,
    check_exact,
    child_of,
    has,
    records_of,
    shared,
    shared_project,
    started,
    watch,
    write,
)
from headwater.config import Config, load_config
from headwater.log.contract import Position
from headwater.platform import Platform, build
from headwater.testing.eventually import DEADLINE_SECONDS, eventually


@pytest.fixture
def config(tmp_path: Path, kafka_server: str) -> Config:
    return shared_project(tmp_path / "project", kafka_server)


def alone(config: Config) -> Config:
    """The same project, whose jobs are not shared."""
    return load_config(config.project_dir, environment={}, overrides={"log.url": config.log.url})


async def test_processes_share_the_partitions_of_a_job_and_hand_them_over_as_they_come_and_leave(
    config: Config,
) -> None:
    first = await started(config)
    platforms = [first]
    try:
        await eventually(has(first, PARTITIONS))
        await write(first, range(200))
        platforms.append(second := await started(config))
        writing = asyncio.create_task(write(first, range(200, 900)))
        # Who lost a partition names it until its last batch has ended.
        await eventually(lambda: has(second, 2)() and has(first, 2)())
        assert not shared(first).partitions & shared(second).partitions
        platforms.append(await started(config))
        await eventually(lambda: all(has(p, n)() for p, n in zip(platforms, sorted_counts(platforms), strict=True)))
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
        await eventually(has(first, PARTITIONS))
        await write(first, range(1100, 1200))
        await check_exact(first, 1200)
    finally:
        for platform in platforms:
            await platform.stop()


def sorted_counts(platforms: list[Platform]) -> list[int]:
    """How many partitions each has, once all have one and all partitions are assigned; else an impossible number."""
    counts = [len(shared(platform).partitions) for platform in platforms]
    return counts if sum(counts) == PARTITIONS and min(counts) > 0 else [-1] * len(counts)


@pytest.mark.parametrize("way", ["it is killed", "it stands still and goes on"])
async def test_others_take_over_from_a_process_without_losing_or_repeating_anything_when(
    config: Config, way: str
) -> None:
    first = await started(config)
    child = child_of(config)
    try:
        await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 0), DEADLINE_SECONDS)
        await eventually(has(first, 2))
        writing = asyncio.create_task(write(first, range(1500)))
        await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 50), DEADLINE_SECONDS)
        child.send_signal(signal.SIGKILL if way == "it is killed" else signal.SIGSTOP)
        await eventually(has(first, PARTITIONS))
        await writing
        await check_exact(first, 1500)
        if way != "it is killed":
            child.send_signal(signal.SIGCONT)
            await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 0), DEADLINE_SECONDS)
            await write(first, range(1500, 1800))
            await check_exact(first, 1800)
    finally:
        child.kill()
        await asyncio.to_thread(child.communicate)
        await first.stop()


async def test_a_job_resumes_where_it_was_when_it_is_shared_and_when_it_no_longer_is(config: Config) -> None:
    whole = build(alone(config))
    await whole.start()
    await write(whole, range(100))
    await check_exact(whole, 100)
    # Not stopped: who shares the job fences it.
    first = await started(config)
    try:
        await eventually(has(first, PARTITIONS))
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
        await eventually(lambda: whole.runners["passed"].report().state == "running")
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
        deadline = time.monotonic() + DEADLINE_SECONDS
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
