"""What a schema is read to say of a field holds of every event that the schema lets pass."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.checking.fields import field_at

NAMES = ("a", "b")
TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
PATHS = ("a", "b", "a.a", "a.b", "b.a", "a.a.b")


def _keywords(children: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(children, min_size=1, max_size=2)
    properties = st.dictionaries(st.sampled_from(NAMES), children, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.one_of(st.sampled_from(TYPES), st.lists(st.sampled_from(TYPES), min_size=1, unique=True)),
            "properties": properties,
            "additionalProperties": st.one_of(st.booleans(), children),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), children, max_size=1),
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "if": st.sampled_from([True, False, {}, {"required": ["a"]}, {"type": "object"}]),
            "then": children,
            "else": children,
            "enum": st.lists(st.sampled_from([1, 1.5, "x", True, None]), min_size=1, max_size=2, unique_by=repr),
        },
    )


SCHEMAS = st.recursive(
    st.one_of(
        st.sampled_from([{"type": name} for name in TYPES]),
        st.sampled_from([{"type": name} for name in TYPES]),
        st.just({"$ref": "#/definitions/shared"}),
        st.just({"$ref": "#/definitions/shared", "type": "string"}),
        st.just({}),
    ),
    _keywords,
    max_leaves=8,
)
VALUES = (None, True, 0, 7, -1, 2.0, 0.5, "", "x", [], [1], {}, {"c": 1})


def _nested(path: str, value: Any) -> dict[str, Any]:
    """An event that has the value at the path, and nothing else."""
    for name in reversed(path.split(".")):
        value = {name: value}
    found: dict[str, Any] = value
    return found


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if float(value).is_integer() else "number"
    return {str: "string", list: "array", dict: "object"}[type(value)]


# Nothing but its fields is asked of the event as a whole, so that many events pass.
ROOTS = st.fixed_dictionaries(
    {"properties": st.dictionaries(st.sampled_from(NAMES), SCHEMAS, min_size=2, max_size=2)},
    optional={branch: st.lists(_keywords(SCHEMAS), min_size=1, max_size=2) for branch in ("allOf", "anyOf", "oneOf")},
)


@settings(max_examples=200)
@given(schema=ROOTS, shared=_keywords(st.just({"type": "string"})))
def test_no_event_that_passes_has_a_value_of_another_type_than_was_read(
    schema: dict[str, Any], shared: dict[str, Any]
) -> None:
    document = {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"shared": shared}, **schema}
    compiled = jsonschema_rs.Draft7Validator(document)
    for path in PATHS:
        field = field_at(document, path)
        # An undeclared field may come all the same; what is declared is of the types that were read.
        if field is None or field.types is None:
            continue
        for value in VALUES:
            if compiled.is_valid(_nested(path, value)):
                assert _type_of(value) in field.types, (path, value)
