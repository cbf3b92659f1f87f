"""A damaged batch costs its own events: the platform serves, reports what is damaged, and everything else continues."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from click.testing import CliRunner

from headwater.cli.main import main
from headwater.config import Config, load_config
from headwater.platform import build
from headwater.testing.eventually import eventually
from headwater.testing.stream_kit import request
from headwater.web.server import serving

TEMPLATE = Path(__file__).resolve().parents[2] / "src" / "headwater" / "cli" / "template"
JOB = '''"""Copies titles."""
from headwater.jobs import job


@job(source="demo.edit", sink="demo.copies", name="copies")
def copies(event, context):
    return {name: event[name] for name in ("dt", "wiki", "title", "user", "bot", "bytes")}
'''
STREAM = "stream: demo.copies\nschema_title: demo/edit\ndocs: {summary: x, owner: team:x}\nprivacy: {class: public}\n"


REST = {"user": "u", "bot": False, "bytes": 1}


def edit(number: int) -> dict[str, Any]:
    event = {"$schema": "/demo/edit/1.0.0", "meta": {"stream": "demo.edit", "id": f"id {number}"}}
    return {
        **event,
        "dt": "2023-11-14T20:00:01Z",
        "wiki": "w",
        "title": f"T{number}",
        "user": "u",
        "bot": False,
        "bytes": 1,
    }


def config_of(project: Path) -> Config:
    overrides = {"web.port": 0, "monitoring.canaries": False, "monitoring.count_interval_seconds": 0.2}
    return load_config(project, environment={}, overrides=overrides)


async def log_command(project: Path, *words: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, main, ["log", *words, "--project", str(project)])
    return result.exit_code, result.output


@pytest.fixture
async def project(tmp_path: Path) -> Path:
    """A project whose log has six batches of ten edits, of which the fourth is damaged; its job has read nothing."""
    project = tmp_path / "project"
    shutil.copytree(TEMPLATE, project)
    for file in (project / "jobs").iterdir():
        file.unlink()
    platform = build(config_of(project))
    await platform.start(run_jobs=False)
    for number in range(6):
        await platform.intake.write([edit(number * 10 + index) for index in range(10)])
    await platform.stop()
    (project / "jobs" / "copies.py").write_text(JOB)
    (project / "streams" / "demo.copies.yaml").write_text(STREAM)
    with sqlite3.connect(project / "var" / "events.db") as log:
        assert log.execute("UPDATE batches SET data = zeroblob(length(data)) WHERE last_offset = 39").rowcount == 1
    log.close()
    return project


async def test_all_readers_continue_after_a_damaged_batch_which_is_reported(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform = build(config_of(project))
    await platform.start()
    kept = [f"T{number}" for number in range(60) if not 30 <= number < 40]
    try:
        async with serving(platform) as address, httpx.AsyncClient(base_url=address, timeout=30) as client:
            assert (await client.post("/v1/events", json=[edit(60)])).status_code == 201
            answer = await request(int(address.rpartition(":")[2]), "/v2/stream/demo.edit?since=2020-01-01T00:00:00Z")
            assert await answer.until(b"T60")
            answer.hang_up()
            frames = answer.frames()
            titles = [frame.value()["title"] for frame in frames if frame.data and frame.event in (None, "message")]
            assert titles == [*kept, "T60"]
            (told,) = [frame for frame in frames if frame.event == "error"]
            said = orjson.loads(told.data or b"")
            assert said["code"] == "log_corrupt"
            assert (said["partition"], said["first_offset"], said["last_offset"]) == (0, 30, 39)
            await eventually(lambda: platform.runners["copies"].report().written >= 51)
            assert platform.runners["copies"].report().trouble is None
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert "10 offsets cannot be read" in str(ready.json()["log"])
            assert "headwater_log_damaged_offsets 10.0" in (await client.get("/metrics")).text
            await platform.monitor.count_now()
            (topic,) = platform.streams.get("demo.edit").topics
            assert platform.monitor.book.topic(topic).next[0] == 61
    finally:
        await platform.stop()
    said_once = [record for record in caplog.records if "offsets 30 to 39 is damaged" in record.getMessage()]
    assert len(said_once) == 1


async def test_a_repair_names_what_it_sets_aside_and_makes_the_log_sound(project: Path) -> None:
    async def run(*words: str) -> tuple[int, str]:
        return await log_command(project, *words)

    assert (await run("verify"))[0] == 1
    code, told = await run("repair", "--dry-run")
    assert (code, "offsets 30 to 39" in told, "Nothing was changed" in told) == (0, True, True)
    assert (await run("verify"))[0] == 1
    code, told = await run("repair")
    assert (code, "offsets 30 to 39" in told) == (0, True)
    assert len(list((project / "var").glob("events.db-damaged-*/rows.jsonl"))) == 1
    assert (await run("verify"))[0] == 0
    assert "Nothing is damaged" in (await run("repair"))[1]


async def test_a_log_that_a_server_uses_is_not_repaired(project: Path) -> None:
    platform = build(config_of(project))
    await platform.start()
    try:
        result = await asyncio.to_thread(CliRunner().invoke, main, ["log", "repair", "--project", str(project)])
    finally:
        await platform.stop()
    assert result.exit_code != 0
    assert "in use" in result.output


async def test_damaged_tables_and_states_of_jobs_are_named_by_verify(project: Path) -> None:
    config = config_of(project)
    tables, state = config.path(config.jobs.tables_path), config.path(config.jobs.state_path) / "counted.db"
    state.parent.mkdir(parents=True, exist_ok=True)
    for file in (tables, state):
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, text TEXT)")
            connection.executemany("INSERT INTO rows VALUES (?, ?)", [(n, "x" * 500) for n in range(200)])
        connection.close()
    assert f"{state}: 200 rows, sound." in (await log_command(project, "verify"))[1]
    data = bytearray(tables.read_bytes())
    data[4096 * 5 : 4096 * 6] = b"\xff" * 4096
    tables.write_bytes(data)
    state.write_bytes(b"no database at all" + state.read_bytes()[18:])
    code, told = await log_command(project, "verify")
    assert code == 1
    assert str(tables) in told
    assert f"{state}: file is not a database" in told
