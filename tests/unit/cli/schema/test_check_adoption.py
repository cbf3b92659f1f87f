"""A repository that others have kept is adopted at once: by the rules of its own tool, or from what is wrong today."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from headwater.cli.schema.verbs import command

SCHEMA: dict[str, Any] = {
    "title": "a/b",
    "description": "An event.",
    "$id": "/a/b/1.0.0",
    "$schema": "https://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["$schema", "i"],
    "properties": {
        "$schema": {"type": "string"},
        "i": {"type": "integer", "minimum": 0, "maximum": 9},
        "s": {"type": "string"},
    },
    "examples": [{"$schema": "/a/b/1.0.0", "i": 1}],
}
Edit = Callable[[dict[str, Any]], object]


def field(name: str, schema: dict[str, Any]) -> Edit:
    return lambda document: document["properties"].update({name: schema})


def top(**values: Any) -> Edit:
    return lambda document: document.update({name.replace("dollar_", "$"): value for name, value in values.items()})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".jsonschema-tools.yaml").write_text(
        "schemaBasePath: ./jsonschema\ncontentTypes: [yaml]\nshouldSymlinkExtensionless: false\n"
        "shouldSymlinkLatest: false\nenforcedNumericBounds: [-9007199254740991, 9007199254740991]\n"
    )
    return tmp_path


def write(root: Path, *edits: Edit) -> None:
    schema = copy.deepcopy(SCHEMA)
    for edit in edits:
        edit(schema)
    folder = root / "jsonschema" / "a" / "b"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "current.yaml").write_text(yaml.safe_dump(schema, sort_keys=False))
    run("legacy", "materialize-all")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def rules_of(result: Result) -> set[str]:
    return {one["rule"] for one in json.loads(result.stdout)["findings"] if one["waived"] is None}


# What the tests of jsonschema-tools 1.3.0 say of a repository with this one change: None where they pass.
AS_ORIGINAL: list[tuple[Edit, str | None]] = [
    (top(), None),
    (top(description=""), None),
    (lambda schema: schema.pop("$schema"), None),
    (lambda schema: schema.pop("examples"), None),
    (top(additionalProperties=False), None),
    (field("x", {"type": "string", "maxLenght": 5}), None),
    (field("m", {"type": "object", "additionalProperties": True}), None),
    (field("m", {"type": "array", "items": {"type": "object", "properties": {"aB": {"type": "string"}}}}), None),
    (field("n", {"type": "null"}), None),
    (field("p", {"type": "string", "pattern": "(?=a)a", "maxLength": 5}), None),
    (field("c", {"type": "string", "const": 5}), None),
    (field("select", {"type": "string"}), None),
    (field("n", {"type": "integer", "minimum": 5, "maximum": 1}), None),
    (field("aB", {"type": "string"}), "schema-snake-case-properties"),
    (field("e", {"type": "string", "enum": ["a", "a"]}), "schema-is-valid"),
    (field("p", {"type": "string", "pattern": "a"}), "schema-is-secure"),
    (field("n", {"type": ["string", "null"]}), "schema-deterministic-types"),
    (top(required=["zz"], examples=[]), "schema-required-properties-exist"),
    (top(dollar_schema="http://json-schema.org/draft-04/schema#"), "schema-examples-are-valid"),
    (top(dollar_schema="https://json-schema.org/draft/2020-12/schema"), "schema-examples-are-valid"),
    (field("p", {"type": "string", "format": "nope", "maxLength": 5}), "schema-examples-are-valid"),
    (lambda schema: schema["examples"][0].update(i="x"), "schema-examples-are-valid"),
]


@pytest.mark.parametrize(("edit", "rule"), AS_ORIGINAL, ids=[str(at) for at in range(len(AS_ORIGINAL))])
def test_as_jsonschema_tools_asks_its_rules_and_no_others(root: Path, edit: Edit, rule: str | None) -> None:
    write(root, edit)
    result = run("check", "--as", "jsonschema-tools", "--format", "json")
    assert rules_of(result) == ({rule} if rule else set())
    assert result.exit_code == (1 if rule else 0)


def test_the_setting_does_the_same_and_lets_rules_of_ours_come_one_by_one(root: Path) -> None:
    write(root, top(description=""), field("x", {"type": "string", "maxLenght": 5}))
    settings = root / ".jsonschema-tools.yaml"
    before = settings.read_text()
    assert run("check").exit_code == 1
    settings.write_text(before + "headwater: {check_as: jsonschema-tools}\n")
    assert run("check").exit_code == 0
    settings.write_text(
        before + "headwater: {check_as: jsonschema-tools, rules: {keyword-misspelt: error, meta-present: warning}}\n"
    )
    result = run("check", "--format", "json")
    assert (result.exit_code, rules_of(result)) == (1, {"keyword-misspelt", "meta-present"})
    # The option asks for exactly the other tool's rules, whatever the settings add.
    assert run("check", "--as", "jsonschema-tools").exit_code == 0


def test_a_misspelt_setting_is_named(root: Path) -> None:
    write(root)
    settings = root / ".jsonschema-tools.yaml"
    before = settings.read_text()
    settings.write_text(before + "headwater: {chek_as: jsonschema-tools}\n")
    refused = run("check").stderr
    assert "headwater.chek_as" in refused
    assert "Did you mean" in refused
    settings.write_text(before + "headwater: {check_as: eslint}\n")
    assert "`headwater.check_as` is 'eslint'" in run("check").stderr


def test_the_repository_of_wikimedia_passes_as_it_passes_its_own_tests(
    root: Path, fixtures_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(fixtures_dir / "schemas" / "primary", root / "primary")
    monkeypatch.chdir(root / "primary")
    text = Path("jsonschema-tools.yaml").read_text()
    # The copy has no links.
    Path(".jsonschema-tools.yaml").write_text(
        text + "\nshouldSymlinkExtensionless: false\nshouldSymlinkLatest: false\n"
    )
    result = run("check", "--as", "jsonschema-tools")
    assert result.exit_code == 0, result.output
    assert run("check", "--strict").exit_code == 1


def test_a_baseline_lets_only_new_findings_fail(root: Path) -> None:
    write(root, field("x", {"type": "string", "maxLenght": 5}))
    assert run("check").exit_code == 1
    first = run("check", "--baseline", "known.json")
    assert first.exit_code == 0
    assert "current findings are recorded in known.json" in first.stderr
    again = run("check", "--baseline", "known.json", "--strict")
    assert again.exit_code == 0, again.output
    assert run("check", "a/b", "--baseline", "known.json").exit_code == 0

    write(root, field("x", {"type": "string", "maxLenght": 5}), field("y", {"type": "string", "maxLenght": 5}))
    result = run("check", "--baseline", "known.json", "--format", "json")
    assert result.exit_code == 1
    new = [one for one in json.loads(result.stdout)["findings"] if one["waived"] is None]
    assert {(one["rule"], one["pointer"]) for one in new if one["severity"] == "error"} == {
        ("keyword-misspelt", "/properties/y/maxLenght")
    }


def test_a_new_version_with_what_was_wrong_before_is_not_new(root: Path) -> None:
    write(root, field("x", {"type": "string", "maxLenght": 5}))
    run("check", "--baseline", "known.json")
    write(
        root,
        field("added", {"type": "string"}),
        field("x", {"type": "string", "maxLenght": 5}),
        top(dollar_id="/a/b/1.1.0"),
        lambda schema: schema["examples"][0].update({"$schema": "/a/b/1.1.0"}),
    )
    assert run("check", "--baseline", "known.json").exit_code == 0
    # Whether a version is compatible is asked of each one anew.
    write(
        root,
        lambda schema: schema["properties"].pop("s"),
        field("x", {"type": "string", "maxLenght": 5}),
        top(dollar_id="/a/b/1.2.0"),
        lambda schema: schema["examples"][0].update({"$schema": "/a/b/1.2.0"}),
    )
    result = run("check", "--baseline", "known.json", "--format", "json")
    assert (result.exit_code, rules_of(result)) == (1, {"schema-version-compatibility"})


def test_what_was_repaired_is_counted_and_forgotten_on_demand(root: Path) -> None:
    write(root, field("x", {"type": "string", "maxLenght": 5}))
    run("check", "--baseline", "known.json")
    write(root, field("x", {"type": "string", "maxLength": 5}))
    assert "1 findings recorded in known.json no longer occur" in run("check", "--baseline", "known.json").stderr
    run("check", "--baseline", "known.json", "--update-baseline")
    write(root, field("x", {"type": "string", "maxLenght": 5}))
    assert run("check", "--baseline", "known.json").exit_code == 1


@pytest.mark.parametrize("arguments", [["a/b"], ["--changed-since", "HEAD"], ["a/b", "--update-baseline"]])
def test_a_baseline_is_not_written_from_a_part_of_the_repository(root: Path, arguments: list[str]) -> None:
    write(root)
    assert run("check", "--baseline", "known.json", *arguments).exit_code == 2
    assert not Path("known.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other", "findings": []}', "nonsense"])
def test_a_file_that_is_no_baseline_is_an_error_with_its_name(root: Path, text: str) -> None:
    write(root)
    Path("known.json").write_text(text)
    result = run("check", "--baseline", "known.json")
    assert result.exit_code == 2
    assert "known.json: The baseline cannot be read" in result.stderr
