"""A fitted field tree as a schema document of Spark, for `StructType.fromJson`, including nullability."""

from __future__ import annotations

from typing import Any

from headwater.schemas.types.tree import DataType, ListOf, MapOf, Scalar, Struct

_SCALARS = {
    "boolean": "boolean",
    "integer": "long",
    "number": "double",
    "string": "string",
    "timestamp": "timestamp",
    "null": "void",
    "json": "string",
}


def spark_schema(kind: DataType) -> Any:
    """A StructType (or a part of one) as plain values: nullable unless required, no null items unless declared."""
    if isinstance(kind, Scalar):
        return f"decimal({kind.digits},0)" if kind.digits else _SCALARS[kind.kind]
    if isinstance(kind, ListOf):
        return {"type": "array", "elementType": spark_schema(kind.item), "containsNull": kind.item_nullable}
    if isinstance(kind, MapOf):
        return {
            "type": "map",
            "keyType": "string",
            "valueType": spark_schema(kind.value),
            "valueContainsNull": kind.value_nullable,
        }
    assert isinstance(kind, Struct)
    fields = [
        {
            "name": field.name,
            "type": spark_schema(field.type),
            "nullable": field.nullable,
            "metadata": {"comment": field.description} if field.description else {},
        }
        for field in kind.fields
    ]
    return {"type": "struct", "fields": fields}
