"""Sinks of a stream file: their tables are exact though the process is killed, and a plan shows them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from end_to_end.edits import SCHEMAS, write_files
from headwater.cli.main import main
from headwater.config import Config, load_config
from headwater.errors import ConfigInvalid
from headwater.event import CANARY_DOMAIN
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually

KILLS = 2
SECONDS_MAX = {"sqlite": 0.1, "kafka": 0.6}
EVENTS = 1500
PAGES = 40

FILES = {
    "headwater.yaml": "log: sqlite:///var/events.db\n",
    "schemas/edit/1.0.0.yaml": SCHEMAS["schemas/edit/1.0.0.yaml"]
    + "  page: {type: string}\n  rev: {type: integer}\n  note: {}\n",
    "streams/edit.yaml": """
stream: edit
schema_title: edit
transport: {partitions: 2}
sinks:
  - connector: sqlite
    path: var/edits.db
    table: pages
    columns: {page: text, rev: integer, note: text}
    key: page
    version: rev
  - connector: duckdb
    path: var/edits.duckdb
    table: edits
    columns: {rev: integer, page: text}
""",
}

CHILD = """
import asyncio, sys
from pathlib import Path
from headwater.config import load_config
from headwater.platform import build

async def main():
    platform = build(load_config(Path(sys.argv[1]), environment={}, overrides={"log.url": sys.argv[2]}))
    await platform.start()
    print("started", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def edit(number: int, **more: Any) -> dict[str, Any]:
    meta = {"stream": "edit", "id": f"edit-{number}", "dt": "2026-01-01T00:00:00Z"}
    # Revisions of a page come in any order.
    return {"$schema": "/edit/1.0.0", "meta": meta, "page": f"p{number % PAGES}", "rev": number * 7919 % EVENTS, **more}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_files(tmp_path, FILES)
    return tmp_path


@pytest.fixture
def config(project: Path, log_url: str) -> Config:
    return load_config(project, environment={}, overrides={"log.url": log_url})


async def put(config: Config, *events: dict[str, Any]) -> None:
    platform = build(config)
    await platform.start(run_jobs=False)
    await platform.intake.write(list(events))
    await platform.stop()


def run_and_kill(project: Path, log_url: str, seconds: float) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, str(project), log_url], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)


async def test_tables_are_exact_whenever_the_process_is_killed(project: Path, config: Config, log_url: str) -> None:
    await put(config, *map(edit, range(EVENTS)))
    chance = random.Random(9)
    for _ in range(KILLS):
        seconds = chance.uniform(0.0, SECONDS_MAX[log_url.partition(":")[0]])
        await asyncio.to_thread(run_and_kill, project, log_url, seconds)
    platform = build(config)
    await platform.start(run_jobs=False)
    try:
        await platform.finish_jobs()
        newest: dict[str, int] = {}
        for event in map(edit, range(EVENTS)):
            newest[event["page"]] = max(event["rev"], newest.get(event["page"], 0))
        rows = platform.tables["pages"].view(10_000).rows
        assert {page: rev for page, rev, _ in rows} == newest
        edits = platform.tables["edits"].view(10_000)
        assert sorted(row[0] for row in edits.rows) == sorted(edit(number)["rev"] for number in range(EVENTS))
    finally:
        await platform.stop()


async def test_canaries_stay_out_and_what_cannot_be_a_row_becomes_an_error_event(config: Config) -> None:
    canary = edit(1)
    canary["meta"]["domain"] = CANARY_DOMAIN
    platform = build(config)
    await platform.start()
    try:
        await platform.intake.write([canary, edit(2), edit(3, note=7), edit(4)])

        async def is_done() -> bool:
            return {view.name: view.rows_total for view in await platform.read_tables(10)} == {"pages": 2, "edits": 3}

        await eventually(is_done)
        assert platform.runners.keys() == {"sink.pages", "sink.edits"}
        assert {row[0] for row in platform.tables["pages"].view(10).rows} == {"p2", "p4"}
        assert {row[1] for row in platform.tables["edits"].view(10).rows} == {"p2", "p3", "p4"}
        assert [json.loads(one["raw_event"])["page"] for one in await events_of(platform, "sink.pages.error")] == ["p3"]
    finally:
        await platform.stop()


async def events_of(platform: Platform, topic: str) -> list[dict[str, Any]]:
    records = await platform.log.read(await platform.log.first([topic]))
    return [json.loads(record.value) for record in records]


def test_a_plan_shows_the_tables_and_how_they_are_made(project: Path) -> None:
    shown = CliRunner().invoke(main, ["plan", "--project", str(project)]).output
    assert "Table pages: sqlite var/edits.db, filled from edit (streams/edit.yaml:6)" in shown
    assert "rev integer  (version)" in shown
    assert 'CREATE TABLE IF NOT EXISTS "pages" ("page" TEXT, "rev" INTEGER, "note" TEXT, PRIMARY KEY ("page"))' in shown
    assert "+ create sink.pages.error" in shown
    asked = CliRunner().invoke(main, ["plan", "--project", str(project), "--json"])
    tables = json.loads(asked.output)["tables"]
    assert [(one["name"], one["connector"], one["file"]) for one in tables] == [
        ("pages", "sqlite", "var/edits.db"),
        ("edits", "duckdb", "var/edits.duckdb"),
    ]
    assert not (project / "var").exists()


def test_a_secret_that_is_not_there_is_named_with_its_place_when_the_project_starts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import dataclass

    from headwater.connectors import registry
    from headwater.connectors.sinks import sqlite
    from headwater.connectors.spec import SinkSpec
    from headwater.settings import REQUIRED, setting

    @dataclass(frozen=True, slots=True)
    class Options:
        password: str = setting(REQUIRED, "What lets it in.", secret=True)

    secret = SinkSpec("secret", "For tests.", Options, lambda options, shape, directory: None, sqlite.SPEC.features)
    monkeypatch.setattr(sqlite, "SECRET", secret, raising=False)
    monkeypatch.setattr(
        registry, "SINKS", {**registry.SINKS, "secret": registry.Connector(sqlite.__name__, name="SECRET")}
    )
    sink = "sinks:\n- {connector: secret, password: '${env:ABSENT_HERE}', columns: {page: text}}\n"
    (project / "streams/edit.yaml").write_text(f"stream: edit\nschema_title: edit\n{sink}")
    with pytest.raises(ConfigInvalid, match=r"streams/edit\.yaml:4: the sink of edit: password .*ABSENT_HERE"):
        build(load_config(project, environment={}))
