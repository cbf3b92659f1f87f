"""Compiling schemas and validating events: references, bounds, defaults and the notation of errors."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from headwater.errors import EventInvalid, EventMalformed, SchemaInvalid, SchemaNotFound, SchemaUnavailable
from headwater.event import Event
from headwater.schemas import CompiledSchema, Schema, ValidationLimits, Validator, legacy_errors_text
from headwater.schemas.schema import read_schema

URI = "/test/event/1.0.0"
INSECURE = ValidationLimits(allow_insecure_schemas=True)
DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"


class Documents:
    """A repository of documents in memory."""

    def __init__(self, documents: dict[str, Any]) -> None:
        self._documents = documents

    def get(self, uri: str) -> Schema:
        if uri not in self._documents:
            raise SchemaNotFound(f"There is no schema {uri}.")
        if isinstance(self._documents[uri], Exception):
            raise self._documents[uri]
        return read_schema(uri, json.dumps(self._documents[uri]).encode(), ValidationLimits())

    def uris(self) -> Iterable[str]:
        return self._documents


def compiled(schema: Any, limits: ValidationLimits = INSECURE, **others: Any) -> CompiledSchema:
    documents = {f"/{name.replace('_', '/')}": document for name, document in others.items()}
    return Validator(Documents({URI: schema, **documents}), limits).compile(URI)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


# References


@pytest.mark.parametrize("keyword", ["$ref", "allOf", "items", "definitions"])
@pytest.mark.parametrize("dialect", ["http://json-schema.org/draft-07/schema#", DRAFT_2020_12])
def test_a_remote_reference_never_opens_a_connection(keyword: str, dialect: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
        part: Any = {"$ref": url}
        schema = {
            "$ref": {"properties": {"a": part}},
            "allOf": {"allOf": [part]},
            "items": {"properties": {"a": {"items": part}}},
            "definitions": {"definitions": {"d": part}, "properties": {"a": {"$ref": "#/definitions/d"}}},
        }[keyword]
        with pytest.raises(SchemaInvalid, match="outside"):
            compiled({"$schema": dialect, **schema})
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "//127.0.0.1/x", "ftp://x/y", "urn:x:y", "https://example.org"]
)
def test_a_reference_to_anything_but_a_path_is_refused(url: str) -> None:
    with pytest.raises(SchemaInvalid):
        compiled({"properties": {"a": {"$ref": url}}})


def test_a_foreign_id_does_not_turn_paths_into_requests() -> None:
    with pytest.raises(SchemaInvalid, match="outside"):
        compiled({"$id": "http://127.0.0.1:9/x", "properties": {"a": {"$ref": "/other"}}})


def test_references_by_path_are_read_from_the_repository() -> None:
    for reference in ("/other", "/other#", "../../other", "/other#/definitions/part"):
        other = {"type": "object", "required": ["b"], "definitions": {"part": {"type": "object", "required": ["b"]}}}
        schema = compiled({"$id": URI, "properties": {"a": {"$ref": reference}}}, other=other)
        assert schema.is_valid({"a": {"b": 1}})
        assert not schema.is_valid({"a": {}})
        assert [error["dataPath"] for error in schema.legacy_errors({"a": {}})] == [".a"]


def test_formats_in_referenced_documents_follow_the_same_rules() -> None:
    other = {"type": "string", "format": "date-time", "maxLength": 100}
    schema = compiled({"properties": {"a": {"$ref": "/other"}}}, other=other)
    assert schema.is_valid({"a": "2020-01-01 00:00:00+0100"})
    assert not schema.is_valid({"a": "2020-02-30T00:00:00Z"})


def test_references_by_id_and_anchor_are_found() -> None:
    by_id = {"$id": URI, "properties": {"a": {"$ref": "#part"}}, "definitions": {"x": {"$id": "#part", "type": "null"}}}
    assert not compiled(by_id).is_valid({"a": 1})
    by_anchor = {
        "$schema": DRAFT_2020_12,
        "properties": {"a": {"$ref": "#part"}},
        "$defs": {"x": {"$anchor": "part", "type": "null"}},
    }
    assert not compiled(by_anchor).is_valid({"a": 1})


def test_a_missing_reference_is_the_schemas_fault_and_a_missing_repository_is_temporary() -> None:
    with pytest.raises(SchemaInvalid, match="/other"):
        compiled({"properties": {"a": {"$ref": "/other"}}})
    with pytest.raises(SchemaInvalid):
        compiled({"properties": {"a": {"$ref": "#/definitions/none"}}})
    with pytest.raises(SchemaUnavailable):
        compiled({"properties": {"a": {"$ref": "/other"}}}, other=SchemaUnavailable("down"))


def test_a_chain_of_too_many_documents_is_refused() -> None:
    others = {f"n{i}": {"properties": {"a": {"$ref": f"/n{i + 1}"}}} for i in range(200)}
    with pytest.raises(SchemaInvalid, match="documents"):
        compiled({"$ref": "/n0"}, **others)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"anyOf": [{"type": "string"}, {"not": {"$ref": "#"}}]},
        {"allOf": [{"$ref": "#/definitions/a"}], "definitions": {"a": {"allOf": [{"$ref": "#"}]}}},
    ],
)
def test_a_schema_without_end_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaInvalid):
        compiled(schema)


def test_a_recursive_schema_validates_nested_events() -> None:
    schema = compiled({"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False})
    assert schema.is_valid({"a": {"a": {}}})
    assert [violation.pointer for violation in schema.violations({"a": {"a": {"b": 1}}})] == ["/a/a"]


# Bounds


def test_a_catastrophic_expression_takes_no_time() -> None:
    schema = compiled({"properties": {"f": {"type": "string", "pattern": "^(a+)+$", "maxLength": 1_000_000}}})
    started = time.monotonic()
    assert not schema.is_valid({"f": "a" * 100_000 + "!"})
    assert len(schema.violations({"f": "a" * 100_000 + "!"})) == 1
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("pattern", ["(?=a)a", r"(a)\1", "(", "((a{1,100}){1,100}){1,100}"])
def test_an_expression_that_is_not_linear_does_not_compile(pattern: str) -> None:
    with pytest.raises(SchemaInvalid):
        compiled({"properties": {"f": {"type": "string", "pattern": pattern}}})


def test_a_deep_event_is_refused_and_explained() -> None:
    schema = compiled({"type": "object"})
    for levels in (100, 900):
        assert [one.keyword for one in schema.violations(nested(levels))] == ["depth"]
    recursive = compiled({"properties": {"a": {"$ref": "#"}}, "type": "object"})
    assert not recursive.is_valid(nested(900))
    assert [one.keyword for one in recursive.violations(nested(900))] == ["depth"]


def test_the_deepest_allowed_event_can_be_explained() -> None:
    recursive = compiled({"properties": {"a": {"allOf": [{"$ref": "#"}]}}, "type": "object"})
    violations = recursive.violations(nested(ValidationLimits().event_depth_max))
    assert [one.keyword for one in violations] == ["type"]


def test_a_schema_that_doubles_at_each_level_stays_fast() -> None:
    schema = compiled({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}})
    started = time.monotonic()
    assert schema.is_valid(nested(60))
    assert time.monotonic() - started < 30


def test_a_schema_that_multiplies_its_own_parts_is_refused() -> None:
    for wrap in (lambda parts: {"allOf": parts}, lambda parts: {"properties": {"a": {"allOf": parts}}}):
        definitions = {f"d{i}": wrap([{"$ref": f"#/definitions/d{i + 1}"}] * 2) for i in range(40)}
        with pytest.raises(SchemaInvalid, match="too often"):
            compiled({"$ref": "#/definitions/d0", "definitions": {**definitions, "d40": {"type": "object"}}})


def test_explaining_and_filling_an_event_end_also_where_a_schema_doubles_at_each_level() -> None:
    doubling = {"properties": {"a": {"allOf": [{"$ref": "#/definitions/n"}, {"$ref": "#/definitions/n"}]}}}
    started = time.monotonic()
    schema = compiled({"$ref": "#/definitions/n", "definitions": {"n": {**doubling, "type": "object"}}})
    assert not schema.is_valid(nested(50))
    assert schema.violations(nested(50))
    filling = {"properties": {**doubling["properties"], "b": {"default": 1}}}
    schema = compiled({"$ref": "#/definitions/n", "definitions": {"n": filling}})
    with pytest.raises(EventInvalid, match="too deep"):
        schema.fill_defaults(nested(50))
    assert time.monotonic() - started < 30


def test_a_deep_event_is_the_producers_fault_also_while_defaults_are_filled() -> None:
    schema = compiled({"properties": {"a": {"$ref": "#"}, "b": {"default": 1}}})
    with pytest.raises(EventInvalid):
        schema.fill_defaults(nested(900))


def test_text_that_is_not_unicode_is_refused() -> None:
    schema = compiled({"properties": {"a": {"pattern": "^a"}}})
    assert not schema.is_valid({"a": "\ud800"})
    assert len(schema.violations({"a": "\ud800"})) == 1


def test_violations_are_bounded() -> None:
    schema = compiled({"additionalProperties": False})
    assert len(schema.violations({f"f{i}": 1 for i in range(5_000)})) == INSECURE.violations_max


def test_a_deep_schema_is_refused() -> None:
    schema: Any = {}
    for _ in range(100):
        schema = {"not": schema}
    with pytest.raises(SchemaInvalid):
        compiled(schema)


# Dialects, formats, security


@pytest.mark.parametrize("dialect", ["http://json-schema.org/draft-06/schema#", "x", "http://127.0.0.1/schema"])
def test_an_unknown_dialect_is_refused(dialect: Any) -> None:
    with pytest.raises(SchemaInvalid, match="not supported"):
        compiled({"$schema": dialect})


def test_2020_12_is_understood() -> None:
    schema = compiled(
        {
            "$schema": DRAFT_2020_12,
            "properties": {
                "pair": {"prefixItems": [{"type": "string"}, {"default": 7}], "items": False},
                "when": {"type": "string", "format": "date-time"},
                "day": {"$ref": "#/$defs/day", "minLength": 3},
            },
            "dependentRequired": {"pair": ["when"]},
            "unevaluatedProperties": False,
            "$defs": {"day": {"type": "string", "format": "duration"}},
        }
    )
    event = {"pair": ["a"], "when": "2020-01-01 00:00:00Z", "day": "P1D"}
    assert schema.fill_defaults(event)
    assert event["pair"] == ["a", 7]
    assert schema.is_valid(event)
    wrong = {"pair": ["a", 1, 2], "when": "2020-02-30T00:00:00Z", "other": 1}
    found = {(one.pointer, one.keyword) for one in schema.violations(wrong)}
    assert {("/when", "format"), ("", "unevaluatedProperties")} <= found
    assert schema.legacy_errors({"pair": ["a"]})[0]["dataPath"] == ""


def test_an_unknown_format_does_not_compile() -> None:
    for name in ("zzz", "iri", "duration"):
        with pytest.raises(SchemaInvalid, match=name):
            compiled({"properties": {"f": {"type": "string", "format": name, "maxLength": 9}}})


def test_a_format_next_to_a_pattern_needs_both() -> None:
    schema = compiled({"properties": {"f": {"type": "string", "format": "date", "pattern": "^2020"}}})
    assert schema.is_valid({"f": "2020-02-29"})
    for text, keyword in (("2021-02-28", "pattern"), ("2020-02-31", "format")):
        assert not schema.is_valid({"f": text})
        assert [one.keyword for one in schema.violations({"f": text})] == [keyword]


@pytest.mark.parametrize("day", ["2020-02-29", "2000-02-29", "2019-02-28", "2019-04-30", "2019-12-31", "0400-02-29"])
def test_days_that_exist_are_accepted(day: str) -> None:
    assert compiled({"properties": {"f": {"format": "date"}}}).is_valid({"f": day})


@pytest.mark.parametrize("day", ["2019-02-29", "1900-02-29", "2019-04-31", "2019-00-01", "2019-01-00", "2019-01-32"])
def test_days_that_do_not_exist_are_refused(day: str) -> None:
    assert not compiled({"properties": {"f": {"format": "date"}}}).is_valid({"f": day})


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"f": {"pattern": "a"}}},
        {"definitions": {"f": {"format": "date"}}},
        {"patternProperties": {"^a": {}}},
        {"properties": {"f": {"uniqueItems": True}}},
        {"properties": {"f": {"uniqueItems": True, "items": {"type": ["string", "object"]}}}},
    ],
)
def test_insecure_schemas_are_refused_unless_allowed(schema: Any) -> None:
    with pytest.raises(SchemaInvalid, match="not secure"):
        compiled(schema, ValidationLimits())
    with pytest.raises(SchemaInvalid, match="not secure"):
        compiled({"properties": {"a": {"$ref": "/other"}}}, ValidationLimits(), other=schema)
    compiled(schema)


# Defaults


def test_a_schema_without_defaults_has_nothing_to_fill() -> None:
    event = {"a": {}}
    assert not compiled({"properties": {"a": {"properties": {"b": {"type": "string"}}}}}).fill_defaults(event)
    assert event == {"a": {}}


def test_defaults_are_copied_not_shared() -> None:
    schema = compiled({"properties": {"a": {"default": {"list": []}}}})
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    assert schema.fill_defaults(first)
    first["a"]["list"].append(1)
    schema.fill_defaults(second)
    assert second == {"a": {"list": []}}
    assert not schema.fill_defaults(second)


def test_defaults_are_filled_wherever_a_schema_surely_applies() -> None:
    part = {"properties": {"d": {"default": 1}}}
    schema = compiled(
        {
            "allOf": [{"properties": {"e": {"default": 2}}}],
            "properties": {
                "object": part,
                "items": {"items": part},
                "tuple": {"items": [part], "additionalItems": part},
                "map": {"properties": {"named": {}}, "patternProperties": {"^p": part}, "additionalProperties": part},
                "reference": {"$ref": "#/definitions/part"},
                "remote": {"$ref": "/other"},
                "any": {"anyOf": [part]},
                "one": {"oneOf": [part]},
                "not": {"not": {**part, "required": ["never"]}},
                "depends": {"dependencies": {"k": part}},
                "choice": {"if": {"required": ["k"]}, "then": part, "else": {"properties": {"f": {"default": 3}}}},
            },
            "definitions": {"part": part},
        },
        other=part,
    )
    event = {
        "object": {},
        "items": [{}, 1, {"d": None}],
        "tuple": [{}, {}],
        "map": {"named": {}, "p1": {}, "x": {}},
        "reference": {},
        "remote": {},
        "any": {},
        "one": {},
        "not": {},
        "depends": {"k": 1},
        "choice": {"k": 1},
    }
    assert schema.fill_defaults(event)
    assert event == {
        "e": 2,
        "object": {"d": 1},
        "items": [{"d": 1}, 1, {"d": None}],
        "tuple": [{"d": 1}, {"d": 1}],
        "map": {"named": {}, "p1": {"d": 1}, "x": {"d": 1}},
        "reference": {"d": 1},
        "remote": {"d": 1},
        "any": {},
        "one": {},
        "not": {},
        "depends": {"k": 1, "d": 1},
        "choice": {"k": 1, "d": 1},
    }
    other = {"choice": {}}
    schema.fill_defaults(other)
    assert other == {"choice": {"f": 3}, "e": 2}


def test_a_default_that_fills_itself_without_end_is_refused() -> None:
    with pytest.raises(SchemaInvalid, match="endlessly"):
        compiled({"properties": {"a": {"$ref": "#", "default": {}}}})


# Verdicts


def test_check_raises_with_every_violation() -> None:
    schema = {"type": "object", "required": ["$schema", "a"], "properties": {"n": {"type": "integer"}}}
    validator = Validator(Documents({URI: schema}))
    validator.check(Event({"$schema": URI, "a": 1}))
    with pytest.raises(EventInvalid) as caught:
        validator.check(Event({"$schema": URI, "n": "x"}))
    assert [(one.pointer, one.keyword) for one in caught.value.violations] == [("", "required"), ("/n", "type")]
    with pytest.raises(EventInvalid):
        validator.check(Event({"$schema": URI, "a": nested(100)}))
    with pytest.raises(EventMalformed):
        validator.check(Event({"a": 1}))


def test_errors_have_both_notations() -> None:
    schema = compiled({"properties": {"a-b": {"items": {"properties": {"c/d": {"type": "null"}}}}}})
    event = {"a-b": [{"c/d": 1}]}
    assert [one.pointer for one in schema.violations(event)] == ["/a-b/0/c~1d"]
    errors = schema.legacy_errors(event)
    assert errors == [
        {
            "keyword": "type",
            "dataPath": "['a-b'][0]['c/d']",
            "schemaPath": "#/properties/a-b/items/properties/c~1d/type",
            "params": {"type": "null"},
            "message": "should be null",
        }
    ]
    assert legacy_errors_text(errors) == "'['a-b'][0]['c/d']' should be null"


def test_threads_may_compile_the_same_schema_at_once() -> None:
    validator = Validator(Documents({URI: {"type": "object"}}))
    found: list[CompiledSchema] = []
    threads = [threading.Thread(target=lambda: found.append(validator.compile(URI))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in found}) == 1
