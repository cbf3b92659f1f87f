"""The write-ahead log is opened or reported as damaged; it is never dropped, and never overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.errors import LogCorrupt
from headwater.log.contract import Position, Record, TopicSettings
from headwater.log.open import log_at
from headwater.log.sqlite.log import SqliteLog

HEADER_BYTES, FRAME_BYTES = 32, 24 + 16_384
Change = Callable[[Path, Path], object]


def zeroed(start: int, count: int) -> Change:
    def change(_: Path, wal: Path) -> None:
        with wal.open("r+b") as file:
            file.seek(start)
            file.write(bytes(count))

    return change


def flipped(at: int) -> Change:
    def change(_: Path, wal: Path) -> None:
        with wal.open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))

    return change


# What is done to the file and its write-ahead log.
DAMAGES: dict[str, Change] = {
    "first sector": zeroed(0, 512),
    "first page": zeroed(0, 4096),
    "header": zeroed(0, HEADER_BYTES),
    "header and first frame": zeroed(0, HEADER_BYTES + FRAME_BYTES),
    "header and three frames": zeroed(0, HEADER_BYTES + 3 * FRAME_BYTES),
    "header of the first frame": zeroed(HEADER_BYTES, 24),
    "bit of the magic number": flipped(2),
    "bit of the page size": flipped(9),
    "bit of the salt": flipped(17),
    "bit of the header's checksum": flipped(28),
    "bit of the first frame's salt": flipped(HEADER_BYTES + 9),
    "file missing": lambda path, _: path.unlink(),
    "file empty": lambda path, _: path.write_bytes(b""),
}


async def killed(directory: Path, appends: int = 8) -> Path:
    """What a process leaves that was killed after so many commits, none of which was copied into the file."""
    running = directory / "running"
    running.mkdir()
    log = SqliteLog(running / "events.db")
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    await log.append([Record("a", b"copied")])
    await log.close()
    await log.open()
    for number in range(appends):
        await log.append([Record("a", b"%d" % number)])
    left = directory / "left"
    left.mkdir()
    for name in ("events.db", "events.db-wal"):
        shutil.copy(running / name, left / name)
    await log.close()
    return left / "events.db"


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("only_read", [False, True])
async def test_a_damaged_beginning_is_reported_and_left_as_it_is(tmp_path: Path, damage: str, only_read: bool) -> None:
    path = await killed(tmp_path)
    DAMAGES[damage](path, path.with_name("events.db-wal"))
    before = contents(path)
    with pytest.raises(LogCorrupt, match=r"\d commits?\b.* would be lost"):
        await (log_at(f"sqlite:///{path}") if only_read else SqliteLog(path)).open()
    assert contents(path) == before


@pytest.mark.parametrize("damage", ["first sector", "file missing"])
async def test_without_fsync_it_is_reported_too(tmp_path: Path, damage: str) -> None:
    path = await killed(tmp_path)
    DAMAGES[damage](path, path.with_name("events.db-wal"))
    with pytest.raises(LogCorrupt, match="would be lost"):
        await SqliteLog(path, durability="os").open()


async def test_a_broken_header_costs_nothing_where_the_file_has_everything(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    # As it is when a new round has just been begun: everything was copied, and the frames are still there.
    wal = path.with_name("events.db-wal").read_bytes()
    log = SqliteLog(path)
    await log.open()
    await log.close()
    path.with_name("events.db-wal").write_bytes(bytes(HEADER_BYTES) + wal[HEADER_BYTES:])
    await log.open()
    assert len(await log.read(Position({("a", 0): 0}))) == 9
    await log.append([Record("a", b"goes on")])
    await log.close()


async def test_what_a_kill_leaves_needs_no_human(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    log = SqliteLog(path)
    await log.open()
    assert len(await log.read(Position({("a", 0): 0}))) == 9
    await log.close()
