"""The kinds of values in a stream file: how each is checked, described to people, and written as JSON Schema."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.times import DURATION_PATTERN, duration_ms

Check = Callable[[Any], bool]
JsonSchema = Mapping[str, Any]

TEXT: JsonSchema = {"type": "string", "minLength": 1}
MAPPING: JsonSchema = {"type": "object"}
MAPPINGS: JsonSchema = {"type": "array", "items": MAPPING}


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a stream file: its meaning, its values in words, and their check. `keys` are those of a block.

    `schema` is the same check as `accepts` in JSON Schema, without `keys` and `item_keys`.
    """

    meaning: str
    takes: str = "a mapping"
    accepts: Check = lambda value: isinstance(value, dict)
    schema: JsonSchema = field(default_factory=lambda: MAPPING)
    keys: Mapping[str, Field] = field(default_factory=dict)
    # The keys of each item, for a list of mappings.
    item_keys: Mapping[str, Field] = field(default_factory=dict)
    open: bool = False
    # The allowed texts, if they are a fixed set.
    choices: tuple[str, ...] = ()


def text(meaning: str) -> Field:
    return Field(meaning, "text", lambda value: isinstance(value, str) and value != "", TEXT)


def text_or_null(meaning: str) -> Field:
    return Field(meaning, "text or null", lambda value: value is None or isinstance(value, str), _or_null("string"))


def texts(meaning: str) -> Field:
    return Field(meaning, "a list of texts", is_texts, {"type": "array", "items": TEXT})


def text_or_texts(meaning: str) -> Field:
    return Field(
        meaning,
        "text or a list of texts",
        lambda value: (isinstance(value, str) and value != "") or (is_texts(value) and bool(value)),
        {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]},
    )


def flag(meaning: str) -> Field:
    return Field(meaning, "true or false", lambda value: isinstance(value, bool), {"type": "boolean"})


def choice(meaning: str, *choices: str) -> Field:
    *first, last = (f'"{one}"' for one in choices)
    takes = f"{', '.join(first)} or {last}" if first else last
    return Field(meaning, takes, lambda value: value in choices, {"enum": list(choices)}, choices=choices)


def count(meaning: str, at_least: int = 1) -> Field:
    takes = f"a whole number, {at_least} or more"
    schema = {"type": "integer", "minimum": at_least}
    return Field(meaning, takes, lambda value: type(value) is int and value >= at_least, schema)


def duration(meaning: str, *, or_null: bool = False) -> Field:
    takes = "a duration with its unit, such as 30m, 12h or 7d" + (", or null" if or_null else "")
    schema = {"type": ["string", "null"] if or_null else "string", "pattern": DURATION_PATTERN}
    return Field(meaning, takes, lambda value: (or_null and value is None) or is_duration(value), schema)


def rate(meaning: str) -> Field:
    return Field(meaning, "a number from 0 to 1", is_rate, {"type": "number", "minimum": 0, "maximum": 1})


def open_block(meaning: str) -> Field:
    return Field(meaning, open=True)


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def is_duration(value: Any) -> bool:
    return isinstance(value, str) and duration_ms(value) is not None


def is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def is_mapping_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) and item for item in value.values())


def is_header_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(item is False or (isinstance(item, str) and item) for item in value.values())


def is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def is_mapping_of_mappings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, dict) for item in value.values())


def json_schema_of(shape: Mapping[str, Field], *, opened: bool = False) -> dict[str, Any]:
    """The JSON Schema (draft-07) of a block with these keys."""
    schema: dict[str, Any] = {"type": "object", "properties": {name: _property(key) for name, key in shape.items()}}
    return schema if opened else schema | {"additionalProperties": False}


def _property(key: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": key.meaning, **copy.deepcopy(dict(key.schema))}
    if key.keys:
        block = json_schema_of(key.keys, opened=key.open)
        schema |= {name: block[name] for name in ("properties", "additionalProperties") if name in block}
    if key.item_keys:
        block = json_schema_of(key.item_keys, opened=key.open)
        # If both a list and a mapping are allowed, the values of the mapping are such items, too.
        for branch in schema.get("anyOf", [schema]):
            name = "items" if branch["type"] == "array" else "additionalProperties"
            branch[name] = {**branch.get(name, {}), **block}
    return schema


def _or_null(kind: str) -> JsonSchema:
    return {"type": [kind, "null"]}
