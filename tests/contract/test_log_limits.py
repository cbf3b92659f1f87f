"""The embedded log at its limits: a full disk, other processes, queues, the write-ahead log, retention under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headwater.errors import EventTooLarge, LogCorrupt, LogFull, LogUnavailable
from headwater.log.contract import Commit, Position, Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.space import DiskLimits
from headwater.testing.clock import ManualClock
from headwater.testing.faults import flip_bit
from headwater.testing.suites.log import read_all
from requirements import mount_small_disk

NOISE = random.Random(1).randbytes(50_000)


@contextlib.asynccontextmanager
async def opened(log: SqliteLog) -> AsyncIterator[SqliteLog]:
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def fill(log: SqliteLog, *, appends_max: int = 2_000) -> int:
    """Append until the log is full; how many appends it took."""
    for number in range(appends_max):
        try:
            await log.append([Record("a", b"%d " % number + NOISE)], commit=Commit("g", f"t{number}"))
        except LogFull:
            return number
    raise AssertionError("the log never became full")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount_small_disk(place, 12)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


async def test_when_the_disk_is_full_reads_go_on_and_writing_resumes_alone(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(6_000_000))
    async with opened(SqliteLog(small_disk / "events.db")) as log:
        await log.ensure_topic("a", TopicSettings())
        count = await fill(log)
        assert count > 10
        outcomes = await asyncio.gather(*(log.append([Record("a", NOISE)]) for _ in range(5)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {LogFull}
        assert len(await read_all(log, ["a"])) == count
        assert await log.committed("g") == f"t{count - 1}"
        filler.unlink()
        assert (await log.append([Record("a", b"again")]))[0].offset == count
        assert (await log.verify()).damages == ()
    async with opened(SqliteLog(small_disk / "events.db")) as log:
        assert len(await read_all(log, ["a"])) == count + 1


async def test_a_file_at_its_limit_is_a_full_disk_until_retention_frees_pages(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(SqliteLog(tmp_path / "events.db", clock=clock, disk=DiskLimits(file_bytes_max=4_000_000))) as log:
        await log.ensure_topic("a", TopicSettings(retention_seconds=60))
        count = await fill(log)
        assert (tmp_path / "events.db").stat().st_size <= 4_000_000
        clock.advance(100)
        assert await log.trim() == count
        assert (await log.append([Record("a", NOISE)]))[0].offset == count


async def test_what_fits_is_stored_when_a_neighbour_in_the_same_commit_does_not_fit(tmp_path: Path) -> None:
    async with opened(SqliteLog(tmp_path / "events.db", disk=DiskLimits(file_bytes_max=2_000_000))) as log:
        await log.ensure_topic("a", TopicSettings())
        small = [log.submit([Record("a", b"%d" % n)]) for n in range(3)]
        large = log.submit([Record("a", random.Random(2).randbytes(3_000_000))])
        outcomes = await asyncio.gather(*small, large, return_exceptions=True)
        assert [isinstance(outcome, LogFull) for outcome in outcomes[:3]] == [False] * 3
        assert isinstance(outcomes[-1], LogFull)
        values = [record.value for record in await read_all(log, ["a"])]
        assert values == [b"0", b"1", b"2"]


async def test_another_process_holding_the_file_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with opened(SqliteLog(path, busy_seconds=0.2)) as log:
        await log.ensure_topic("a", TopicSettings())
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable, match="Another process"):
                await log.append([Record("a", b"x")])
            assert list(await log.read(Position({("a", 0): 0}))) == []
            other.execute("COMMIT")
        assert (await log.append([Record("a", b"x")]))[0].offset == 0


async def test_too_much_waiting_to_be_written_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with opened(SqliteLog(path, busy_seconds=5, queue_bytes_max=100_000)) as log:
        await log.ensure_topic("a", TopicSettings())
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            taken = [log.submit([Record("a", bytes(40_000))]) for _ in range(2)]
            with pytest.raises(LogUnavailable, match="waiting to be written"):
                log.submit([Record("a", bytes(40_000))])
            other.execute("COMMIT")
        assert [placed[0].offset for placed in await asyncio.gather(*taken)] == [0, 1]
        assert (await log.append([Record("a", bytes(40_000))]))[0].offset == 2


async def test_what_could_never_be_read_again_is_not_stored(tmp_path: Path) -> None:
    async with opened(SqliteLog(tmp_path / "events.db")) as log:
        await log.ensure_topic("a", TopicSettings())
        wrong = [Record("a", "text"), Record("a", b"", "key"), Record("a", b"", None, (("h", "x"),))]  # type: ignore[arg-type]
        outcomes = await asyncio.gather(
            *(log.append([Record("a", b"good"), record]) for record in wrong),
            log.append([Record("a", b"good")]),
            log.append((), commit=Commit("g", "\ud800")),
            log.append([Record("a", b"good too")]),
            return_exceptions=True,
        )
        assert [isinstance(outcome, Exception) for outcome in outcomes] == [True, True, True, False, True, False]
        assert [record.value for record in await read_all(log, ["a"])] == [b"good", b"good too"]
        with pytest.raises(EventTooLarge):
            log.submit([Record("a", bytes(1_000_000))] * 300)


async def test_the_write_ahead_log_stays_within_its_limit_under_load(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with opened(SqliteLog(path, wal_bytes_max=2_000_000, durability="os")) as log:
        await log.ensure_topic("a", TopicSettings())
        for _ in range(400):
            await log.append([Record("a", NOISE)])
        assert path.with_name("events.db-wal").stat().st_size < 4_000_000


async def test_retention_and_writers_do_not_hinder_each_other(tmp_path: Path) -> None:
    clock = ManualClock()
    path = tmp_path / "events.db"
    async with opened(SqliteLog(path, clock=clock, durability="os")) as log:
        await log.ensure_topic("a", TopicSettings(retention_seconds=60))
        for _ in range(300):
            await log.append([Record("a", NOISE)] * 2)
        clock.advance(100)
        trimming = asyncio.ensure_future(log.trim())
        during = 0
        while not trimming.done():
            await log.append([Record("a", b"meanwhile")])
            during += 1
        assert await trimming == 600
        assert during > 0
        assert [record.offset for record in await read_all(log, ["a"])] == list(range(600, 600 + during))
        assert (await log.verify()).damages == ()
    assert path.stat().st_size < 300 * 2 * len(NOISE) / 2, "the pages were not given back"


async def test_a_closed_log_is_one_file(tmp_path: Path) -> None:
    async with opened(SqliteLog(tmp_path / "events.db")) as log:
        await log.ensure_topic("a", TopicSettings())
        await log.append([Record("a", b"x")])
        await log.read(await log.last(["a"]), wait_seconds=0.01)
    assert os.listdir(tmp_path) == ["events.db"]


async def test_what_others_wrote_while_a_log_was_closed_is_kept_when_it_opens_again(tmp_path: Path) -> None:
    log, other = SqliteLog(tmp_path / "events.db"), SqliteLog(tmp_path / "events.db")
    for number in range(6):
        async with opened(log if number % 2 else other) as present:
            await present.ensure_topic("a", TopicSettings())
            assert (await present.append([Record("a", b"%d" % number)]))[0].offset == number
            assert len(await read_all(present, ["a"])) == number + 1


async def test_damage_in_the_write_ahead_log_stays_for_a_human_to_see(tmp_path: Path) -> None:
    async with opened(SqliteLog(tmp_path / "log" / "events.db")) as log:
        await log.ensure_topic("a", TopicSettings())
        for _ in range(20):
            await log.append([Record("a", NOISE)])
        shutil.copytree(tmp_path / "log", tmp_path / "image", ignore=shutil.ignore_patterns("*-shm"))
    wal = tmp_path / "image" / "events.db-wal"
    flip_bit(wal, random.Random(5), start=wal.stat().st_size // 2)
    size = wal.stat().st_size
    for _ in range(3):
        with pytest.raises(LogCorrupt, match="commits after the damage would be lost"):
            await SqliteLog(tmp_path / "image" / "events.db").open()
    assert wal.stat().st_size == size


CHILD = """
import asyncio, json, sys
from pathlib import Path
from headwater.log.contract import Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.space import DiskLimits

