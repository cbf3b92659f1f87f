"""`headwater sinks`: the verbs over a project on disk, without a server; no secret is ever printed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headwater.cli.main import main
from requirements import check_need

PASSWORD = "planted-s3cret%21"
SINKS = """
sinks:
  - {connector: sqlite, path: var/edits.db, table: edits, key: id, version: dt,
     columns: {id: [text, meta.id], wiki: text, dt: text}}
  - {connector: sqlite, path: var/edits.db, table: lines, columns: {id: [text, meta.id]}}
"""
REMOTE = """  - {connector: postgres, dsn: "${env:PLANTED_DSN}", table: remote, key: id, version: dt,
     columns: {id: [text, meta.id], dt: text}}
"""


def edit(number: int) -> str:
    return json.dumps(
        {
            "$schema": "/demo/edit/1.0.0",
            "meta": {"stream": "demo.edit", "id": f"00000000-0000-4000-8000-{number:012d}"},
            "dt": f"2026-01-01T00:00:{number:02d}Z",
            "wiki": "enwiki",
            "title": "T",
            "user": "u",
            "bot": False,
            "bytes": 5,
        }
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    assert CliRunner().invoke(main, ["init", str(made)]).exit_code == 0
    stream = made / "streams" / "demo.edit.yaml"
    stream.write_text(stream.read_text() + SINKS)
    (made / "edits.jsonl").write_text("\n".join(map(edit, range(20))) + "\n")
    return made


def run(project: Path, verb: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["sinks", verb, *arguments, "--project", str(project)])


def test_the_verbs_work_on_the_sinks_of_a_project(project: Path) -> None:
    source = str(project / "edits.jsonl")
    done = run(project, "backfill", "edits", "--from", source, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["written"] == 20
    assert run(project, "backfill", "sink.edits", "--from", source, "--to", "2026-01-01T00:00:05Z").exit_code == 0
    refused = run(project, "backfill", "lines", "--from", source)
    assert refused.exit_code == 2
    assert "no key" in refused.output
    assert "--allow-repeats" in refused.output
    assert run(project, "backfill", "lines", "--from", source, "--allow-repeats").exit_code == 0
    tested = run(project, "test", "edits", "--write")
    assert (tested.exit_code, tested.output.count("ok  ")) == (0, 3)
    assert "not tried" in run(project, "test", "lines", "--write").output
    assert run(project, "pause", "edits").exit_code == 0
    listed = [json.loads(line) for line in run(project, "list", "--json").stdout.splitlines()]
    found = {one["name"]: (one["connector"], one["state"], one["rows"]) for one in listed}
    assert found["edits"] == ("sqlite", "paused", 20)
    assert found["lines"] == ("sqlite", "ready", 20)
    assert run(project, "resume", "edits").exit_code == 0
    assert run(project, "rewind", "edits").exit_code == 2
    assert run(project, "rewind", "edits", "--since", "2026-01-01T00:00:00Z", "--yes").exit_code == 0
    unknown = run(project, "test", "edts")
    assert 'Did you mean "edits"?' in unknown.output


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("target", ["refuses", "is silent"])
def test_a_secret_is_in_no_output(
    project: Path, monkeypatch: pytest.MonkeyPatch, silent_port: int, target: str
) -> None:
    check_need("psycopg", find_spec("psycopg"), "install the extra: pip install 'headwater[postgres]'")
    stream = project / "streams" / "demo.edit.yaml"
    stream.write_text(stream.read_text() + REMOTE)
    port = silent_port if target == "is silent" else 1
    monkeypatch.setenv("PLANTED_DSN", f"postgresql://writer:{PASSWORD}@127.0.0.1:{port}/wiki")
    outputs = {
        "test": run(project, "test", "remote", "--write", "--wait", "0.5"),
        "list": run(project, "list", "--json"),
        "backfill": CliRunner().invoke(
            main,
            [
                "--debug",
                "sinks",
                "backfill",
                "remote",
                "--from",
                str(project / "edits.jsonl"),
                "--project",
                str(project),
            ],
        )
        if target == "refuses"
        else run(project, "list"),
        "plan": CliRunner().invoke(main, ["plan", "--project", str(project)]),
        "check": CliRunner().invoke(main, ["check", str(project)]),
    }
    assert "failed" in outputs["test"].output
    for verb, result in outputs.items():
        shown = f"{result.output} {result.exception!r} {result.exception.__cause__ if result.exception else ''}"
        assert PASSWORD not in shown, verb
        assert "planted-s3cret" not in shown, verb
