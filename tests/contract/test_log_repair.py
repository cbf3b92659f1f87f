"""A repair keeps a copy of what it sets aside, gives no offset twice, and leaves a log that is sound."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path

import orjson
import pytest

from headwater.errors import LogCorrupt
from headwater.log.contract import Commit, Position, Record, StateChange, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.repair import ROWS_FILE, repair

DAMAGES = {
    "flipped bit": "UPDATE batches SET data = zeroblob(length(data)) WHERE id & 0xffff = 3",
    "header": "UPDATE batches SET last_offset = 1000 WHERE id & 0xffff = 3",
    "missing": "DELETE FROM batches WHERE id & 0xffff = 3",
    "last": "UPDATE batches SET crc = crc + 1 WHERE id & 0xffff = 9",
    "missing last": "DELETE FROM batches WHERE id & 0xffff = 9",
    "two": "UPDATE batches SET crc = crc + 1 WHERE id & 0xffff IN (0, 6)",
    "all": "UPDATE batches SET crc = crc + 1",
    "position": "UPDATE positions SET token = 'tokem'",
    "state": "UPDATE state SET value = x'00'",
}
LOST = {
    "flipped bit": {3, 4, 5},
    "header": {3, 4, 5},
    "missing": {3, 4, 5},
    "last": {9, 10, 11},
    "missing last": {9, 10, 11},
    "two": {0, 1, 2, 6, 7, 8},
    "all": set(range(12)),
}


async def filled(path: Path) -> None:
    log = SqliteLog(path)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    for number in range(4):
        commit = Commit("g", f"t{number}", (StateChange("n", b"k", b"%d" % number),))
        await log.append([Record("a", b"%d" % (number * 3 + index)) for index in range(3)], commit=commit)
    await log.close()


def changed(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_damaged_is_set_aside_and_the_rest_continues(tmp_path: Path, damage: str) -> None:
    path, aside = tmp_path / "events.db", tmp_path / "aside"
    await filled(path)
    changed(path, DAMAGES[damage])
    before = path.read_bytes()
    told = repair(path, aside, dry_run=True)
    assert path.read_bytes() == before
    assert not aside.exists()
    done = repair(path, aside, dry_run=False)
    assert done.set_aside == told.set_aside
    assert done.set_aside
    assert done.left == ()
    log = SqliteLog(path)
    await log.open()
    assert (await log.verify()).damages == ()
    lost = LOST.get(damage, set())
    kept = await log.read(Position({("a", 0): 0}))
    assert {record.offset: record.value for record in kept} == {n: b"%d" % n for n in range(12) if n not in lost}
    (placed,) = await log.append([Record("a", b"new")])
    assert placed.offset == 12
    assert await log.committed("g") == (None if damage == "position" else "t3")
    assert await log.state_get("n", [b"k"]) == ({} if damage == "state" else {b"k": b"3"})
    await log.close()
    assert repair(path, tmp_path / "again", dry_run=False).set_aside == ()


async def test_the_copy_has_every_byte_of_what_was_set_aside(tmp_path: Path) -> None:
    path, aside = tmp_path / "events.db", tmp_path / "aside"
    await filled(path)
    changed(path, DAMAGES["flipped bit"])
    with sqlite3.connect(path) as other:
        data = other.execute("SELECT data FROM batches WHERE id & 0xffff = 3").fetchone()[0]
    other.close()
    repair(path, aside, dry_run=False)
    (kept,) = map(orjson.loads, (aside / ROWS_FILE).read_bytes().splitlines())
    assert (kept["topic"], kept["partition"], kept["row"]["last_offset"]) == ("a", 0, 5)
    assert base64.b64decode(kept["row"]["data"]["base64"]) == data


@pytest.mark.parametrize("has_file", [True, False])
async def test_a_damaged_write_ahead_log_is_moved_as_it_is(tmp_path: Path, has_file: bool) -> None:
    path, aside = tmp_path / "left" / "events.db", tmp_path / "aside"
    running = SqliteLog(tmp_path / "events.db")
    await running.open()
    await running.ensure_topic("a", TopicSettings())
    await running.append([Record("a", b"x")])
    path.parent.mkdir()
    wal = bytearray((tmp_path / "events.db-wal").read_bytes())
    if has_file:
        path.write_bytes((tmp_path / "events.db").read_bytes())
        wal[:512] = bytes(512)
    path.with_name("events.db-wal").write_bytes(wal)
    await running.close()
    with pytest.raises(LogCorrupt):
        await SqliteLog(path).open()
    told = repair(path, aside, dry_run=True)
    assert path.with_name("events.db-wal").read_bytes() == wal
    done = repair(path, aside, dry_run=False)
    assert done.set_aside == told.set_aside
    assert (aside / "events.db-wal").read_bytes() == wal
    log = SqliteLog(path)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    await log.append([Record("a", b"goes on")])
    await log.close()


async def test_damaged_pages_are_left_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(path)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    for number in range(200):
        await log.append([Record("a", b"%d" % number * 900)])
    await log.close()
    data = bytearray(path.read_bytes())
    data[16_384 * 8 : 16_384 * 9] = bytes(16_384)
    path.write_bytes(data)
    report = repair(path, tmp_path / "aside", dry_run=False)
    assert report.left
    assert path.read_bytes() == data
