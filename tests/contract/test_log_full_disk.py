"""On a full disk what expires makes room, whatever has filled it, and writing resumes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.errors import LogFull
from headwater.log.contract import Position, Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.space import DiskLimits
from headwater.testing.clock import ManualClock
from requirements import mount_small_disk

DISK_MEGABYTES = 20
DISK_LIMITS = DiskLimits(reserve_bytes=16_777_216)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, that can be filled."""
    place = tmp_path / "disk"
    place.mkdir()
    mount_small_disk(place, DISK_MEGABYTES)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def records(kilobytes: int) -> list[Record]:
    return [Record("a", os.urandom(1000)) for _ in range(kilobytes)]


async def fill(log: SqliteLog, kilobytes: int) -> int:
    """Append until there is no space; how many records were taken."""
    taken = 0
    while True:
        try:
            taken += len(await log.append(records(kilobytes)))
        except LogFull:
            return taken


def fill_with_a_file(path: Path) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=4k"], check=False, capture_output=True)


async def count(log: SqliteLog) -> int:
    position = await log.first(["a"])
    found = 0
    while some := await log.read(position, records_max=5000):
        found += len(some)
        position = Position({("a", 0): some[-1].offset + 1})
    return found


@pytest.mark.parametrize("kilobytes", [1, 100, 3000])
async def test_what_expires_makes_room_again_and_again(disk: Path, kilobytes: int) -> None:
    clock = ManualClock()
    log = SqliteLog(disk / "events.db", clock=clock, disk=DISK_LIMITS)
    await log.open()
    await log.ensure_topic("a", TopicSettings(retention_seconds=10.0))
    # The smallest appends only fill what larger ones have left.
    await fill(log, max(kilobytes, 100))
    for _ in range(3):
        await fill(log, kilobytes)
        with pytest.raises(LogFull, match="no space left"):
            await log.append(records(kilobytes))
        kept = await count(log)
        assert kept > 0
        clock.advance(60)
        assert await log.trim() == kept
        assert len(await log.append(records(kilobytes))) == kilobytes
        await fill(log, max(kilobytes, 100))
    assert (await log.verify()).sound
    await log.close()


async def test_half_of_it_expires(disk: Path) -> None:
    clock = ManualClock()
    log = SqliteLog(disk / "events.db", clock=clock, disk=DISK_LIMITS)
    await log.open()
    await log.ensure_topic("a", TopicSettings(retention_seconds=100.0))
    for _ in range(60):
        await log.append(records(100))
    clock.advance(90)
    await fill(log, 100)
    clock.advance(20)
    assert await log.trim() == 6000
    assert len(await log.append(records(100))) == 100
    await log.close()


async def test_a_disk_that_others_have_filled_is_left_to_retention(disk: Path) -> None:
    clock = ManualClock()
    log = SqliteLog(disk / "events.db", clock=clock, disk=DISK_LIMITS)
    await log.open()
    await log.ensure_topic("a", TopicSettings(retention_seconds=10.0))
    for _ in range(40):
        await log.append(records(100))
    fill_with_a_file(disk / "theirs")
    assert shutil.disk_usage(disk).free == 0
    await fill(log, 100)
    clock.advance(60)
    await log.trim()
    assert len(await log.append(records(10))) == 10
    assert (disk / "events.db.reserve").stat().st_size > 500_000
    await log.close()


async def test_space_that_comes_back_is_used_at_once(disk: Path) -> None:
    log = SqliteLog(disk / "events.db", disk=DISK_LIMITS)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    (disk / "theirs").write_bytes(bytes(12_000_000))
    await fill(log, 100)
    (disk / "theirs").unlink()
    assert len(await log.append(records(100))) == 100
    await log.close()


async def test_appends_that_wait_together_are_answered_each_on_a_full_disk(disk: Path) -> None:
    log = SqliteLog(disk / "events.db", disk=DISK_LIMITS)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    outcomes = await asyncio.gather(*(log.append(records(200)) for _ in range(150)), return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, BaseException)]
    assert refused
    assert all(isinstance(one, LogFull) for one in refused)
    assert await count(log) == 200 * (len(outcomes) - len(refused))
    await log.close()


async def test_a_log_that_cannot_be_opened_promises_nothing_by_itself(disk: Path) -> None:
    fill_with_a_file(disk / "somebody")
    for path in (disk / "events.db", disk / "there" / "events.db"):
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)
        with pytest.raises(LogFull) as raised:
            await SqliteLog(path, disk=DISK_LIMITS).open()
        assert "start again" in (raised.value.hint or "")
        assert "automatically" not in (raised.value.hint or "")
    (disk / "somebody").unlink()
    log = SqliteLog(disk / "events.db", disk=DISK_LIMITS)
    await log.open()
    await log.close()
