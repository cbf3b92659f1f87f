"""A schema in draft-04 works as in the validator of the original: every keyword applies, whatever draft knows it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.errors import SchemaInvalid
from headwater.schemas import Schema, ValidationLimits, Validator
from headwater.schemas.compatibility import compare
from headwater.schemas.schema import read_schema

DRAFT_04 = "http://json-schema.org/draft-04/schema#"
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"


def compiled(schema: dict[str, Any], dialect: str = DRAFT_04) -> Any:
    class One:
        def get(self, uri: str) -> Schema:
            return read_schema(uri, json.dumps({"$schema": dialect, **schema}).encode(), ValidationLimits())

        def uris(self) -> list[str]:
            return []

        def close(self) -> None:
            pass

    return Validator(One(), ValidationLimits(allow_insecure_schemas=True)).compile("/t/1.0.0")


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"const": 1}, [1, 1.0], [2, "1", None]),
        ({"properties": {"a": {"const": "x"}}}, [{"a": "x"}, {}], [{"a": "y"}]),
        ({"contains": {"type": "string"}}, [["a"], [1, "a"], 5], [[1], []]),
        ({"propertyNames": {"maxLength": 2}}, [{"ab": 1}, 5], [{"abc": 1}]),
        (
            {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}},
            [{"a": 1, "b": 1}, {"c": 1}],
            [{"a": 1}, {}],
        ),
        ({"type": "integer"}, [1, 1.0, -3], [1.5, "1", True]),
        ({"minimum": 1, "exclusiveMinimum": True}, [2, 1.1], [1, 0]),
        ({"minimum": 1, "exclusiveMinimum": False}, [1], [0]),
        ({"maximum": 1, "exclusiveMaximum": True}, [0], [1, 2]),
        ({"allOf": [{"maximum": 1, "exclusiveMaximum": True}]}, [0], [1]),
        ({"properties": {"id": {"type": "string"}, "minimum": {"type": "boolean"}}}, [{"id": "x"}], [{"id": 5}]),
        ({"id": "/t/1.0.0", "definitions": {"s": {"const": 1}}, "$ref": "#/definitions/s"}, [1], [2]),
        ({"examples": "no list", "type": "string"}, ["a"], [1]),
    ],
)
def test_keywords_apply(schema: dict[str, Any], valid: list[Any], invalid: list[Any]) -> None:
    made = compiled(schema)
    for value in valid:
        assert made.is_valid(value), value
        assert made.violations(value) == []
    for value in invalid:
        assert not made.is_valid(value), value
        assert made.violations(value) != []


@pytest.mark.parametrize("values", [["a", "b", "a"], [1, 1.0], [{"x": 1, "y": 2}, {"y": 2, "x": 1}], []])
def test_an_enum_that_repeats_a_value_is_forbidden_by_draft_04_alone(values: list[Any]) -> None:
    with pytest.raises(SchemaInvalid, match="an `enum`"):
        compiled({"enum": values})
    for dialect in (DRAFT_07, DRAFT_2020_12):
        made = compiled({"enum": values}, dialect)
        assert all(made.is_valid(value) for value in values)
        assert not made.is_valid("other")


def test_schemas_whose_enums_repeat_values_are_compared() -> None:
    before = {"$schema": DRAFT_07, "title": "t", "$id": "/t/1.0.0", "enum": ["a", "a"]}
    after = {**before, "$id": "/t/1.1.0", "enum": ["a", "b", "b"]}
    assert compare(before, after).backward.is_yes
    assert not compare(after, before).backward.is_yes
