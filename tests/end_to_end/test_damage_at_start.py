"""What a project keeps is looked at before it is written into: damage is named, and the file that has it left alone."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from headwater.cli.main import main
from headwater.config import Config, load_config
from headwater.connectors.registry import look_into_tables
from headwater.connectors.sinks.duckdb_blocks import BLOCK_BYTES, HEADER_BYTES, HEADERS
from headwater.platform import build

TEMPLATE = Path(__file__).resolve().parents[2] / "src" / "headwater" / "cli" / "template"
JOBS = '''"""Copies edits, and keeps them in a table."""
from headwater.processing import job, table

kept = table("kept", source="demo.edit", columns={"title": "text"}, key="title")


@job(source="demo.edit", sink="demo.copies", name="copies")
def copies(event, context):
    return {name: event[name] for name in ("dt", "wiki", "title", "user", "bot", "bytes")}
'''
STREAM = "stream: demo.copies\nschema_title: demo/edit\ndocs: {summary: x, owner: team:x}\nprivacy: {class: public}\n"
KINDS = ["tables.db", "tables.duckdb"]


def config_of(project: Path, tables: str = "tables.db") -> Config:
    overrides = {"web.port": 0, "monitoring.canaries": False, "jobs.tables_path": f"var/{tables}"}
    return load_config(project, environment={}, overrides=overrides)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    shutil.copytree(TEMPLATE, project)
    for file in (project / "jobs").iterdir():
        file.unlink()
    (project / "jobs" / "jobs.py").write_text(JOBS)
    (project / "streams" / "demo.copies.yaml").write_text(STREAM)
    (project / "var").mkdir(exist_ok=True)
    return project


def fill(path: Path) -> None:
    """A table of some megabytes, so that there are pages and blocks to damage."""
    rows = "CREATE TABLE filled (n INTEGER PRIMARY KEY, text VARCHAR)"
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path)) as connection:
            connection.execute(rows)
            numbers = "FROM range(60000) numbers(i)"
            connection.execute(f"INSERT INTO filled SELECT i, md5(i::VARCHAR) || md5((i + 1)::VARCHAR) {numbers}")
        return
    with sqlite3.connect(path) as tables:
        tables.execute(rows)
        tables.executemany("INSERT INTO filled VALUES (?, ?)", [(n, "x" * 300) for n in range(5000)])
    tables.close()


def overwrite(path: Path, at: int, size: int = 4096) -> bytes:
    data = bytearray(path.read_bytes())
    # The same words twice would leave DuckDB's checksum as it is.
    data[at : at + size] = random.Random(at).randbytes(len(data[at : at + size]))
    path.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("place", ["first header", "second header", "first block", "a block amid", "the last block"])
def test_a_damaged_block_of_a_duckdb_file_is_found_wherever_it_is(tmp_path: Path, place: str) -> None:
    path = tmp_path / "tables.duckdb"
    fill(path)
    sound = look_into_tables(path)
    assert (sound.damages, sound.rows, sound.unseen) == ((), 60_000, None)
    blocks = (path.stat().st_size - HEADERS * HEADER_BYTES) // BLOCK_BYTES
    assert blocks > 3
    begin = HEADERS * HEADER_BYTES
    at = {
        "first header": 100,
        "second header": HEADER_BYTES + 50,
        "first block": begin + 1000,
        "a block amid": begin + blocks // 2 * BLOCK_BYTES + BLOCK_BYTES // 2,
        "the last block": begin + blocks * BLOCK_BYTES - 600,
    }[place]
    overwrite(path, at, 64)
    for seconds_max in (None, 5.0):
        found = look_into_tables(path, seconds_max)
        assert len(found.damages) == 1
        assert "does not match its checksum" in found.damages[0].reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"no database at all", bytes(20_000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_not_a_database_is_reported_and_never_raises(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / kind
    path.write_bytes(content)
    # SQLite takes an empty file for a database without tables.
    expected = 0 if not content and kind == "tables.db" else 1
    assert len(look_into_tables(path).damages) == expected
    assert len(look_into_tables(path, 1.0).damages) == expected
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_ends_when_its_time_is_over_and_says_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    fill(path)
    found = look_into_tables(path, 0.0)
    assert found.damages == ()
    assert "not all of it could be checked" in (found.unseen or "")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_damaged_table_is_named_at_the_start_and_left_as_it_is(
    project: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(project, kind)
    path = config.path(config.jobs.tables_path)
    fill(path)
    before = overwrite(path, 300_000)
    platform = build(config)
    await platform.start()
    try:
        kept, copies = platform.runners["table.kept"].report(), platform.runners["copies"].report()
        assert kept.state == "failed"
        assert str(path) in (kept.trouble or "")
        assert copies.state != "failed"
    finally:
        await platform.stop()
    assert path.read_bytes() == before
    said = [one.getMessage() for one in caplog.records if "is damaged" in one.getMessage()]
    assert len(said) == 1
    assert str(path) in said[0]
    assert "move the file away" in said[0]
    path.unlink()
    platform = build(config)
    await platform.start()
    try:
        assert platform.runners["table.kept"].report().trouble is None
    finally:
        await platform.stop()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE batches SET data = zeroblob(length(data)) WHERE last_offset = 2", "offsets 2 to 2"),
        ("UPDATE positions SET token = 'hw1' WHERE name = 'job.copies'", "job.copies"),
    ],
    ids=["a batch", "a position"],
)
async def test_damage_at_the_end_of_the_log_is_reported_before_it_is_read(
    project: Path, statement: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(project)
    platform = build(config)
    await platform.start(run_jobs=False)
    await platform.log.commit("job.copies", "hw1;demo.edit:0=1")
    for number in range(3):
        event = {"$schema": "/demo/edit/1.0.0", "meta": {"stream": "demo.edit", "id": f"id {number}"}, "wiki": "w"}
        fields = {"dt": "2023-11-14T20:00:01Z", "title": f"T{number}", "user": "u", "bot": False, "bytes": 1}
        outcomes = await platform.intake.write([event | fields])
        assert type(outcomes[0]).__name__ == "Accepted"
    await platform.stop()
    with sqlite3.connect(config.log_path) as log:
        assert log.execute(statement).rowcount == 1
    log.close()
    caplog.clear()
    again = build(config)
    await again.log.open()
    assert await again.log.look(5.0)  # type: ignore[attr-defined]
    await again.log.close()
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    assert len(said) == 1
    assert named in said[0]


@pytest.mark.parametrize("kind", KINDS)
async def test_verify_says_what_it_looked_at_and_how_much(project: Path, kind: str) -> None:
    (project / "headwater.yaml").write_text(f"log: sqlite:///var/events.db\njobs: {{tables_path: var/{kind}}}\n")
    config = config_of(project, kind)
    platform = build(config)
    await platform.start(run_jobs=False)
    await platform.stop()
    path = config.path(config.jobs.tables_path)
    fill(path)
    verify = ["log", "verify", "--project", str(project)]
    sound = await asyncio.to_thread(CliRunner().invoke, main, verify)
    assert sound.exit_code == 0, sound.output
    assert f"{path}: {60_000 if kind.endswith('duckdb') else 5_000:,} rows, sound." in sound.output
    overwrite(path, 300_000)
    damaged = await asyncio.to_thread(CliRunner().invoke, main, verify)
    assert damaged.exit_code == 1
    assert str(path) in damaged.output


# Ends without closing the file, as a killed process does: what was committed is in the write-ahead log.
KILLED_WRITER = """
import os, sqlite3, sys
rows = sqlite3.connect(sys.argv[1], isolation_level=None)
rows.execute(f"PRAGMA page_size = {sys.argv[2]}")
rows.executescript("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0")
rows.execute("CREATE TABLE filled (n INTEGER, text TEXT)")
rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
for n in range(30):
    rows.execute("INSERT INTO filled VALUES (?, ?)", (n, "x" * 3000))
