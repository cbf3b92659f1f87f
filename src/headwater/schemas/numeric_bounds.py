"""Gives every integer and number of a schema a minimum and a maximum (contracts/schemas.md §2.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_HOLDS_SCHEMA = frozenset(("additionalItems", "additionalProperties", "contains", "items", "not", "propertyNames"))
_HOLDS_LIST = frozenset(("allOf", "anyOf", "items", "oneOf"))
_HOLDS_MAP = frozenset(("definitions", "dependencies", "patternProperties", "properties"))


def fill_numeric_bounds(schema: dict[str, Any], bounds: tuple[float, float]) -> None:
    """Add missing bounds, in place. Existing bounds stay; `exclusiveMinimum` does not count as one."""
    if schema.get("type") in ("integer", "number"):
        schema.setdefault("maximum", bounds[1])
        schema.setdefault("minimum", bounds[0])
    for keyword, value in schema.items():
        children: Iterable[Any] = ()
        if isinstance(value, dict):
            children = value.values() if keyword in _HOLDS_MAP else (value,) if keyword in _HOLDS_SCHEMA else ()
        elif isinstance(value, list) and keyword in _HOLDS_LIST:
            children = value
        for child in children:
            if isinstance(child, dict):
                fill_numeric_bounds(child, bounds)
