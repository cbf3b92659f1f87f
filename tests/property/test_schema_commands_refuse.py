"""A misplaced value in a schema is reported by every schema command with file and line, and nothing is changed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.cli.main import main
from headwater.schemas.workspace.yaml_style import json_text, yaml_text

DIALECTS = ("http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema")
WORDS = st.sampled_from(["no", "yes", "string", "x", "off", "0"])
NUMBERS = st.sampled_from([5, 1.5, 10**30, -1])
NO_SCHEMA = st.one_of(WORDS, NUMBERS, st.none(), st.just([]), st.just([{}]))
NO_MAPPING = st.one_of(WORDS, NUMBERS, st.none(), st.just([]), st.booleans())
NO_LIST = st.one_of(WORDS, NUMBERS, st.none(), st.just({}), st.just({"a": 1}), st.booleans())
NO_TEXT = st.one_of(NUMBERS, st.none(), st.just([]), st.just({}), st.booleans())
NO_NUMBER = st.one_of(WORDS, st.none(), st.just([]), st.just({}), st.booleans())
NO_BOOLEAN = st.one_of(WORDS, NUMBERS, st.none(), st.just([]), st.just({}))
WRONG: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"), NO_SCHEMA),
    "items": st.one_of(WORDS, NUMBERS, st.none(), st.just(["x"])),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), st.one_of(NO_LIST, st.just([]), st.just(["no"]), st.just([{}, 5]))),
    **dict.fromkeys(("properties", "patternProperties", "definitions"), st.one_of(NO_MAPPING, st.just({"a": "no"}))),
    "dependencies": st.one_of(NO_MAPPING, st.just({"a": "b"}), st.just({"a": [5]})),
    "required": st.one_of(NO_LIST, st.just([5]), st.just(["a", "a"])),
    "type": st.one_of(st.sampled_from(["no", "strnig", "Object"]), NUMBERS, st.none(), st.just({}), st.just(["x"])),
    **dict.fromkeys(("enum", "examples"), NO_LIST),
    **dict.fromkeys(("title", "description", "pattern", "format", "$comment"), NO_TEXT),
    **dict.fromkeys(("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"), NO_NUMBER),
    **dict.fromkeys(
        ("maxLength", "minLength", "maxItems", "minItems", "minProperties"), st.one_of(NO_NUMBER, st.just(-1))
    ),
    **dict.fromkeys(("uniqueItems", "readOnly", "writeOnly"), NO_BOOLEAN),
}
PLACES: tuple[tuple[str | int, ...], ...] = (
    (),
    ("properties", "b"),
    ("properties", "b", "items"),
    ("properties", "c", "properties", "d"),
    ("properties", "c", "additionalProperties"),
    ("allOf", 0),
    ("allOf", 0, "properties", "e"),
    ("anyOf", 1),
    ("not",),
    ("if",),
    ("definitions", "f"),
    ("dependencies", "b"),
    ("patternProperties", "^g"),
)


def schema(title: str, dialect: str) -> dict[str, Any]:
    return {
        "title": title,
        "description": "One of everything.",
        "$id": f"/{title}/1.0.0",
        "$schema": dialect,
        "type": "object",
        "properties": {
            "b": {"type": "array", "items": {"type": "string"}},
            "c": {
                "type": "object",
                "properties": {"d": {"type": "integer"}},
                "additionalProperties": {"type": "number"},
            },
        },
        "patternProperties": {"^g": {"type": "string"}},
        "dependencies": {"b": {"minProperties": 1}},
        "definitions": {"f": {"type": "string"}},
        "allOf": [{"properties": {"e": {"type": "boolean"}}}],
        "anyOf": [{"minProperties": 1}, {"minProperties": 2}],
        "not": {"required": ["z"]},
        "if": {"required": ["y"]},
        "then": {"required": ["x"]},
    }


@st.composite
def wrong_schemas(draw: st.DrawFn, title: str) -> str:
    """The text of a schema with one misplaced value."""
    document = schema(title, draw(st.sampled_from(DIALECTS)))
    at: Any = document
    for step in draw(st.sampled_from(PLACES)):
        at = at[step]
    keyword = draw(st.sampled_from(sorted(WRONG)))
    at[keyword] = draw(WRONG[keyword])
    # YAML in the style of materialized files changes numbers beyond 2^53; JSON is YAML as well.
    return draw(st.sampled_from([lambda value: yaml_text(value, exact=True), json_text]))(document)


ROOTS = st.sampled_from(["true", "[]", "[{}]", "5", "no", "null", "", "- a\n- b\n"])
TITLES = {"bad/current.yaml": "bad", "bad/1.0.0.yaml": "bad", "fragment/bad/1.0.0.yaml": "fragment/bad"}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in git with good schemas, one of which takes in the fragment."""
    root = tmp_path_factory.mktemp("good")
    (root / ".jsonschema-tools.yaml").write_text(
        "schemaBasePath: jsonschema\ncontentTypes: [yaml]\n"
        "shouldSymlinkExtensionless: false\nshouldSymlinkLatest: false\n"
    )
    for title in ("bad", "fragment/bad", "well"):
        folder = root / "jsonschema" / title
        folder.mkdir(parents=True)
        for name in ("current.yaml", "1.0.0.yaml"):
            (folder / name).write_text(yaml_text(schema(title, DIALECTS[0])))
    user = {"title": "user", "$id": "/user/1.0.0", "$schema": DIALECTS[0], "allOf": [{"$ref": "/fragment/bad/1.0.0"}]}
    (root / "jsonschema/user").mkdir()
    (root / "jsonschema/user/current.yaml").write_text(yaml_text(user))
    (root / "events.jsonl").write_text('{"$schema": "/bad/1.0.0", "meta": {"stream": "a"}, "b": ["x"], "x": 1}\n')
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "good"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@contextmanager
def broken(good: Path, file: str, text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "repository")
        shutil.copytree(good, root, symlinks=True)
        (root / "jsonschema" / file).write_text(text, encoding="utf-8")
        (Path(scratch) / "other/jsonschema").mkdir(parents=True)
        with chdir(root):
            yield root