os._exit(0)
"""


def leave_behind(path: Path, page_bytes: int = 4096) -> Path:
    """A SQLite file whose newest 30 rows are in its write-ahead log only; that log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(path), str(page_bytes)], check=True)
    return path.with_name(f"{path.name}-wal")


def write_into(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


WAL_DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "its first sector": lambda _, wal: write_into(wal, 0, bytes(512)),
    "its first 4,096 bytes": lambda _, wal: write_into(wal, 0, bytes(4096)),
    "a bit of its header": lambda _, wal: write_into(wal, 17, bytes([wal.read_bytes()[17] ^ 1])),
    "without its database": lambda path, _: path.unlink(),
    "beside an empty database": lambda path, _: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", list(WAL_DAMAGES))
@pytest.mark.parametrize("page_bytes", [512, 4096, 16384])
def test_a_write_ahead_log_that_sqlite_would_drop_is_damage_and_stays(
    tmp_path: Path, damage: str, page_bytes: int
) -> None:
    path = tmp_path / "tables.db"
    wal = leave_behind(path, page_bytes)
    if damage in ("without its database", "beside an empty database"):
        # What the length of its pages is says its own header.
        expected = "30 commits"
    else:
        expected = "damaged at its beginning"
    WAL_DAMAGES[damage](path, wal)
    before = wal.read_bytes()
    found = look_into_tables(path)
    assert expected in found.damages[0].reason
    assert wal.read_bytes() == before


@pytest.mark.parametrize("page_bytes", [512, 4096, 16384])
def test_what_a_killed_process_leaves_is_sound(tmp_path: Path, page_bytes: int) -> None:
    path = tmp_path / "tables.db"
    wal = leave_behind(path, page_bytes)
    # An unfinished write at its end.
    with wal.open("ab") as file:
        file.write(b"\1" * (page_bytes // 2))
    found = look_into_tables(path)
    assert (found.damages, found.rows) == ((), 30)


@pytest.mark.parametrize("damage", ["its first sector", "without its database"])
async def test_nothing_is_written_over_what_a_damaged_write_ahead_log_of_tables_still_has(
    project: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(project)
    path, state = config.path(config.jobs.tables_path), config.path(config.jobs.state_path) / "counted.db"
    for file in (path, state):
        WAL_DAMAGES[damage](file, leave_behind(file))
    wal = path.with_name(f"{path.name}-wal")
    before = wal.read_bytes()
    platform = build(config)
    await platform.start()
    try:
        kept = platform.runners["table.kept"].report()
        assert kept.state == "failed"
        assert str(path) in (kept.trouble or "")
        assert platform.runners["copies"].report().state != "failed"
    finally:
        await platform.stop()
    result = await asyncio.to_thread(CliRunner().invoke, main, ["log", "verify", "--project", str(project)])
    assert result.exit_code == 1
    assert f"{state}: " in result.output
    assert f"{path}: " in result.output
    assert wal.read_bytes() == before
    assert any("-wal" in one.getMessage() and str(path) in one.getMessage() for one in caplog.records)
    wal.unlink()
    path.unlink(missing_ok=True)
    platform = build(config)
    await platform.start()
    try:
        assert platform.runners["table.kept"].report().trouble is None
    finally:
        await platform.stop()
