"""A sink that is given whole events, and shows no table: it runs, and everything that lists tables works without it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from end_to_end.edits import write_files
from headwater.cli.main import main
from headwater.config import load_config
from headwater.connectors import registry
from headwater.connectors.contract import Delivery, EventShape, SinkFeatures
from headwater.connectors.sinks import sqlite
from headwater.connectors.spec import SinkSpec
from headwater.errors import EventMalformed
from headwater.event import get_path
from headwater.platform import build
from headwater.settings import REQUIRED, setting
from headwater.testing.eventually import eventually

FILES = {
    "headwater.yaml": "",
    "streams/edit.yaml": "stream: edit\nschema_title: edit\nsinks:\n"
    "- {connector: files, path: out, key: page, version: rev, delete_when: {kind: delete}}\n"
    "- {connector: sqlite, path: var/edits.db, table: edits, columns: {page: text}}\n",
    "schemas/edit/1.0.0.yaml": json.dumps(
        {
            "$schema": "https://json-schema.org/draft-07/schema#",
            "$id": "/edit/1.0.0",
            "title": "edit",
            "type": "object",
            "properties": {"page": {"type": "string"}, "rev": {"type": "integer"}, "kind": {"type": "string"}},
        }
    ),
}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the sink of these tests."""

    path: str = setting(REQUIRED, "The directory.")


class FilesSink:
    """Keeps a file for each key, with the newest event."""

    features = SinkFeatures(token_in_target=False, upsert=True, reads_back=False, deletes=True)

    def __init__(self, directory: Path, shape: EventShape) -> None:
        self._directory = directory
        self._shape = shape

    async def open(self) -> str | None:
        self._directory.mkdir(exist_ok=True)
        return None

    def check(self, delivery: Delivery) -> None:
        if any(get_path(delivery.value, path) is None for path in self._shape.key):
            raise EventMalformed("Its key is absent.")

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        for delivery in deliveries:
            event = delivery.value
            file = self._directory / "-".join(str(get_path(event, path)) for path in self._shape.key)
            if all(get_path(event, path) in values for path, values in self._shape.delete_when):
                file.unlink(missing_ok=True)
            else:
                file.write_text(json.dumps(event))

    async def close(self) -> None:
        pass


SPEC = SinkSpec(
    name="files",
    summary="A file for each key.",
    options=Options,
    make=lambda options, shape, directory: FilesSink(directory / options.path, shape),
    features=FilesSink.features,
    form="events",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_files(tmp_path, FILES)
    monkeypatch.setattr(sqlite, "FILES_SPEC", SPEC, raising=False)
    connector = registry.Connector(sqlite.__name__, name="FILES_SPEC")
    monkeypatch.setattr(registry, "SINKS", {**registry.SINKS, "files": connector})
    return tmp_path


def edit(page: str | None, rev: int, **more: Any) -> dict[str, Any]:
    meta = {"stream": "edit", "id": f"{page}-{rev}", "dt": "2026-01-01T00:00:00Z"}
    event = {"$schema": "/edit/1.0.0", "meta": meta, "rev": rev, **more}
    return event if page is None else {**event, "page": page}


async def test_events_are_given_and_only_tables_are_shown(project: Path) -> None:
    platform = build(load_config(project, environment={}))
    await platform.start()
    try:
        await platform.intake.write([edit("a", 1), edit("b", 1), edit(None, 2), edit("a", 3, kind="delete")])

        async def is_done() -> bool:
            reports = {name: supervisor.runner.status.report() for name, supervisor in platform.runners.items()}
            return all(report.read == 4 for report in reports.values())

        await eventually(is_done)
        assert [view.name for view in await platform.read_tables(10)] == ["edits"]
        assert platform.tables.keys() == {"edits"}
        assert platform.runners["sink.edit"].runner.status.report().errors == 1
    finally:
        await platform.stop()
    assert {file.name: json.loads(file.read_text())["rev"] for file in (project / "out").iterdir()} == {"b": 1}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["plan"], 2, "+ create sink.edit.error"),
        (["check"], 0, ""),
        (["job", "list"], 0, "edit → files edit"),
        (["job", "show", "sink.edit"], 0, "events, by files"),
        (["sql", "--tables"], 0, "edits"),
        (
            ["job", "run", "sink.edit", "--from", "log", "--to", "out.jsonl"],
            2,
            "gives the events of edit to another system",
        ),
    ],
)
def test_commands_work_with_a_sink_of_events(project: Path, words: list[str], code: int, says: str) -> None:
    result = CliRunner().invoke(main, [*words, "--project", str(project)])
    assert says in result.output
    assert result.exit_code == code


@pytest.mark.parametrize(
    ("written", "mistaken", "says", "hint"),
    [
        ("key: page", "key: pag", "its key has pag, which no version of edit declares", "Did you mean page?"),
        ("version: rev", "version: revv", "its version is revv", "Did you mean rev?"),
        ("{kind: delete}", "{knd: delete}", "its `delete_when` has knd", "Did you mean kind?"),
        ("key: page", "key: [page, meta.idd]", "its key has meta.idd", ""),
    ],
)
def test_a_path_that_no_schema_declares_is_found_before_anything_starts(
    project: Path, written: str, mistaken: str, says: str, hint: str
) -> None:
    file = project / "streams/edit.yaml"
    file.write_text(file.read_text().replace(written, mistaken))
    result = CliRunner().invoke(main, ["check", "--project", str(project)])
    assert result.exit_code == 1
    assert says in result.output
    assert hint in result.output
