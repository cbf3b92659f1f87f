"""`headwater schema compat` and `diff` as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headwater.cli.main import main

OLD = """title: shop/order
$id: /shop/order/1.0.0
type: object
properties:
  state: {type: string, enum: [open, shut]}
"""
NEW = OLD.replace("1.0.0", "1.1.0").replace("shut]", "shut, ajar]")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["schema", *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "jsonschema" / "shop" / "order"
    folder.mkdir(parents=True)
    (folder / "1.0.0.yaml").write_text(OLD)
    (folder / "1.1.0.yaml").write_text(NEW)
    (folder / "current.yaml").write_text(NEW.replace("1.1.0", "1.2.0") + "  note: {type: string}\n")
    return folder


def test_the_verdicts_come_with_an_example_and_the_way_out(folder: Path) -> None:
    result = run("compat", str(folder / "1.0.0.yaml"), str(folder / "1.1.0.yaml"), "--mode", "FULL")
    assert result.exit_code == 1
    assert 'example: {"state": "ajar"}' in result.stdout
    assert "fix: " in result.stdout
    assert "The rule FULL is broken: forward." in result.stdout


def test_the_exit_code_follows_the_rule_of_the_mode(folder: Path) -> None:
    old, new = str(folder / "1.0.0.yaml"), str(folder / "1.1.0.yaml")
    assert [run("compat", old, new, "--mode", mode).exit_code for mode in ("event", "FORWARD", "NONE")] == [0, 1, 0]


def test_a_program_reads_the_same_as_json(folder: Path) -> None:
    result = run("compat", str(folder / "1.0.0.yaml"), str(folder / "1.1.0.yaml"), "--json")
    told = json.loads(result.stdout)
    assert (told["kept"], told["backward"]["verdict"], told["suggested_bump"]) == (True, "yes", "minor")
    assert told["forward"]["reasons"][0]["witness"] == {"state": "ajar"}


def test_a_title_alone_compares_the_latest_version_with_the_current_file(folder: Path) -> None:
    result = run("diff", "shop/order", "-r", str(folder.parents[2]))
    assert result.exit_code == 0
    assert "+ The optional field /note was added (string)." in result.stdout
    assert "suggested version step: minor" in result.stdout


def test_two_versions_of_a_title_are_compared(folder: Path) -> None:
    result = run("diff", "shop/order", "1.0.0", "1.1.0", "-r", str(folder.parents[2]), "--no-verdicts")
    assert result.stdout.splitlines() == [
        "~ /state: the list of values gained ajar.",
        "~ The event: `$id` was changed.",
    ]


def test_two_files_are_compared_as_json(folder: Path) -> None:
    result = run("diff", str(folder / "1.0.0.yaml"), str(folder / "1.0.0.yaml"), "--json")
    assert json.loads(result.stdout)["changes"] == []


def test_a_version_that_is_not_there_is_told_with_those_that_are(folder: Path) -> None:
    result = run("diff", "shop/order", "3.0.0", "-r", str(folder.parents[2]))
    assert result.exit_code != 0
    assert "It has 1.0.0, 1.1.0" in result.stderr
