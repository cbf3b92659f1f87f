"""What is no schema where one belongs, and what JSON has no value for, is refused where it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import SchemaInvalid
from headwater.schemas.keyword_shapes import misshapen
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.source import read_source
from headwater.schemas.workspace.materialize import Materializer
from headwater.schemas.workspace.working_copy import WorkingCopy

LIMITS = ValidationLimits()
HEAD = "title: a\n$id: /a/1.0.0\n$schema: {dialect}\ntype: object\n"
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"
DRAFT_04 = "http://json-schema.org/draft-04/schema#"


def refused(text: str | bytes) -> SchemaInvalid:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(SchemaInvalid) as found:
        read_source(data, "a/current.yaml", LIMITS)
    return found.value


MISSHAPEN = [
    "additionalProperties: no",
    "additionalProperties: 'false'",
    "additionalProperties: [false]",
    "additionalProperties: null",
    "additionalItems: 1",
    "items: string",
    "items: [string]",
    "items:",
    "contains: 5",
    "propertyNames: name",
    "not: []",
    "if: yes",
    "then: 1.5",
    "else: off",
    "allOf: {type: object}",
    "allOf: [no]",
    "allOf: []",
    "anyOf: true",
    "oneOf: [{type: object}, x]",
    "properties: []",
    "properties: no",
    "properties: {b: string}",
    "properties: {b: {items: {properties: {c: 5}}}}",
    "patternProperties: {'^a': yes}",
    "definitions: [a]",
    "definitions: {b: text}",
    "dependencies: {a: b}",
    "dependencies: {a: [1]}",
    "dependencies: [a]",
    "required: name",
    "required: true",
    "required: [1]",
    "required: [a, a]",
    "enum: 5",
    "enum: {a: 1}",
    "examples: {a: 1}",
    "type: strnig",
    "type: [object, 5]",
    "type: []",
    "type: {}",
    "title: 5",
    "description: [x]",
    "pattern: 5",
    "format: yes1\nmaxLength: '5'",
    "minLength: -1",
    "maxItems: 1.5",
    "minimum: '0'",
    "maximum: true",
    "multipleOf: 0",
    "exclusiveMinimum: true",
    "uniqueItems: yes",
    "readOnly: 'true'",
    "$ref: 5",
]


@pytest.mark.parametrize("line", MISSHAPEN)
@pytest.mark.parametrize("dialect", [DRAFT_07, DRAFT_2020_12])
def test_every_misshapen_keyword_is_refused_with_file_line_and_column(line: str, dialect: str) -> None:
    if "additionalItems" in line and dialect == DRAFT_2020_12:
        # A keyword of earlier drafts.
        return
    keyword = line.partition(":")[0]
    head = HEAD.format(dialect=dialect).replace("title: a\n", "" if keyword == "title" else "title: a\n")
    head = head.replace("type: object\n", "" if keyword == "type" else "type: object\n")
    error = refused(head + line + "\n")

    assert error.file == "a/current.yaml"
    assert error.line in {head.count("\n") + 1, head.count("\n") + 1 + line.count("\n")}
    assert error.column is not None
    assert error.column >= 1
    assert error.message.startswith(f"a/current.yaml:{error.line}:{error.column}: ")


@pytest.mark.parametrize("text", ["true", "[]", "[{}]", "5", "text", "null", "", "# nothing\n", '"text"'])
def test_a_root_that_is_no_mapping_is_refused(text: str) -> None:
    error = refused(text)
    assert error.line == 1
    assert "mapping of keywords" in error.message or "neither" in error.message


def test_draft_04_has_no_schemas_that_are_booleans_but_may_be_open_or_closed() -> None:
    head = HEAD.format(dialect=DRAFT_04)
    assert refused(f"{head}properties: {{b: true}}\n").line == 5
    assert read_source(f"{head}additionalProperties: false\nexclusiveMinimum: true\n".encode(), "a", LIMITS)


def test_a_hint_names_the_word_that_was_meant() -> None:
    error = refused(HEAD.format(dialect=DRAFT_07) + "additionalProperties: no\n")
    assert error.hint == "Write `false`: YAML reads `no` as text here."


def test_all_that_is_wrong_is_found_with_its_pointer() -> None:
    document = {"properties": {"a/b": {"items": 5}, "c": {"required": "x"}}, "allOf": {}, "not": 1}
    pointers = {one.pointer for one in misshapen(document)}
    assert pointers == {"/properties/a~1b/items", "/properties/c/required", "/allOf", "/not"}


def test_a_reference_may_stand_for_any_value_until_references_are_filled_in() -> None:
    document = {"required": {"$ref": "#/x"}, "enum": {"$ref": "#/x"}, "properties": {"$ref": "#/x"}, "type": "object"}
    assert list(misshapen(document)) == []
    assert {one.pointer for one in misshapen(document, references=False)} == {"/required", "/enum", "/properties/$ref"}


def test_what_a_keyword_of_another_draft_holds_is_its_authors_affair() -> None:
    assert list(misshapen({"$schema": DRAFT_07, "deprecated": "since 1.2", "x-more": no_schema()})) == []
    assert [one.pointer for one in misshapen({"$schema": DRAFT_2020_12, "deprecated": "since 1.2"})] == ["/deprecated"]


def no_schema() -> Any:
    return {"properties": 5}


# What JSON has no value for


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: !!set {x, y}\n", 2, "!!set"),
        ("a: 1\nb: !!binary aGk=\n", 2, "!!binary"),
        ("a: !!timestamp 2020-01-01\n", 1, "!!timestamp"),
        ("a: !!omap [b: 1]\n", 1, "!!omap"),
        ("a: !!pairs [b: 1]\n", 1, "!!pairs"),
        ("a: !mine 5\n", 1, "!mine"),
        ("a: !!python/object:os.system x\n", 1, "python"),
        ("a:\n  b: 1e400\n", 2, "1e400"),
        ("a: -1e400\n", 1, "-1e400"),
        ("a: .inf\n", 1, ".inf"),
        ("a: -.INF\n", 1, "-.INF"),
        ("a: .nan\n", 1, ".nan"),
        ("a: " + "9" * 400 + "\n", 1, "400 digits"),
        ("a: 0x" + "f" * 300 + "\n", 1, "JSON cannot represent"),
        ("a: !!int x\n", 1, "does not match its tag"),
        ("a: !!bool yes\n", 1, "does not match its tag"),
        ("a: !!null 5\n", 1, "does not match its tag"),
        ("a: 1\n? [b, c]\n: 2\n", 2, "not text"),
        ("a: 1\n? {b: c}\n: 2\n", 2, "not text"),
        ("a: 1\nb: 2\na: 3\n", 3, '"a" twice: here and on line 1'),
        ("x:\n  a: 1\n  'a': 3\n", 3, '"a" twice: here and on line 2'),
        ("1: a\n'1': b\n", 2, '"1" twice'),
        ("a: &a\n  b: *a\n", 1, "contains itself"),
        ("a: 1\n---\nb: 2\n", 2, "document"),
        ("a:\n\tb: 1\n", 2, "neither JSON nor YAML"),
        ("a: [1\nb: 2\n", 2, "neither JSON nor YAML"),
        ("a: 1\n<<: 5\n", 2, "neither JSON nor YAML"),
        ("a: 1\n<<: {b: 1}\n<<: {c: 1}\n", 3, "twice"),
        ('a: "\\ud800"\n', 1, "neither JSON nor YAML"),
        ('{\n "a": 1,\n "a": 2}', 3, '"a" twice: here and on line 2'),
        ('{"x": {"a": 1,\n "\\u0061": 2}}', 2, '"a" twice: here and on line 1'),
        ('{"a":\n 1e400}', 2, "1e400"),
        ('{"a":\n NaN}', 2, "NaN"),
        ('{"a":\n -Infinity}', 2, "-Infinity"),
        ('{"a":\n "\\ud800"}', 2, "surrogate"),
        ('{"a": ' + "9" * 400 + "}", 1, "400 digits"),
    ],
)
def test_values_json_has_not_are_refused_at_their_line(text: str, line: int, word: str) -> None:
    error = refused(text)
    assert (error.line, word in error.message) == (line, True), error.message


def test_text_that_is_not_utf_8_is_refused_with_its_line() -> None:
    assert refused("a: 1\nb: ü\n".encode("latin-1")).line == 2
    assert refused("a: 1\n".encode("utf-16")).line == 1


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_windows_files_say_the_same_and_have_the_same_lines(mark: str, newline: str) -> None:
    text = mark + newline.join(["title: a", "description: b", ""])
    assert read_source(text.encode(), "a", LIMITS).content == {"title": "a", "description": "b"}
    assert refused(text + f"items: no{newline}").line == 3
    as_json = mark + newline.join(["{", '"title": "a",', '"items": "no"', "}"])
    assert (refused(as_json).line, refused(as_json).column) == (3, 1)


def test_values_both_have_are_read_exactly() -> None:
    text = (
        "default: [2020-01-01, no, 123456789012345678901234567890, -9223372036854775809, !!str 5, 1.0, 0x10]\n"
        "definitions: &all {1: {}, true: {}, null: {}}\nproperties: {<<: *all, own: {}}\n"
    )
    content = read_source(text.encode(), "a", LIMITS).content
    assert content["default"] == [
        "2020-01-01",
        "no",
        123456789012345678901234567890,
        -9223372036854775809,
        "5",
        1.0,
        16,
    ]
    assert list(content["properties"]) == ["1", "true", "null", "own"]
    as_json = {"default": [123456789012345678901234567890, "😀"]}
    assert read_source(json.dumps(as_json).encode(), "a", LIMITS).content == as_json


# References and merging


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / ".jsonschema-tools.yaml").write_text("schemaBasePath: .\ncontentTypes: [yaml]\n")
    return tmp_path


def made(root: Path, text: str) -> Any:
    (root / "a").mkdir()
    (root / "a/current.yaml").write_text(f"title: a\n$id: /a/1.0.0\n$schema: {DRAFT_07}\n{text}")
    copy = WorkingCopy.open(root)
    return Materializer(copy).folder(copy.folder("a")).document


def test_a_fragment_that_is_no_schema_is_refused_at_its_own_place(repository: Path) -> None:
    (repository / "f").mkdir()
    (repository / "f/1.0.0.yaml").write_text("title: f\nproperties:\n  b: string\n")
    with pytest.raises(SchemaInvalid, match=r"^f/1\.0\.0\.yaml:3:3: "):
        made(repository, "allOf: [{$ref: /f/1.0.0}]\n")


@pytest.mark.parametrize(
    "text",
    [
        "x-list: [a]\nproperties:\n  $ref: '#/x-list'\n",
        "x-word: no\nallOf:\n  - additionalProperties: {$ref: '#/x-word'}\n",
        "x-word: b\nproperties:\n  b: {required: {$ref: '#/x-word'}}\n",
    ],
)
def test_what_a_reference_leads_to_has_to_belong_there(repository: Path, text: str) -> None:
    with pytest.raises(SchemaInvalid, match=r"^a/current\.yaml:[56]:\d+: ") as error:
        made(repository, text)
    assert error.value.line is not None


def test_the_metaschema_is_asked_before_anything_is_merged(repository: Path) -> None:
    """Merging would drop the second branch: it repeats the first one, in an invalid form."""
    with pytest.raises(SchemaInvalid, match=r"^a/current\.yaml:6:5: "):
        made(repository, "allOf:\n  - {type: object}\n  - $id: 'a b%zz{'\n")


def test_a_schema_that_cannot_be_read_hides_no_other(repository: Path) -> None:
    settings = repository / ".jsonschema-tools.yaml"
    settings.write_text(settings.read_text() + "ignoreSchemas: [never]\n")
    (repository / "bad").mkdir()
    (repository / "bad/current.yaml").write_text("a: !!set {b}\n")
    assert made(repository, "type: object\n")["type"] == "object"
    assert set(WorkingCopy.open(repository).schemas) == {"a", "bad"}
