"""A fitted field tree in Arrow's types, from which Parquet's follow: as text and as pyarrow objects."""

from __future__ import annotations

import importlib
from typing import Any

from headwater.errors import ExtraMissing
from headwater.schemas.types.tree import DataType, Field, ListOf, MapOf, Scalar, Struct, TypedSchema

_SCALARS = {
    "boolean": "bool",
    "integer": "int64",
    "number": "float64",
    "string": "utf8",
    "timestamp": "timestamp[us, UTC]",
    "null": "null",
    "json": "utf8",
}


def arrow_type(kind: DataType) -> str:
    """The type as text, such as `list<struct<a: int64 not null, b: utf8>>`."""
    if isinstance(kind, Scalar):
        return f"{_decimal(kind.digits)}({kind.digits}, 0)" if kind.digits else _SCALARS[kind.kind]
    if isinstance(kind, ListOf):
        return f"list<{arrow_type(kind.item)}>"
    if isinstance(kind, MapOf):
        return f"map<utf8, {arrow_type(kind.value)}>"
    assert isinstance(kind, Struct)
    return f"struct<{', '.join(_line(field) for field in kind.fields)}>"


def _decimal(digits: int) -> str:
    return "decimal128" if digits <= 38 else "decimal256"


def arrow_text(root: Struct) -> str:
    """One line for each column: name, type, and `not null` if every event has it."""
    return "".join(_line(field) + "\n" for field in root.fields)


def _line(field: Field) -> str:
    return f"{field.name}: {arrow_type(field.type)}{'' if field.nullable else ' not null'}"


def arrow_schema(root: Struct, schema: TypedSchema | None = None) -> Any:
    """The `pyarrow.Schema`. Raises ExtraMissing if pyarrow is not installed."""
    try:
        pyarrow = importlib.import_module("pyarrow")
    except ImportError:
        raise ExtraMissing(
            "Arrow objects need the package pyarrow, which is not installed.", hint="Install it: pip install pyarrow"
        ) from None
    metadata = {}
    if schema is not None:
        metadata = {key: value for key, value in (("title", schema.title), ("version", schema.version)) if value}
    return pyarrow.schema([_pyarrow_field(field, pyarrow) for field in root.fields], metadata=metadata or None)


def _pyarrow_field(field: Field, pyarrow: Any) -> Any:
    metadata = {"description": field.description} if field.description else None
    return pyarrow.field(field.name, _pyarrow_type(field.type, pyarrow), nullable=field.nullable, metadata=metadata)


def _pyarrow_type(kind: DataType, pyarrow: Any) -> Any:
    if isinstance(kind, Scalar):
        if kind.kind == "timestamp":
            return pyarrow.timestamp("us", tz="UTC")
        if kind.digits:
            return getattr(pyarrow, _decimal(kind.digits))(kind.digits, 0)
        return {
            "boolean": pyarrow.bool_,
            "integer": pyarrow.int64,
            "number": pyarrow.float64,
            "string": pyarrow.string,
            "json": pyarrow.string,
            "null": pyarrow.null,
        }[kind.kind]()
    if isinstance(kind, ListOf):
        return pyarrow.list_(pyarrow.field("item", _pyarrow_type(kind.item, pyarrow), nullable=kind.item_nullable))
    if isinstance(kind, MapOf):
        value = pyarrow.field("value", _pyarrow_type(kind.value, pyarrow), nullable=kind.value_nullable)
        return pyarrow.map_(pyarrow.string(), value)
    assert isinstance(kind, Struct)
    return pyarrow.struct([_pyarrow_field(field, pyarrow) for field in kind.fields])
