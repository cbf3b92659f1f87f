"""The fields of a materialized schema as rows for people: path, type, whether required, constraints, description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.schemas.workspace.working_settings import NUMBER_MAX
from headwater.schemas.workspace.yaml_style import number_text

_ROWS_MAX = 2_000
_VALUES_SHOWN_MAX = 12
_WORDED = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "multiple of {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "format": "{}",
    "const": "always {}",
}


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field. `path` is dotted, `[]` marks the items of an array and `{}` the values of a map."""

    path: str
    type: str
    is_required: bool
    constraints: tuple[str, ...] = ()
    description: str = ""


def field_rows(schema: Mapping[str, Any]) -> list[FieldRow]:
    """Every field of the schema, in its order, nested ones after the field that holds them; at most 2,000."""
    rows: list[FieldRow] = []
    for row in _rows(schema, ""):
        if len(rows) == _ROWS_MAX:
            break
        rows.append(row)
    return rows


def _rows(schema: Mapping[str, Any], path: str) -> Iterator[FieldRow]:
    properties = schema.get("properties")
    required = schema.get("required")
    for name, child in properties.items() if isinstance(properties, dict) else ():
        is_required = isinstance(required, list) and name in required
        yield from _field(child, f"{path}.{name}" if path else name, is_required)
    for keyword in ("allOf", "anyOf", "oneOf"):
        branches = schema.get(keyword)
        for branch in branches if isinstance(branches, list) else ():
            if isinstance(branch, dict):
                yield from _rows(branch, path)
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and values:
        yield from _field(values, f"{path}{{}}", False)
    items = schema.get("items")
    if isinstance(items, dict) and (items.get("type") == "object" or "properties" in items):
        yield from _rows(items, f"{path}[]")


def _field(schema: Any, path: str, is_required: bool) -> Iterator[FieldRow]:
    if not isinstance(schema, dict):
        yield FieldRow(path, "anything" if schema else "never", is_required)
        return
    description = schema.get("description")
    text = " ".join(description.split()) if isinstance(description, str) else ""
    yield FieldRow(path, _type(schema), is_required, tuple(_constraints(schema)), text)
    yield from _rows(schema, path)


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(str(one) for one in kind)
    if kind == "array":
        items = schema.get("items")
        return f"array of {_type(items)}" if isinstance(items, dict) else "array"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, dict) and values and not schema.get("properties"):
        return f"map of {_type(values)}"
    return str(kind) if isinstance(kind, str) else "anything"


def _constraints(schema: Mapping[str, Any]) -> Iterator[str]:
    choices = schema.get("enum")
    if isinstance(choices, list):
        shown = ", ".join(_shown(one) for one in choices[:_VALUES_SHOWN_MAX])
        more = len(choices) - _VALUES_SHOWN_MAX
        yield f"one of {shown}" + (f" and {more} more" if more > 0 else "")
    for keyword, words in _WORDED.items():
        value = schema.get(keyword)
        # Bounds that are only the range of a double are of no use to a reader.
        if value is not None and not (keyword in ("minimum", "maximum") and abs(value) == NUMBER_MAX):
            yield "not empty" if keyword == "minLength" and value == 1 else words.format(_shown(value))
    if "default" in schema:
        yield f"default {_shown(schema['default'])}"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "…"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return value if isinstance(value, str) else number_text(value)
