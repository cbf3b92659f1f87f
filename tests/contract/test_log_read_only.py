"""A log in a place where nothing can be written is read and verified as it is, and says why nothing can be appended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.cli.init import write_project
from headwater.cli.plan import ask, load_declared
from headwater.errors import LogFull, LogUnavailable
from headwater.log.contract import Record, TopicSettings
from headwater.log.open import log_at
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.owner import LogOwner
from requirements import mount_small_disk

Place = Callable[[Path], Path]


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Place]:
    """Copies a directory to one where this user can write nothing: a file system mounted for reading, for root."""
    place = tmp_path / "unwritable"
    place.mkdir()
    mounted = os.geteuid() == 0
    if mounted:
        # Nothing but a file system mounted for reading is read-only for root.
        mount_small_disk(place, 64)

    def copy(source: Path) -> Path:
        shutil.copytree(source, place, dirs_exist_ok=True)
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        else:
            place.chmod(0o500)
        return place

    yield copy
    if mounted:
        subprocess.run(["umount", place], check=True)
    else:
        place.chmod(0o700)


async def filled(path: Path, count: int) -> SqliteLog:
    log = SqliteLog(path)
    await log.open()
    await log.ensure_topic("t", TopicSettings())
    for number in range(count):
        await log.append([Record("t", b'{"n":%d}' % number, timestamp_ms=1_700_000_000_000)])
    return log


async def values(path: Path) -> list[bytes]:
    log = log_at(f"sqlite:///{path}")
    await log.open()
    try:
        assert [topic.name for topic in await log.topics()] == ["t"]
        assert (await log.verify()).sound
        assert (await log.stats()).topics == 1
        return [record.value for record in await log.read(await log.first(["t"]))]
    finally:
        await log.close()


async def test_a_log_that_was_closed_is_read(tmp_path: Path, unwritable: Place) -> None:
    await (await filled(tmp_path / "log" / "events.db", 3)).close()
    assert await values(unwritable(tmp_path / "log") / "events.db") == [b'{"n":0}', b'{"n":1}', b'{"n":2}']


async def test_a_copy_with_its_write_ahead_log_and_index_is_read_whole(tmp_path: Path, unwritable: Place) -> None:
    log = await filled(tmp_path / "log" / "events.db", 3)
    place = unwritable(tmp_path / "log")
    await log.close()
    assert (place / "events.db-wal").stat().st_size > 0
    assert len(await values(place / "events.db")) == 3


async def test_a_write_ahead_log_that_cannot_be_read_is_not_passed_over(tmp_path: Path, unwritable: Place) -> None:
    log = await filled(tmp_path / "log" / "events.db", 3)
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    await log.close()
    (tmp_path / "copy" / "events.db-shm").unlink()
    place = unwritable(tmp_path / "copy")
    with pytest.raises(LogUnavailable, match=r"are in the write-ahead log events\.db-wal") as refused:
        await values(place / "events.db")
    assert "Copy events.db and events.db-wal to a directory that can be written" in str(refused.value.hint)


async def test_writing_is_refused_with_the_reason_and_not_as_a_full_disk(tmp_path: Path, unwritable: Place) -> None:
    await (await filled(tmp_path / "log" / "events.db", 1)).close()
    log = SqliteLog(unwritable(tmp_path / "log") / "events.db")
    with pytest.raises(LogUnavailable, match=r"is read-only|may not be written by this user") as refused:
        await log.open()
    assert not isinstance(refused.value, LogFull)


async def test_a_server_is_refused_with_the_reason_and_a_plan_is_made(tmp_path: Path, unwritable: Place) -> None:
    write_project(tmp_path / "mine")
    (tmp_path / "mine" / "var").mkdir()
    await (await filled(tmp_path / "mine" / "var" / "events.db", 1)).close()
    project = unwritable(tmp_path / "mine")
    with pytest.raises(LogUnavailable, match=r"is read-only|may not be written by this user"):
        LogOwner(project / "var" / "events.db").acquire("up")
    plan = await ask(load_declared(project))
    assert "demo.edit" in [change.topic for change in plan.changes]
    assert [info.name for info in plan.undeclared] == ["t"]
