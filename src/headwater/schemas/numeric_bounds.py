"""Gives every integer and number of a schema a minimum and a maximum (contracts/schemas.md §2.5)."""

from __future__ import annotations

from typing import Any

_HOLDS_SCHEMA = ("additionalItems", "additionalProperties", "contains", "not", "propertyNames")
_HOLDS_LIST = ("allOf", "anyOf", "oneOf")
_HOLDS_MAP = ("definitions", "dependencies", "patternProperties", "properties")


def fill_numeric_bounds(schema: Any, bounds: tuple[float, float]) -> None:
    """Adds what is missing, in place. Bounds that are there stay; `exclusiveMinimum` does not count as one."""
    if not isinstance(schema, dict):
        return
    if schema.get("type") in ("integer", "number"):
        schema.setdefault("maximum", bounds[1])
        schema.setdefault("minimum", bounds[0])
    for keyword in _HOLDS_SCHEMA:
        fill_numeric_bounds(schema.get(keyword), bounds)
    items = schema.get("items")
    for child in items if isinstance(items, list) else [items]:
        fill_numeric_bounds(child, bounds)
    for keyword in _HOLDS_LIST:
        children = schema.get(keyword)
        for child in children if isinstance(children, list) else ():
            fill_numeric_bounds(child, bounds)
    for keyword in _HOLDS_MAP:
        named = schema.get(keyword)
        for child in named.values() if isinstance(named, dict) else ():
            fill_numeric_bounds(child, bounds)
