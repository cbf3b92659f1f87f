"""Damage is reported: damaged records are never served, and never silently left out."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from headwater.errors import HeadwaterError, LogCorrupt, PositionLost
from headwater.log.contract import Commit, Position, Record, StateChange, StoredRecord, TopicSettings
from headwater.log.reading_on import passed, read_on
from headwater.log.sqlite.log import SqliteLog
from headwater.testing.faults import cut_end, flip_bit, zero_block

IMAGES = 60
PARTITIONS = (("a", 0), ("a", 1), ("b", 0))


async def filled(path: Path) -> dict[tuple[str, int, int], StoredRecord]:
    """A log with small and large batches, positions and state; what it holds."""
    log = SqliteLog(path)
    await log.open()
    await log.ensure_topic("a", TopicSettings(partitions=2))
    await log.ensure_topic("b", TopicSettings())
    chance = random.Random(1)
    for number in range(60):
        records = [Record("a", chance.randbytes(chance.randrange(600)), b"%d" % n) for n in range(number % 7 + 1)]
        records += [Record("b", b"text of %d " % number * chance.choice([3, 3000]), headers=(("dt", b"x"),))]
        state = (StateChange("n", b"%d" % number, b"v" * number),)
        await log.append(records, commit=Commit(f"g{number % 3}", f"t{number}", state))
    kept, damage = await readable(log)
    assert damage is None
    shutil.copytree(path.parent, path.parent.with_name("running"))
    await log.close()
    return kept


async def readable(
    log: SqliteLog, partitions: Sequence[tuple[str, int]] = PARTITIONS
) -> tuple[dict[tuple[str, int, int], StoredRecord], HeadwaterError | None]:
    """Everything that can be read partition by partition, and the damage that stopped reading, if any."""
    kept: dict[tuple[str, int, int], StoredRecord] = {}
    damage = None
    for topic, number in partitions:
        position = Position({(topic, number): 0})
        try:
            while found := await log.read(position, records_max=9):
                kept.update({(r.topic, r.partition, r.offset): r for r in found})
                position = position.after(found[-1])
        except (LogCorrupt, PositionLost) as error:
            damage = error
    return kept, damage


async def judged(path: Path, written: dict[tuple[str, int, int], StoredRecord], told: str) -> bool:
    """Open an image and read it all. True when it was found damaged; fails where damage was served or overlooked."""
    log = SqliteLog(path)
    try:
        await log.open()
        kept, damage = await readable(log)
        sound = (await log.verify()).sound
    except LogCorrupt:
        return True
    finally:
        await log.close()
    for place, record in kept.items():
        assert written.get(place) == record, f"{told}: {place} was served altered"
    if len(kept) < len(written):
        assert damage is not None or not sound, f"{told}: {len(written) - len(kept)} records vanished unnoticed"
    if damage is not None:
        assert not sound, f"{told}: verify overlooks {damage}"
    return damage is not None or not sound


@pytest.mark.parametrize("fault", [flip_bit, cut_end, zero_block])
async def test_a_damaged_file_is_detected_and_never_served(
    tmp_path: Path, fault: Callable[[Path, random.Random], str]
) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    written = await filled(directory / "events.db")
    detected = 0
    for number in range(IMAGES):
        image = tmp_path / f"{number}.db"
        shutil.copy(directory / "events.db", image)
        told = fault(image, random.Random(number))
        detected += await judged(image, written, told)
        image.unlink()
    print(f"{detected} of {IMAGES} images were found damaged; in the others the damage hit unused bytes")
    assert detected > 0


async def test_a_bit_flipped_in_the_write_ahead_log_is_not_taken_for_an_unfinished_write(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    written = await filled(directory / "events.db")
    running = tmp_path / "running"
    detected = 0
    for number in range(IMAGES):
        image = tmp_path / f"image-{number}"
        image.mkdir()
        for name in ("events.db", "events.db-wal"):
            shutil.copy(running / name, image / name)
        wal = image / "events.db-wal"
        flip_bit(wal, random.Random(number), start=wal.stat().st_size // 10)
        log = SqliteLog(image / "events.db")
        try:
            await log.open()
        except LogCorrupt:
            detected += 1
            continue
        kept, damage = await readable(log)
        assert damage is None
        assert all(written[place] == record for place, record in kept.items())
        await log.close()
    assert detected > IMAGES * 0.8


async def test_an_unfinished_write_at_the_end_of_the_write_ahead_log_needs_no_human(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    log = SqliteLog(directory / "events.db")
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    wal = directory / "events.db-wal"
    chance = random.Random(3)
    for _ in range(10):
        await log.append([Record("a", chance.randbytes(20_000)) for _ in range(5)])
        before = wal.stat().st_size
    await log.append([Record("a", chance.randbytes(20_000)) for _ in range(5)])
    shutil.copytree(directory, tmp_path / "running")
    written, _ = await readable(log, [("a", 0)])
    after = wal.stat().st_size
    await log.close()
    for number in range(20):
        image = tmp_path / f"image-{number}"
        image.mkdir()
        for name in ("events.db", "events.db-wal"):
            shutil.copy(tmp_path / "running" / name, image / name)
        os.truncate(image / "events.db-wal", chance.randrange(before, after))
        log = SqliteLog(image / "events.db")
        await log.open()
        found, damage = await readable(log, [("a", 0)])
        assert damage is None
        assert list(found.values()) == list(written.values())[:50]
        assert (await log.verify()).damages == ()
        assert (await log.append([Record("a", b"goes on")]))[0].offset == 50
        await log.close()


async def test_damage_is_named_with_topic_partition_and_offsets(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(path, cache_bytes_max=0)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    for number in range(10):
        await log.append([Record("a", b"%d" % number)] * 3)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE batches SET data = zeroblob(length(data)) WHERE id & 0xffff = 12")
        other.execute("DELETE FROM batches WHERE id & 0xffff = 21")
    other.close()
    assert len(await log.read(Position({("a", 0): 0}), records_max=12)) == 12
    with pytest.raises(LogCorrupt, match="Topic 'a', partition 0, the batch at offsets 12 to 14"):
        await log.read(Position({("a", 0): 12}))
    with pytest.raises(LogCorrupt, match="offsets 21 to 23 are missing"):
        await log.read(Position({("a", 0): 21}))
    report = await log.verify()
    places = [(d.topic, d.partition, d.first_offset, d.last_offset) for d in report.damages]
    assert places == [("a", 0, 12, 14), ("a", 0, 21, 23)]
    assert (report.batches, report.records) == (8, 24)
    await log.close()


async def test_a_damaged_end_costs_its_own_offsets_and_no_number_is_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(path)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    await log.ensure_topic("b", TopicSettings())
    await log.append([Record("a", b"x")])
    with sqlite3.connect(path) as other:
        other.execute("UPDATE batches SET last_offset = 99")
    other.close()
    (placed,), (other_placed,) = await asyncio.gather(log.append([Record("a", b"y")]), log.append([Record("b", b"y")]))
    assert placed.offset > 99
    assert other_placed.offset == 0
    with pytest.raises(LogCorrupt) as raised:
        await log.read(Position({("a", 0): 0}))
    assert raised.value.damaged == ("a", 0, 0, placed.offset - 1)
    assert [record.value for record in await log.read(passed(Position({("a", 0): 0}), raised.value))] == [b"y"]
    assert [(d.topic, d.first_offset, d.last_offset) for d in (await log.verify()).damages] == [
        ("a", 0, placed.offset - 1)
    ]
    await log.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE batches SET data = zeroblob(length(data))",
        "UPDATE batches SET last_offset = last_offset + (1 << 40)",
        "UPDATE batches SET last_offset = 0",
        "UPDATE batches SET last_offset = -5",
        "UPDATE batches SET count = 7000",
        "UPDATE batches SET first_ms = 1 << 50, last_ms = 1 << 50",
        "UPDATE batches SET codec = 9",
        "UPDATE batches SET crc = crc + 1",
        "DELETE FROM batches",
    ],
)
async def test_whatever_is_damaged_in_the_last_batch_the_intake_continues(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(path)
    await log.open()
    await log.ensure_topic("a", TopicSettings())
    await log.append([Record("a", b"sound")] * 3)
    await log.append([Record("a", b"lost")] * 4)
    await log.close()
    with sqlite3.connect(path) as other:
        other.execute(f"{damage} WHERE id & 0xffff = 3")
    other.close()
    await log.open()
    begun = (await log.last(["a"])).offsets["a", 0]
    now_ms = time.time() * 1000
    (placed,) = await log.append([Record("a", b"new")])
    assert placed.offset >= 7
    assert placed.timestamp_ms <= now_ms + 60_000
    position = Position({("a", 0): 0})
    values: list[bytes] = []
    while True:
        records, position = await read_on(log, position)
        if not records:
            break
        values += [record.value for record in records]
    assert values == [b"sound"] * 3 + [b"new"]
    assert log.damages.offsets == placed.offset - 3
    assert log.troubles()
    report = await log.verify()
    assert [(d.topic, d.first_offset, d.last_offset) for d in report.damages] == [("a", 3, placed.offset - 1)]
    records, _ = await read_on(log, Position({("a", 0): begun}))
    assert [record.value for record in records] == [b"new"]
    await log.close()


async def test_retention_and_compaction_continue_despite_damage(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(path)
    await log.open()
    await log.ensure_topic("latest", TopicSettings(compact=True))
    await log.ensure_topic("old", TopicSettings(retention_seconds=0.0))
    for number in range(5):
        await log.append([Record("latest", b"%d" % number, b"key"), Record("old", b"x")])
    with sqlite3.connect(path) as other:
        other.execute("UPDATE batches SET data = zeroblob(length(data)) WHERE id & 0xffff = 1")
    other.close()
    await asyncio.sleep(0.005)
    assert await log.trim() >= 4
    assert log.damages.offsets == 1
    await log.close()


async def test_damaged_state_and_positions_are_not_served(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    log = SqliteLog(path)
    await log.open()
    await log.append((), commit=Commit("g", "token", (StateChange("n", b"k", b"value"),)))
    with sqlite3.connect(path) as other:
        other.execute("UPDATE positions SET token = 'tokem'")
        other.execute("UPDATE state SET value = x'00'")
    other.close()
    with pytest.raises(LogCorrupt, match="group 'g'"):
        await log.committed("g")
    with pytest.raises(LogCorrupt, match="'n'"):
        await log.state_get("n", [b"k"])
    assert {damage.where for damage in (await log.verify()).damages} == {"positions", "state"}
    await log.close()


async def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_bytes(b"not a database at all " * 1000)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    for path in (text, other):
        with pytest.raises(LogCorrupt):
            await SqliteLog(path).open()
