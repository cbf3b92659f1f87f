"""A fitted field tree as an Avro schema: records named from their path, optional fields as a union with null."""

from __future__ import annotations

from typing import Any

from headwater.schemas.types.fit import plain_name
from headwater.schemas.types.tree import DataType, Field, ListOf, MapOf, Scalar, Struct

# The property with the event's name of a field whose Avro name differs.
SOURCE_NAME = "json_name"

_SCALARS: dict[str, Any] = {
    "boolean": "boolean",
    "integer": "long",
    "number": "double",
    "string": "string",
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "null": "null",
    "json": "string",
}


def avro_schema(root: Struct, title: str | None, description: str | None = None) -> dict[str, Any]:
    """The record schema as plain values. `mediawiki/page/change` is the record `mediawiki.page.change`."""
    steps = [plain_name(step) for step in (title or "event").split("/") if step] or ["event"]
    return _record(root, steps, description)


def _record(struct: Struct, steps: list[str], description: str | None) -> dict[str, Any]:
    record: dict[str, Any] = {"type": "record", "name": steps[-1]}
    if len(steps) > 1:
        record["namespace"] = ".".join(steps[:-1])
    if description:
        record["doc"] = description
    record["fields"] = [_field(field, steps) for field in struct.fields]
    return record


def _field(field: Field, steps: list[str]) -> dict[str, Any]:
    kind = _type(field.type, [*steps, field.name])
    written: dict[str, Any] = {"name": field.name}
    if field.name != field.source:
        written[SOURCE_NAME] = field.source
    if field.description:
        written["doc"] = field.description
    written["type"] = _or_null(kind) if field.nullable else kind
    if not field.required:
        written["default"] = None
    return written


def _type(kind: DataType, steps: list[str]) -> Any:
    if isinstance(kind, Scalar):
        if kind.digits:
            return {"type": "bytes", "logicalType": "decimal", "precision": kind.digits, "scale": 0}
        return _SCALARS[kind.kind]
    if isinstance(kind, ListOf):
        item = _type(kind.item, steps)
        return {"type": "array", "items": _or_null(item) if kind.item_nullable else item}
    if isinstance(kind, MapOf):
        value = _type(kind.value, steps)
        return {"type": "map", "values": _or_null(value) if kind.value_nullable else value}
    assert isinstance(kind, Struct)
    return _record(kind, steps, None)


def _or_null(kind: Any) -> Any:
    return kind if kind == "null" else ["null", kind]
