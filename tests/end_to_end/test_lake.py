"""A project with a lake: its streams become tables that SQL reads, and what is wrong is an error with its place."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from end_to_end.edits import write_files
from headwater.cli.main import main
from headwater.config import load_config
from headwater.errors import ConfigInvalid
from headwater.log.contract import Record
from headwater.platform import build
from headwater.processing.declarations import declarations
from headwater.testing.eventually import eventually
from headwater.times import utc_text

STREAM = "stream: a\nschema_title: edit\n"
SCHEMA = {
    "$schema": "https://json-schema.org/draft-07/schema#",
    "$id": "/edit/1.0.0",
    "title": "edit",
    "type": "object",
    "properties": {
        "$schema": {"type": "string"},
        "meta": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("id", "dt", "stream", "domain")},
        },
        "page": {"type": "string"},
        "rev": {"type": "integer"},
    },
}
FILES = {
    "headwater.yaml": "lake: files\n",
    "streams/wiki.edit.yaml": "stream: wiki.edit\nschema_title: edit\n"
    "consume: {lake: {enabled: true, batch: {seconds_max: 0.2}}}\n",
    "streams/wiki.view.yaml": "stream: wiki.view\nschema_title: edit\nconsume: {lake: {enabled: false}}\n",
    "streams/wiki.move.yaml": "stream: wiki.move\nschema_title: edit\n"
    "consume: {analytics_hive_ingestion: {enabled: true}}\n",
    "schemas/edit/1.0.0.yaml": json.dumps(SCHEMA),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_files(tmp_path, FILES)
    return tmp_path


def edit(number: int, dt: str, **more: Any) -> dict[str, Any]:
    meta = {"stream": "wiki.edit", "id": f"edit-{number}", "dt": dt}
    return {"$schema": "/edit/1.0.0", "meta": meta, "page": f"Page {number}", "rev": number, **more}


async def test_a_stream_is_a_table_that_can_be_queried_and_what_is_no_event_is_an_error_event(project: Path) -> None:
    platform = build(load_config(project, environment={}))
    await platform.start()
    try:
        job = platform.runners["lake.wiki_edit"]
        await platform.log.append([Record("wiki.edit", b"not JSON")])
        canary = edit(9, "2026-01-31T02:00:00Z")
        canary["meta"]["domain"] = "canary"
        await platform.intake.write([edit(1, "2026-01-31T00:00:00Z", more=1), edit(2, "2026-01-31T01:00:00Z"), canary])

        async def is_done() -> bool:
            return job.report().read == 4

        await eventually(is_done)
        assert (job.report().errors, job.report().written) == (1, 3)
        sink = job.report().sink
        assert sink is not None
        assert sink.complete_ms is not None
        assert utc_text(sink.complete_ms) == "2026-01-31T02:00:00Z"
        await platform.hosting.measure()
        of_job = {"job": "lake.wiki_edit"}
        shown = platform.telemetry.value
        assert shown("headwater_lake_undeclared_fields_total", of_job | {"field": "more"}) == 1
        complete = shown("headwater_lake_complete_timestamp_seconds", of_job | {"datacenter": "default"})
        assert complete == sink.complete_ms / 1000
    finally:
        await platform.stop()
    names = set(platform.runners)
    assert {"lake.wiki_edit", "lake.wiki_move"} <= names
    assert "lake.wiki_view" not in names
    assert (project / "files/wiki_edit/datacenter=default/year=2026/month=01/day=31/hour=01/_SUCCESS").exists()

    def query(text: str, *words: str) -> list[dict[str, Any]]:
        result = CliRunner().invoke(main, ["sql", text, "--json", "--project", str(project), *words])
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.output.splitlines()]

    text = "SELECT page, meta.id AS id, datacenter, hour FROM lake.wiki_edit ORDER BY rev"
    first = {"page": "Page 1", "id": "edit-1", "datacenter": "default", "hour": 0}
    assert query(text) == [first, {"page": "Page 2", "id": "edit-2", "datacenter": "default", "hour": 1}]
    assert query(text, "--until", "2026-01-31T01:00:00Z") == [first]
    assert "lake.wiki_edit" in CliRunner().invoke(main, ["sql", "--tables", "--project", str(project)]).output


async def test_an_hour_that_was_lost_is_written_again_from_the_log(project: Path) -> None:
    platform = build(load_config(project, environment={}))
    await platform.start()
    try:
        await platform.intake.write([edit(number, f"2026-01-31T0{number % 3}:00:00Z") for number in range(9)])

        async def is_done() -> bool:
            return platform.runners["lake.wiki_edit"].report().read == 9

        await eventually(is_done)
    finally:
        await platform.stop()
    shutil.rmtree(project / "files/wiki_edit/datacenter=default/year=2026/month=01/day=31/hour=01")
    (project / "var/lake/wiki_edit.ids.db").unlink()

    async def ran(*words: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--project", str(project)])
        assert result.exit_code == 0, result.output
        return result.output

    rows = ("sql", "SELECT hour, count(*) AS events FROM lake.wiki_edit GROUP BY hour ORDER BY hour", "--json")
    assert [json.loads(line)["hour"] for line in (await ran(*rows)).splitlines()] == [0, 2]
    for _ in range(2):
        await ran("sinks", "backfill", "lake_wiki_edit", "--from", "log", "--until", "2026-01-31T02:00:00Z")
        assert [json.loads(line)["events"] for line in (await ran(*rows)).splitlines()] == [3, 3, 3]


def test_a_table_without_rows_says_so(project: Path) -> None:
    result = CliRunner().invoke(main, ["sql", "SELECT * FROM lake.wiki_edit", "--project", str(project)])
    assert result.exit_code != 0
    assert "no rows" in result.output


@pytest.mark.parametrize(
    ("lake", "says"),
    [
        ("{location: 's3a://bucket/lake'}", "no scheme"),
        ("{location: 's3://key:secret@bucket/lake'}", "no password"),
        ("{location: 'hdfs://host:9870'}", "no directory"),
        ("{location: files, storage: {secret_key: abc}}", "lake.storage.secret_key is a secret"),
        ("{location: files, storage: {endpont: 'http://x'}}", "endpoint"),
        ("{location: files, storage: {endpoint: 'x:1'}}", "http"),
    ],
)
def test_what_is_wrong_with_the_lake_is_an_error_when_the_project_is_read(project: Path, lake: str, says: str) -> None:
    (project / "headwater.yaml").write_text(f"lake: {lake}\n")
    with pytest.raises(ConfigInvalid) as invalid:
        declarations(load_config(project, environment={}))
    assert says in f"{invalid.value.message} {invalid.value.hint}"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"streams/wiki-edit.yaml": FILES["streams/wiki.edit.yaml"].replace("wiki.edit", "wiki-edit")}, "wiki_edit"),
        ({"streams/a.yaml": "stream: a\nschema_title: none\nconsume: {lake: {enabled: true}}\n"}, "none"),
        ({"streams/a.yaml": f"{STREAM}consume: {{lake: {{enabled: true, batch: {{seconds: 1}}}}}}\n"}, "seconds_max"),
        (
            {"streams/a.yaml": "stream: a\nschema_title: edit\nconsume: {lake: {enabled: true, schema_major: 3}}\n"},
            "no version 3",
        ),
    ],
)
def test_a_stream_that_cannot_be_ingested_is_an_error_with_its_file(
    project: Path, files: dict[str, str], says: str
) -> None:
    write_files(project, files)
    with pytest.raises(ConfigInvalid) as invalid:
        declarations(load_config(project, environment={}))
    assert says in f"{invalid.value.message} {invalid.value.hint}"
    refused: list[ConfigInvalid] = []
    _, jobs = declarations(load_config(project, environment={}), refused.append)
    assert len(refused) == 1
    assert "lake.wiki_move" in {job.name for job in jobs}