def files(root: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.parent.rglob("*"))
        if file.is_file() and ".git" not in file.parts and file.is_relative_to(root)
    } | {str(file): file.read_bytes() for file in sorted((root.parent / "other").rglob("*")) if file.is_file()}


OF_CURRENT = (
    "check",
    "check bad",
    "materialize",
    "materialize bad",
    "materialize --modified",
    "materialize --check",
    "materialize bad --stdout",
    "dereference bad",
    "bump bad",
    "bump bad --to 9.0.0 --materialize",
    "diff bad",
    "diff bad 1.0.0 current",
    "docs bad",
    "docs -o ../other/pages",
    "graph",
    "upgrade-fragment fragment/bad --in bad",
    "types jsonschema/bad/current.yaml --to postgres",
    "compat jsonschema/bad/current.yaml jsonschema/well/current.yaml",
    "import . -r ../other",
    "legacy materialize jsonschema/bad/current.yaml",
    "legacy materialize-all jsonschema",
    "legacy materialize-modified jsonschema",
    "legacy dereference jsonschema/bad/current.yaml",
)
OF_VERSION = (
    "check",
    "check bad",
    "bump bad",
    "diff bad",
    "docs",
    "docs bad",
    "types bad --to avro --schemas jsonschema",
    "types jsonschema/bad/1.0.0.yaml --to spark",
    "compat jsonschema/well/1.0.0.yaml jsonschema/bad/1.0.0.yaml",
    "dereference jsonschema/bad/1.0.0.yaml",
    "validate events.jsonl --schemas jsonschema",
    "import . -r ../other",
    "import . -r ../other --pin well",
)
OF_FRAGMENT = (
    "check",
    "check user",
    "materialize user",
    "dereference user",
    "bump user",
    "diff user current",
    "new page/edit --include /fragment/bad/1.0.0#",
    "upgrade-fragment fragment/bad",
    "types jsonschema/user/current.yaml --to duckdb --schemas jsonschema",
    "legacy materialize jsonschema/user/current.yaml --schema-base-uris jsonschema",
    "import . -r ../other",
)


@pytest.mark.parametrize(
    ("file", "commands"),
    [
        ("bad/current.yaml", OF_CURRENT),
        ("bad/1.0.0.yaml", OF_VERSION),
        ("fragment/bad/1.0.0.yaml", OF_FRAGMENT),
    ],
)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_command_refuses_what_is_no_schema_and_writes_nothing(
    good: Path, file: str, commands: tuple[str, ...], data: st.DataObject
) -> None:
    text = data.draw(wrong_schemas(TITLES[file]) | ROOTS)
    with broken(good, file, text) as root:
        before = files(root)
        for command in commands:
            result = CliRunner().invoke(main, ["schema", *command.split()])
            assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
            assert result.exit_code != 0, (command, result.output)
            place = re.search(re.escape(file) + r":\d+:\d+: ", result.output)
            assert place, (command, result.output)
            assert files(root) == before, command
