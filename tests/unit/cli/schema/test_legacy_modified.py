"""`headwater schema legacy materialize-modified` makes the versions that jsonschema-tools makes, and no others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.cli.schema.verbs import command

CURRENT = """\
title: a/b
$id: /a/b/1.0.0
$schema: http://json-schema.org/draft-07/schema#
type: object
properties: {i: {type: integer, minimum: 0, maximum: 9}}
"""


def git(*arguments: str) -> None:
    named = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *named, *arguments], check=True, capture_output=True)


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    git("init", "-q", ".")
    file = tmp_path / "jsonschema" / "a" / "b" / "current.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(CURRENT)
    Path(".jsonschema-tools.yaml").write_text("schemaBasePath: ./jsonschema\ncontentTypes: [yaml]\n")
    return file


def change(current: Path) -> None:
    current.write_text(current.read_text() + "# changed\n")


@pytest.mark.parametrize(
    ("steps", "options", "is_made"),
    [
        (["commit", "change"], [], True),
        (["commit", "change"], ["--staged"], False),
        (["commit", "change", "add"], [], False),
        (["commit", "change", "add"], ["--staged"], True),
        (["commit", "change", "add", "change"], [], True),
        (["add"], [], False),
        (["add"], ["--staged"], True),
        (["add", "change"], [], True),
        ([], [], False),
        (["commit"], [], False),
        (["ignore", "commit", "change"], [], True),
        (["ignore", "add"], ["--staged"], True),
        (["staged only", "commit", "change"], [], False),
        (["staged only", "commit", "change", "add"], [], True),
    ],
)
def test_what_git_diff_names_is_materialized(
    current: Path, steps: list[str], options: list[str], is_made: bool
) -> None:
    for step in steps:
        match step:
            case "commit":
                git("add", "-A")
                git("commit", "-qm", "x")
            case "add":
                git("add", "-A")
            case "change":
                change(current)
            case "ignore":
                with Path(".jsonschema-tools.yaml").open("a") as settings:
                    settings.write('ignoreSchemas: ["/a/.*"]\n')
            case "staged only":
                with Path(".jsonschema-tools.yaml").open("a") as settings:
                    settings.write("gitStaged: true\n")
    result = CliRunner().invoke(command, ["legacy", "materialize-modified", *options])
    assert result.exit_code == 0, result.output
    assert current.with_name("1.0.0.yaml").exists() is is_made
