"""A process that hangs in a job's function while its client still reports that it lives: the others take over."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from end_to_end.sharing import PARTITIONS, check_exact, child_of, has, shared_project, started, watch, write
from headwater.config import Config
from headwater.platform import Platform
from headwater.testing.eventually import DEADLINE_SECONDS, eventually

STALL_SECONDS_MAX = 1.5
# Hangs once, where and how it is told: in a way that lets the other threads run, or in one that lets none.
HANGING = """
import ctypes, os, time
from pathlib import Path
from headwater.jobs import job

here = Path(os.environ.get("HANGS_IN", "/nowhere"))

@job(source="edit", sink="passed")
def passed(event, context):
    time.sleep(0.001)
    if event["number"] >= 100 and here.exists() and not (here / "hung").exists():
        (here / "hung").touch()
        if os.environ["HANGS"] == "alone":
            while not (here / "awake").exists():
                time.sleep(0.05)
        else:
            ctypes.PyDLL(None).sleep(int(os.environ["HANGS"]))
            (here / "awake").touch()
    return {"edit": event["number"]}
"""


@pytest.fixture
def config(tmp_path: Path, kafka_server: str) -> Config:
    config = shared_project(tmp_path / "project", kafka_server, jobs__shared_stall_seconds_max=STALL_SECONDS_MAX)
    (config.project_dir / "jobs" / "jobs.py").write_text(HANGING)
    return config


@asynccontextmanager
async def hanging(config: Config, here: Path, how: str) -> AsyncIterator[tuple[Platform, subprocess.Popen[str]]]:
    """This process and another that share the job; the other hangs in the middle of it, after reporting that it
    does.
    """
    first = await started(config)
    child = child_of(config, here / "said", HANGS_IN=str(here), HANGS=how)
    try:
        await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 0), DEADLINE_SECONDS)
        await eventually(has(first, 2))
        await write(first, range(100))
        await check_exact(first, 100)
        await write(first, range(100, 400))
        await eventually((here / "hung").exists)
        yield first, child
    finally:
        child.kill()
        await asyncio.to_thread(child.communicate)
        await first.stop()


async def test_others_take_over_from_a_process_that_hangs_and_what_it_writes_when_it_wakes_is_refused(
    config: Config, tmp_path: Path
) -> None:
    async with hanging(config, tmp_path, "alone") as (first, child):
        hung_at = time.monotonic()
        await eventually(has(first, PARTITIONS))
        assert time.monotonic() - hung_at > STALL_SECONDS_MAX / 2
        await write(first, range(400, 500))
        await check_exact(first, 500)
        assert "was blocked for 1.5 s" in (tmp_path / "said").read_text()

        (tmp_path / "awake").touch()
        # It ends its batch and wants to commit it, then takes part again.
        await eventually(lambda: "another process has taken over partition" in (tmp_path / "said").read_text())
        await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 0), DEADLINE_SECONDS)
        await eventually(has(first, 2))
        await write(first, range(500, 600))
        await check_exact(first, 600)


async def test_others_take_over_from_a_process_of_which_no_thread_can_run(config: Config, tmp_path: Path) -> None:
    async with hanging(config, tmp_path, "11") as (first, child):
        # The client itself notices, no sooner than its session would end.
        await eventually(has(first, PARTITIONS))
        assert not (tmp_path / "awake").exists()
        await write(first, range(400, 500))
        await check_exact(first, 500)
        await eventually((tmp_path / "awake").exists)
        await asyncio.wait_for(asyncio.to_thread(watch, child, 2, 0), DEADLINE_SECONDS)
        await write(first, range(500, 600))
        await check_exact(first, 600)
