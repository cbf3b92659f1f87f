"""`headwater schema validate`: a verdict for every line, and an exit code a script can use."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.cli.schema.verbs import command

SCHEMA = "title: t\ntype: object\nrequired: [$schema, a]\nproperties:\n  a: {type: integer}\n  d: {default: 1}\n"
LINES = [
    {"$schema": "/t/1.0.0", "a": 1},
    {"$schema": "/t/1.0.0", "a": "x"},
    {"$schema": "/t/9.9.9"},
    {"a": 1},
    {"$schema": "/t/latest", "a": 1},
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "schemas" / "t").mkdir(parents=True)
    (tmp_path / "schemas" / "t" / "1.0.0.yaml").write_text(SCHEMA)
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, LINES)) + "\n\nnot json\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_line_gets_a_verdict_as_json(project: Path) -> None:
    result = CliRunner().invoke(command, ["validate", "events.jsonl", "--json"])
    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [(one["line"], one["valid"], one.get("code")) for one in verdicts] == [
        (1, True, None),
        (2, False, "event_invalid"),
        (3, False, "schema_not_found"),
        (4, False, "event_malformed"),
        (5, False, "schema_uri_refused"),
        (7, False, "event_malformed"),
    ]
    assert verdicts[1]["violations"] == [{"pointer": "/a", "keyword": "type", "message": "should be integer"}]


def test_valid_files_exit_with_zero_also_compressed_and_with_a_named_repository(project: Path) -> None:
    (project / "good.jsonl.gz").write_bytes(gzip.compress((json.dumps(LINES[0]) + "\n").encode()))
    result = CliRunner().invoke(command, ["validate", "good.jsonl.gz", "--schemas", "schemas"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 of 1 events are valid.\n")


def test_refusals_are_readable_and_standard_input_is_read(project: Path) -> None:
    result = CliRunner().invoke(command, ["validate", "-"], input=json.dumps(LINES[1]) + "\n")
    assert result.exit_code == 1
    assert result.stdout == "1: /a should be integer\n"


def test_help_shows_an_example() -> None:
    result = CliRunner().invoke(command, ["validate", "--help"])
    assert "headwater schema validate events.jsonl" in result.stdout
