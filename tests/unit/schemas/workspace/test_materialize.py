"""What a current file comes to: references, merged `allOf`, bounds, examples, links, and what is refused."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import HeadwaterError, SchemaInvalid, SchemaUnavailable
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.source import Source, parse_source
from headwater.schemas.workspace.example_event import example_event
from headwater.schemas.workspace.materialize import Materializer
from headwater.schemas.workspace.materialize_all import materialize_all
from headwater.schemas.workspace.merge_all_of import merge_all_of
from headwater.schemas.workspace.pinned_repository import content_hash, files_below
from headwater.schemas.workspace.version_files import VersionFile, version_files, write_changed
from headwater.schemas.workspace.working_copy import WorkingCopy
from headwater.schemas.workspace.working_settings import WorkingSettings
from headwater.schemas.workspace.yaml_style import yaml_text

SETTINGS = "schemaBasePath: .\ncontentTypes: [yaml]\n"


def _write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else yaml_text(value), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    _write(tmp_path / ".jsonschema-tools.yaml", SETTINGS)
    (tmp_path / ".git").mkdir()
    return tmp_path


def _made(root: Path, title: str, document: Any, **named: Any) -> Any:
    if isinstance(document, dict):
        document = {"title": title, "$id": f"/{title}/1.0.0", **document}
    _write(root / title / "current.yaml", document)
    copy = WorkingCopy.open(root, **named)
    return Materializer(copy).folder(copy.folder(title)).document


def test_references_lead_into_the_document_into_others_and_through_others(root: Path) -> None:
    _write(
        root / "fragment/a/1.0.0.yaml",
        {"properties": {"x": {"type": "string"}, "y": {"$ref": "#/properties/x"}}, "required": ["x"]},
    )
    made = _made(
        root,
        "page/edit",
        {
            "properties": {
                "whole": {"$ref": "/fragment/a/1.0.0#"},
                "field": {"$ref": "/fragment/a/1.0.0#/properties/y", "description": "ours"},
                "own": {"$ref": "./#/definitions/d~1e"},
                "up": {"$ref": "../../fragment/a/1.0.0#/properties/x"},
            },
            "required": {"$ref": "/fragment/a/1.0.0#/required"},
            "definitions": {"d/e": {"type": "boolean"}},
            "examples": [{"$schema": {"$ref": "#/$id"}}],
        },
    )

    assert made["properties"] == {
        "field": {"description": "ours", "type": "string"},
        "own": {"type": "boolean"},
        "up": {"type": "string"},
        "whole": {"properties": {"x": {"type": "string"}, "y": {"type": "string"}}, "required": ["x"]},
    }
    assert made["required"] == ["x"]
    assert made["examples"] == [{"$schema": "/page/edit/1.0.0"}]


@pytest.mark.parametrize(
    ("schemas", "joined"),
    [
        ([{"maximum": 3}, {"maximum": 2}, {"minimum": 1}, {"minimum": 0}], {"maximum": 2, "minimum": 1}),
        ([{"type": ["string", "null"]}, {"type": "string"}], {"type": "string"}),
        ([{"required": ["b", "a"]}], {"required": ["b", "a"]}),
        ([{"required": ["b"]}, {"required": ["a"]}], {"required": ["a", "b"]}),
        ([{"enum": ["c", "a", "b"]}, {"enum": ["b", "c"]}], {"enum": ["b", "c"]}),
        ([{"multipleOf": 4}, {"multipleOf": 6}], {"multipleOf": 12}),
        ([{"multipleOf": 0.5}, {"multipleOf": 0.75}], {"multipleOf": 1.5}),
        ([{"uniqueItems": False}, {"uniqueItems": True}], {"uniqueItems": True}),
        ([{"title": "a"}, {"title": "b"}, {"default": 1}, {"default": 2}], {"title": "a", "default": 1}),
        (
            [
                {"properties": {"a": {"maxLength": 3}}, "additionalProperties": False},
                {"properties": {"a": {"maxLength": 2}, "b": {}}},
            ],
            {"properties": {"a": {"maxLength": 2}, "b": {}}, "additionalProperties": False},
        ),
        ([{"additionalProperties": True}, {"additionalProperties": {"type": "string"}}],
         {"additionalProperties": {"type": "string"}}),
        ([{"items": {"type": "string"}}, {"items": {"maxLength": 2}}], {"items": {"type": "string", "maxLength": 2}}),
        (
            [{"items": [{"type": "string"}, {}]}, {"items": {"maxLength": 2}}],
            {"items": [{"type": "string", "maxLength": 2}, {"maxLength": 2}]},
        ),
        (
            [{"oneOf": [{"type": "string"}, {"type": "number"}]}, {"oneOf": [{"maxLength": 1}, {"type": "string"}]}],
            {"oneOf": [{"type": "string", "maxLength": 1}, {"type": "string"}, {"type": "number", "maxLength": 1}]},
        ),
        ([{"not": {"type": "string"}}], {"not": {"anyOf": [{"type": "string"}]}}),
        ([{"pattern": "a"}, {"pattern": "b"}], {"allOf": [{"pattern": "a"}, {"pattern": "b"}]}),
        ([{"dependencies": {"a": ["c"]}}, {"dependencies": {"a": ["b"]}}], {"dependencies": {"a": ["b", "c"]}}),
        ([{"properties": {}, "items": {}, "additionalProperties": {}}], {}),
        ([{"properties": {"a": {}}}], {"properties": {"a": {}}}),
        ([{"allOf": [{"properties": {"a": {"allOf": [{"minimum": 1}]}}}]}], {"properties": {"a": {"minimum": 1}}}),
    ],
)  # fmt: skip
def test_branches_of_all_of_come_to_one_schema(schemas: list[Any], joined: Any) -> None:
    assert merge_all_of({"allOf": schemas}, "here") == joined


@pytest.mark.parametrize(
    "schemas",
    [
        [{"type": "string"}, {"type": "integer"}],
        [{"enum": ["a"]}, {"enum": ["b"]}],
        [{"format": "date"}, {"format": "uri"}],
        [{"const": 1}, {"const": 2}],
        [{"oneOf": [{"type": "string"}]}, {"oneOf": [{"type": "number"}]}],
        [{"properties": {"a": {"x-owner": "a"}}}, {"properties": {"a": {"x-owner": "b"}}}],
    ],
)
def test_branches_that_exclude_each_other_are_refused_with_the_place(schemas: list[Any]) -> None:
    with pytest.raises(SchemaInvalid, match=r"here merges values of `[a-zA-Z-]+` at /[a-zA-Z/-]+ that exclude"):
        merge_all_of({"allOf": schemas}, "here")


def test_joining_lists_of_alternatives_does_not_explode() -> None:
    branches = [{"oneOf": [{"title": f"{list_}-{one}"} for one in range(20)]} for list_ in range(6)]

    with pytest.raises(SchemaInvalid, match="branches"):
        merge_all_of({"allOf": branches}, "here")


def test_bounds_are_filled_where_they_are_missing(root: Path) -> None:
    made = _made(
        root,
        "a",
        {
            "properties": {
                "n": {"type": "integer", "minimum": 0},
                "l": {"type": "array", "items": {"type": "number"}},
                "either": {"type": ["integer", "null"]},
            }
        },
    )

    assert made["properties"]["n"] == {"type": "integer", "maximum": 9007199254740991, "minimum": 0}
    assert made["properties"]["l"]["items"] == {
        "type": "number",
        "maximum": 9007199254740991,
        "minimum": -9007199254740991,
    }
    assert made["properties"]["either"] == {"type": ["integer", "null"]}
    without = _made(root, "b", {"properties": {"n": {"type": "integer"}}}, overrides={"enforcedNumericBounds": False})
    assert without["properties"]["n"] == {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "dolor"),
        ({"type": "string", "minLength": 20}, "dolordolordolordolor"),
        ({"type": "string", "maxLength": 3}, ""),
        ({"type": "string", "enum": ["a", "b", "c", "d", "e", "f", "g"]}, "b"),
        ({"type": "string", "const": "x"}, "x"),
        ({"type": "string", "format": "uuid"}, "22222222-2222-2222-2222-222222222222"),
        ({"type": "string", "pattern": "^[0-9a-z]{20}$"}, "55555555555555555555"),
        ({"type": "integer", "minimum": 0, "maximum": 9007199254740991}, 1351079888211148),
        ({"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991}, -6305039478318694),
        ({"type": "number", "minimum": 0, "maximum": 1}, 0.15),
        ({"type": "boolean"}, False),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"dolorb": "dolor"}),
    ],
)
def test_a_generated_example_is_the_same_every_time(schema: Any, value: Any) -> None:
    assert example_event({"type": "object", "properties": {"a": schema}}) == {"a": value}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string", "minLength": "many"}, "No example can be made"),
        ({"type": "integer", "minimum": [], "maximum": 3}, "No example can be made"),
        (
            functools.reduce(lambda inner, _: {"type": "array", "minItems": 100, "items": inner}, range(12), {}),
            "more than 10000 values",
        ),
    ],
)
def test_an_example_that_cannot_be_made_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(SchemaInvalid, match=message):
        example_event({"type": "object", "properties": {"a": schema}})


def test_a_hostile_expression_costs_nothing() -> None:
    schemas = {
        "a": {"type": "string", "pattern": "^(a|a){50,}\\Bx$", "maxLength": 100},
        "b": {"type": "string", "pattern": "((a{9999}){9999}){9999}", "maxLength": 100},
    }

    assert set(example_event({"type": "object", "properties": schemas})) == {"a", "b"}


def test_a_default_in_an_example_is_not_an_alias(root: Path) -> None:
    made = _made(
        root,
        "a",
        {"type": "object", "properties": {"b": {"type": "array", "default": [1]}}},
        overrides={"shouldGenerateExample": True},
    )

    assert "&ref" not in yaml_text(made)


_KEYWORDS = st.sampled_from(
    [
        *("$id", "$ref", "allOf", "anyOf", "oneOf", "not", "type", "properties", "items", "additionalProperties"),
        *("required", "enum", "minimum", "maximum", "multipleOf", "pattern", "minLength", "dependencies", "examples"),
        *("definitions", "additionalItems", "contains", "default", "const", "title", "minItems", "format"),
    ]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-1e15, 1e15)
    | st.sampled_from(["a", "string", "integer", "object", "array", "#", "#/properties/a", "/a/1.0.0", "^a+$", "a["]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYWORDS | st.just("a"), inner, max_size=4),
    max_leaves=25,
)


def _source(document: dict[str, Any]) -> Source:
    return parse_source(json.dumps(document).encode(), "here", ValidationLimits())


@given(st.dictionaries(_KEYWORDS, _VALUES, max_size=6))
def test_whatever_a_current_file_holds_is_made_or_refused_in_our_words(document: dict[str, Any]) -> None:
    settings = WorkingSettings(Path(), generate_example=True, content_types=("yaml", "json"))
    materializer = Materializer(WorkingCopy(Path(), settings))
    try:
        made = materializer.document(_source({**document, "$id": "/a/1.0.0"}), "a")
    except HeadwaterError:
        return
    assert parse_document(made.texts["yaml"].encode(), "made", ValidationLimits()) == made.document


def test_examples_of_a_fragment_are_not_examples_of_the_schema(root: Path) -> None:
    _write(root / "f/1.0.0.yaml", {"properties": {"a": {"type": "string"}}, "examples": [{"a": "theirs"}]})

    assert "examples" not in _made(root, "a", {"allOf": [{"$ref": "/f/1.0.0#"}]})
    ours = _made(root, "b", {"type": "object", "allOf": [{"$ref": "/f/1.0.0#"}], "examples": [{"a": "ours"}]})
    assert ours["examples"] == [{"a": "ours"}]
    made = _made(
        root, "c", {"type": "object", "allOf": [{"$ref": "/f/1.0.0#"}]}, overrides={"shouldGenerateExample": True}
    )
    assert made["examples"] == [{"a": "dolor"}]


def test_a_version_another_current_file_is_about_to_become_is_made_first(root: Path) -> None:
    _write(root / "f/current.yaml", {"$id": "/f/1.0.0", "properties": {"a": {"type": "string"}}})
    _write(root / "f/1.0.0.yaml", {"$id": "/f/1.0.0", "properties": {"stale": {}}})
    _write(root / "a/current.yaml", {"$id": "/a/1.0.0", "allOf": [{"$ref": "/f/1.0.0#"}]})
    copy = WorkingCopy.open(root)

    together = {made.title: made for made in materialize_all(copy).made}
    alone = Materializer(copy).folder(copy.folder("a"))

    assert list(together["a"].document["properties"]) == ["a"]
    assert list(alone.document["properties"]) == ["stale"]


def test_schemas_that_need_each_other_are_refused_by_name(root: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        _write(root / one / "current.yaml", {"$id": f"/{one}/1.0.0", "allOf": [{"$ref": f"/{other}/1.0.0#"}]})

    result = materialize_all(WorkingCopy.open(root))

    assert [title for title, _ in result.failures] == ["a", "b"]
    assert "a → b → a" in result.failures[0][1].message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"properties": {"a": {"$ref": "#"}}}, "refers to itself in a cycle"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "refers to itself in a cycle"),
        ({"properties": {"a": {"$ref": "#/properties/a/b"}}}, "refers to itself in a cycle"),
        ({"allOf": [{"$ref": "#/definitions/x"}], "definitions": {"x": {"allOf": [{"$ref": "#/definitions/x"}]}}},
         "refers to itself in a cycle"),
        ({"$ref": "/none/1.0.0#"}, "is in no schema repository"),
        ({"properties": {"a": {"$ref": "#/properties/none"}}}, "which does not exist"),
        ({"$ref": "https://evil.invalid/x#"}, "outside the schema repositories"),
        ({"$ref": "file:///etc/passwd"}, "outside the schema repositories"),
        ({"$ref": "//evil.invalid/x"}, "is in no schema repository"),
        ({"$ref": "/../../etc/passwd"}, "leads out"),
        ({"$id": "/a/none"}, "names no version"),
        ("$id: /a/1.0.0\na: &a [x]\nb: &b [*a, *a]\n" + "".join(
            f"n{n}: &n{n} [{', '.join([f'*n{n - 1}' if n else '*b'] * 9)}]\n" for n in range(9)),
         "aliases are expanded"),
        ("$id: /a/1.0.0\nx: " + "[" * 200 + "]" * 200, "nested deeper"),
        ("$id: /a/1.0.0\n$id: /a/1.0.1\n", "twice"),
        ({"definitions": {f"d{n}": {"properties": {x: {"$ref": f"#/definitions/d{n + 1}"} for x in "abcdefgh"}}
                          for n in range(12)} | {"d12": {"type": "string"}}}, "too large once its references"),
        ({"definitions": {f"d{n}": {"$ref": f"#/definitions/d{n + 1}"} for n in range(80)} | {"d80": {}}},
         "references in a row"),
        ("text", "current.yaml:1:1: A schema is a mapping of keywords"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_or_would_cost_too_much_is_refused(root: Path, document: Any, message: str) -> None:
    with pytest.raises(HeadwaterError, match=message) as refused:
        _made(root, "a", document)

    assert "a/current.yaml" in refused.value.message


def test_nothing_is_asked_of_the_network_unless_a_setting_says_so(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}/schemas"
        _write(root / ".jsonschema-tools.yaml", f"{SETTINGS}schemaBaseUris: [., '{base}/']\n")

        with pytest.raises(SchemaUnavailable, match=r"Not searched.*http://127\.0\.0\.1"):
            _made(root, "a", {"allOf": [{"$ref": "/f/1.0.0#"}]})
        with pytest.raises(SchemaInvalid):
            _made(root, "b", {"$ref": f"{base}/f/1.0.0"})
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_pinned_copy_answers_for_a_remote_repository_and_is_checked_first(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    _write(other / "f/1.0.0.yaml", {"properties": {"a": {"type": "string"}}})
    digest = content_hash(files_below(other))
    pins = f"headwater: {{repositories: [{{path: '{other}', replaces: 'https://x.invalid/s', sha256: {digest}}}]}}\n"
    _write(root / ".jsonschema-tools.yaml", f"{SETTINGS}schemaBaseUris: [., 'https://x.invalid/s/']\n{pins}")

    assert _made(root, "a", {"allOf": [{"$ref": "/f/1.0.0#"}]})["properties"] == {"a": {"type": "string"}}

    _write(other / "f/1.0.0.yaml", {"properties": {"b": {}}})
    with pytest.raises(SchemaUnavailable, match="has changed"):
        _made(root, "a", {"allOf": [{"$ref": "/f/1.0.0#"}]})


def test_a_repository_pinned_by_commit_is_read_as_it_was_then(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    file = _write(other / "jsonschema/f/1.0.0.yaml", {"properties": {"then": {}}})

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments]
        return subprocess.run(command, cwd=other, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD")
    _write(file, {"properties": {"now": {}}})
    pins = f"headwater: {{repositories: [{{path: '{other}/jsonschema', commit: {commit}}}]}}\n"
    _write(root / ".jsonschema-tools.yaml", SETTINGS + pins)

    assert list(_made(root, "a", {"allOf": [{"$ref": "/f/1.0.0#"}]})["properties"]) == ["then"]


def test_links_name_each_version_and_the_greatest(root: Path) -> None:
    _write(root / ".jsonschema-tools.yaml", "schemaBasePath: .\ncontentTypes: [yaml, json]\n")
    _write(root / "a/2.0.0.yaml", {"$id": "/a/2.0.0"})
    _write(root / "a/2.0.0.json", "{}")
    _write(root / "a/current.yaml", {"$id": "/a/1.0.0"})
    copy = WorkingCopy.open(root)

    write_changed(version_files(Materializer(copy).folder(copy.folder("a")), root / "a", copy.settings))

    links = {path.name: path.readlink().name for path in (root / "a").iterdir() if path.is_symlink()}
    assert links == {
        "1.0.0": "1.0.0.yaml",
        "2.0.0": "2.0.0.yaml",
        "latest": "2.0.0.yaml",
        "latest.yaml": "2.0.0.yaml",
        "latest.json": "2.0.0.json",
    }


def test_a_dry_run_writes_nothing_and_a_second_run_has_nothing_to_write(root: Path) -> None:
    _write(root / "a/current.yaml", {"$id": "/a/1.0.0"})
    copy = WorkingCopy.open(root)
    files = version_files(Materializer(copy).folder(copy.folder("a")), root / "a", copy.settings)

    assert len(write_changed(files, dry_run=True)) == len(files)
    assert [path.name for path in (root / "a").iterdir()] == ["current.yaml"]
    write_changed(files)
    assert write_changed(files) == []


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_rubbish(root: Path) -> None:
    taken = root / "a" / "1.0.0.yaml"
    (taken / "inside").mkdir(parents=True)

    with pytest.raises(SchemaUnavailable, match="cannot be"):
        VersionFile(taken, content=b"x").write()

    assert [path.name for path in taken.parent.iterdir()] == ["1.0.0.yaml"]


def test_several_processes_come_to_the_same_as_one(root: Path) -> None:
    _write(root / "f/current.yaml", {"$id": "/f/1.0.0", "properties": {"a": {"type": "string"}}})
    for number in range(6):
        _write(root / f"s{number}/current.yaml", {"$id": f"/s{number}/1.0.0", "allOf": [{"$ref": "/f/1.0.0#"}]})
    _write(root / "bad/current.yaml", {"$id": "/bad/1.0.0", "$ref": "#/none"})
    copy = WorkingCopy.open(root)

    one, two = materialize_all(copy, processes=1), materialize_all(copy, processes=2)

    assert [made.texts for made in one.made] == [made.texts for made in two.made]
    assert [(title, str(error)) for title, error in one.failures] == [
        (title, str(error)) for title, error in two.failures
    ]
    assert two.failures[0][1].hint


def test_a_large_document_is_refused_before_it_is_parsed(root: Path) -> None:
    _write(root / "a/current.yaml", "$id: /a/1.0.0\ndescription: " + "x" * 5000)

    copy = WorkingCopy.open(root, limits=ValidationLimits(document_bytes_max=4096))
    with pytest.raises(SchemaInvalid, match="larger than 4096 bytes"):
        Materializer(copy).folder(copy.folder("a"))
