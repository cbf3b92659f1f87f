"""Runs the jobs embedded in processes that are killed at random points while events come, and then to the end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from flink.corpus import Event, admitted, config_of, run_embedded
from headwater.log.contract import Log, Record
from headwater.log.open import log_of
from headwater.testing.eventually import eventually
from requirements import REPOSITORY

KILLS = 4
# In how many appends the events come between two kills.
APPENDS = 4
PAUSE_SECONDS_MAX = 0.3
SECONDS_MAX = 120.0


async def run_killed(url: str, folder: Path, made: Sequence[tuple[Event, int]], seed: int, stream: str) -> None:
    """Process the events, with KILLS kills, each after the process has written something to `stream`."""
    chance = random.Random(seed)
    config = config_of(url, folder)
    log = log_of(config)
    await log.open()
    try:
        parts = _parts(await admitted(config, log, made), KILLS + 1)
        for part in parts[:-1]:
            process = await _started(url, folder)
            first, *others = _parts(part, APPENDS)
            before = await _written(log, stream)
            await log.append(first)
            await _more_written(log, stream, before)
            for some in others:
                await log.append(some)
                await asyncio.sleep(chance.uniform(0, PAUSE_SECONDS_MAX))
            assert process.returncode is None, "it ended by itself"
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await log.append(parts[-1])
    finally:
        await log.close()
    await run_embedded(config)


async def _more_written(log: Log, stream: str, before: int) -> None:
    async def is_more() -> bool:
        return await _written(log, stream) > before

    await eventually(is_more, seconds=SECONDS_MAX)


async def _written(log: Log, stream: str) -> int:
    """How far a stream has come."""
    if not await log.partition_counts([stream]):
        return 0
    return sum((await log.last([stream])).offsets.values())


async def _started(url: str, folder: Path) -> asyncio.subprocess.Process:
    """A process of which the jobs run."""
    path = os.pathsep.join([str(REPOSITORY / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flink.embedded_process", url, str(folder)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS_MAX):
        assert await process.stdout.readline() == b"running\n"
    return process


def _parts(records: Sequence[Record], count: int) -> list[Sequence[Record]]:
    """The records in so many parts, in order."""
    size = -(-len(records) // count)
    return [records[start : start + size] for start in range(0, len(records), size)]
