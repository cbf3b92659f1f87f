"""The fields of a schema as rows of a table for people: path, type, whether required, constraints in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ROWS_MAX = 2_000
DEPTH_MAX = 16
_BOUND_OF_NO_INTEREST = 9007199254740991

# Keyword → how it reads in the table; `{}` is its value.
_WORDS = {
    "pattern": "matches {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
}


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field. `path` is dotted with `[]` for items and `{}` for map values; `level` its depth, from 0.

    `kind` is its type in words, `limits` its constraints, `values` those of an enum or const, `deprecated` whether the
    schema marks it so.
    """

    path: str
    name: str
    level: int
    kind: str
    required: bool
    description: str
    limits: tuple[str, ...]
    values: tuple[str, ...]
    default: str | None
    deprecated: bool


def field_rows(document: Mapping[str, Any]) -> list[FieldRow]:
    """Every declared field of a materialized schema, parents before their fields; at most ROWS_MAX."""
    rows: list[FieldRow] = []
    for row in _rows(document, "", 0):
        rows.append(row)
        if len(rows) == ROWS_MAX:
            break
    return rows


def field_count(document: Mapping[str, Any]) -> int:
    """The number of these fields."""
    return len(field_rows(document))


def kind_of(schema: Any) -> str:
    """A type in words: `string`, `date-time`, `array of integer`, `map of string`, `object`."""
    if not isinstance(schema, Mapping):
        return "anything"
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return reference
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(map(str, kind))
    if kind == "array":
        return f"array of {kind_of(schema.get('items'))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {kind_of(schema['additionalProperties'])}"
    if kind == "string" and isinstance(schema.get("format"), str):
        return str(schema["format"])
    if isinstance(kind, str):
        return kind
    return next((word for word in ("oneOf", "anyOf", "allOf") if word in schema), "anything")


def _rows(schema: Mapping[str, Any], above: str, level: int) -> Iterator[FieldRow]:
    if level > DEPTH_MAX:
        return
    properties = schema.get("properties")
    required = schema.get("required")
    names = required if isinstance(required, list) else []
    for name, field in properties.items() if isinstance(properties, Mapping) else ():
        path = f"{above}.{name}" if above else str(name)
        yield _row(field if isinstance(field, Mapping) else {}, path, str(name), level, name in names)
        yield from _below(field, path, level + 1)
    branches = schema.get("allOf")
    for branch in branches if isinstance(branches, list) else ():
        if isinstance(branch, Mapping):
            yield from _rows(branch, above, level)


def _below(field: Any, path: str, level: int) -> Iterator[FieldRow]:
    if not isinstance(field, Mapping):
        return
    yield from _rows(field, path, level)
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(field.get(keyword), Mapping):
            yield from _below(field[keyword], path + mark, level)


def _row(field: Mapping[str, Any], path: str, name: str, level: int, required: bool) -> FieldRow:
    description = field.get("description")
    inner = field.get("items") if field.get("type") == "array" else None
    limits = [*_limits(field), *(f"each {limit}" for limit in _limits(inner if isinstance(inner, Mapping) else {}))]
    return FieldRow(
        path=path,
        name=name,
        level=level,
        kind=kind_of(field),
        required=required,
        description=description.strip() if isinstance(description, str) else "",
        limits=tuple(limits),
        values=tuple(_values(field)),
        default=_text(field["default"]) if "default" in field else None,
        deprecated=field.get("deprecated") is True,
    )


def _limits(field: Mapping[str, Any]) -> Iterator[str]:
    for keyword, words in _WORDS.items():
        value = field.get(keyword)
        if value is None or isinstance(value, bool):
            continue
        # The tools add these to nearly every number, so they carry no information.
        if keyword in ("minimum", "maximum") and abs(value) == _BOUND_OF_NO_INTEREST:
            continue
        text = words.format(value)
        yield text.removesuffix("s") if value == 1 and text.endswith(("characters", "items", "keys")) else text
    if field.get("uniqueItems") is True:
        yield "unique items"


def _values(field: Mapping[str, Any]) -> Iterator[str]:
    if "const" in field:
        yield _text(field["const"])
    listed = field.get("enum")
    for value in listed if isinstance(listed, list) else ():
        yield _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
