"""The types of the fields of rows: how a parameter of a request is read, and whether a row fits it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from headwater.schemas.json_value import json_equal
from headwater.times import time_us

Kind = Literal["text", "integer", "number", "boolean", "time", "list", "mapping", "any"]
# Those whose values have an order.
ORDERED = ("text", "integer", "number", "time")
# Those a value of which is written in one way, so that a key that has it can be found without reading others.
_FOUND = ("text", "integer", "boolean")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "false": False}
_OF_JSON: Mapping[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
    "object": "mapping",
}
_IN_WORDS: Mapping[Kind, str] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "time": "a time such as 2026-01-31T12:00:00Z",
}


@dataclass(frozen=True, slots=True)
class FieldType:
    """The type of a field, and its `description` in the schema of a stream."""

    kind: Kind = "any"
    description: str = ""

    @property
    def is_ordered(self) -> bool:
        return self.kind in ORDERED

    @property
    def is_found(self) -> bool:
        """Whether keys with a value of this type in them can be found without reading others."""
        return self.kind in _FOUND

    def read(self, text: str) -> Any:
        """The value that a parameter has, as `comparable` gives it. Raises ValueError, which says what it has to be."""
        match self.kind:
            case "integer":
                found: Any = int(text) if _INTEGER.fullmatch(text) else None
            case "number":
                found = float(text) if _NUMBER.fullmatch(text) else None
            case "boolean":
                found = _BOOLEANS.get(text)
            case "time":
                found = time_us(text)
            case _:
                return text
        if found is None:
            raise ValueError(_IN_WORDS[self.kind])
        return found

    def comparable(self, value: Any) -> Any:
        """The value of a row in a form that is compared with others of this type; None if it is of another type."""
        match self.kind:
            case "text":
                return value if isinstance(value, str) else None
            case "integer" | "number":
                return value if isinstance(value, int | float) and not isinstance(value, bool) else None
            case "boolean":
                return value if isinstance(value, bool) else None
            case "time":
                return time_us(value) if isinstance(value, str) else None
            case _:
                return None

    def equals(self, value: Any, asked: Any) -> bool:
        """Whether a row's value is the one that was read from a parameter."""
        if self.kind in ("any", "list", "mapping"):
            return bool(value is not None and (value == asked or json_equal(value, _json(asked))))
        found = self.comparable(value)
        return found is not None and bool(found == asked)


def type_in_schema(schema: Mapping[str, Any] | None, path: str) -> FieldType:
    """The type of a field, by its dotted path, in the schema of a stream; `any` if it does not say one."""
    node: Any = schema
    for part in path.split("."):
        properties = node.get("properties") if isinstance(node, Mapping) else None
        node = properties.get(part) if isinstance(properties, Mapping) else None
    if not isinstance(node, Mapping):
        return FieldType()
    written = node.get("type")
    names = [name for name in (written if isinstance(written, list) else [written]) if name != "null"]
    kind: Kind = _OF_JSON.get(str(names[0]), "any") if len(names) == 1 else "any"
    if kind == "text" and node.get("format") == "date-time":
        kind = "time"
    described = node.get("description")
    return FieldType(kind, described if isinstance(described, str) else "")


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
