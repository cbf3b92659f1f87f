"""A registry's export becomes a schema repository, or nothing is written and the reason names the subjects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headwater.cli.schema.verbs import command


def entry(subject: str, version: int = 1, **fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {subject: {"type": "string"}}}
    return {"subject": subject, "version": version, "schemaType": "JSON", "schema": json.dumps(schema), **fields}


def refers(subject: str, version: int = 1) -> dict[str, Any]:
    return {"references": [{"name": f"{subject}.json", "subject": subject, "version": version}]}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "schemas").mkdir()
    (tmp_path / ".jsonschema-tools.yaml").write_text("schemaBasePath: ./schemas\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def import_export(repository: Path, *entries: dict[str, Any]) -> Result:
    (repository / "export.json").write_text(json.dumps(entries))
    return CliRunner().invoke(command, ["import", "export.json", "--prefix", "reg"])


def test_subjects_become_schemas(repository: Path) -> None:
    result = import_export(repository, entry("order-value"), entry("order-key"), entry("line", **refers("order-value")))
    assert result.exit_code == 0, result.output
    made = {path.parent.relative_to(repository / "schemas").as_posix() for path in repository.rglob("1.0.0.yaml")}
    assert made == {"reg/order", "reg/order/key", "reg/line"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order", "order-value"),
        ("line item", "line_item"),
        ("line:item", "line?item"),
        ("Order", "order"),
        ("a//b", "a/b"),
        ("a/./b", "a/../b"),
        ("é", "è"),
        ("x-key", "x/key"),
    ],
)
def test_subjects_whose_titles_become_one_are_refused_before_anything_is_written(
    repository: Path, one: str, other: str
) -> None:
    result = import_export(repository, entry("other"), entry(one), entry(other))
    assert result.exit_code != 0
    assert repr(one) in str(result.exception) + result.output
    assert repr(other) in str(result.exception) + result.output
    assert not list((repository / "schemas").rglob("*"))


def test_a_subject_that_no_title_can_be_made_of_is_refused(repository: Path) -> None:
    result = import_export(repository, entry("../.."))
    assert "No title can be made of the subject '../..'" in str(result.exception) + result.output


def test_a_missing_reference_is_not_called_a_cycle(repository: Path) -> None:
    result = import_export(repository, entry("line", **refers("order", 3)), entry("order"))
    said = str(result.exception) + result.output
    assert "line 1 refers to order 3" in said
    assert "cycle" not in said


def test_a_cycle_is_called_one(repository: Path) -> None:
    result = import_export(repository, entry("a", **refers("b")), entry("b", **refers("a")))
    assert "refer to each other in a cycle: a 1, b 1" in str(result.exception) + result.output
