"""Builds the schemas of OpenAPI descriptions: texts, numbers, records, lists. All are plain JSON values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Node = dict[str, Any]


def ref(name: str) -> Node:
    """A schema of the document by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(properties: Mapping[str, Node], *, optional: Collection[str] = (), closed: bool = False) -> Node:
    """An object with these properties, required except for the `optional` ones; `closed`: no other properties."""
    described: Node = {"type": "object", "properties": dict(properties)}
    required = [name for name in properties if name not in optional]
    if required:
        described["required"] = required
    if closed:
        described["additionalProperties"] = False
    return described


def text(description: str = "", **more: Any) -> Node:
    return _typed("string", description, more)


def integer(description: str = "", **more: Any) -> Node:
    """A whole number."""
    return _typed("integer", description, more)


def number(description: str = "", **more: Any) -> Node:
    return _typed("number", description, more)


def boolean(description: str = "", **more: Any) -> Node:
    return _typed("boolean", description, more)


def moment(description: str = "", **more: Any) -> Node:
    """A time in ISO 8601, in UTC."""
    return _typed("string", description, {"format": "date-time", **more})


def one_of(values: Sequence[str], description: str = "") -> Node:
    """One of several texts."""
    return _typed("string", description, {"enum": list(values)})


def array_of(items: Node, description: str = "") -> Node:
    """An array."""
    return _typed("array", description, {"items": items})


def map_of(values: Node, description: str = "") -> Node:
    """An object whose keys are names, and whose values have one schema."""
    return _typed("object", description, {"additionalProperties": values})


def anything(description: str) -> Node:
    """An object defined elsewhere; the description says where."""
    return _typed("object", description, {})


def _typed(kind: str, description: str, more: Mapping[str, Any]) -> Node:
    return {"type": kind, **({"description": description} if description else {}), **more}