async def main(path, name, count):
    log = SqliteLog(Path(path), busy_seconds=30)
    await log.open()
    await log.ensure_topic("shared", TopicSettings(partitions=2))
    for number in range(int(count)):
        placements = await log.append([Record("shared", f"{name} {number}".encode(), b"%d" % number)] * 2)
        print(json.dumps([[p.partition, p.offset, f"{name} {number}"] for p in placements]), flush=True)
    await log.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_several_processes_may_write_and_a_reader_in_another_sees_it_all(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with opened(SqliteLog(path)) as log:
        await log.ensure_topic("shared", TopicSettings(partitions=2))
        position = await log.first(["shared"])
        children = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", CHILD, str(path), name, "40", stdout=asyncio.subprocess.PIPE
            )
            for name in ("one", "two")
        ]
        seen: dict[tuple[int, int], bytes] = {}
        own = 0
        while len(seen) < 2 * 2 * 40 + own:
            found = await log.read(position, wait_seconds=30)
            assert found, "nothing came within 30 seconds"
            for record in found:
                seen[record.partition, record.offset] = record.value
                position = position.after(record)
            if own < 50:
                await log.append([Record("shared", b"own")])
                own += 1
        for child in children:
            output, _ = await child.communicate()
            assert child.returncode == 0
            for line in output.splitlines():
                for partition, offset, value in json.loads(line):
                    assert seen[partition, offset] == value.encode()
        for number in (0, 1):
            offsets = sorted(offset for partition, offset in seen if partition == number)
            assert offsets == list(range(len(offsets)))
