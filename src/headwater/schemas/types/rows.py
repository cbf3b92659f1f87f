"""An event as the row of a fitted field tree: the values that a driver of the target accepts."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from headwater.event import json_bytes
from headwater.schemas.types.tree import WHOLE, DataType, ListOf, MapOf, Scalar, Struct
from headwater.times import moment_of


def row_of(event: Mapping[str, Any], root: Struct) -> dict[str, Any]:
    """Column name → value: dates as datetimes in UTC, integers of decimal columns as Decimals, JSON columns as text,
    absent values as None.

    Undeclared values are left out. Raises ValueError for a date-time that does not exist.
    """
    return {
        field.name: _value(event if field.source == WHOLE else event.get(field.source), field.type)
        for field in root.fields
    }


def _value(value: Any, kind: DataType) -> Any:
    if value is None:
        return None
    if isinstance(kind, Scalar):
        if kind.kind == "timestamp":
            return moment_of(value)
        if kind.kind == "json":
            return json_bytes(value).decode()
        if kind.kind == "integer":
            return Decimal(int(value)) if kind.digits else int(value)
        return float(value) if kind.kind == "number" else value
    if isinstance(kind, ListOf):
        return [_value(item, kind.item) for item in value]
    if isinstance(kind, MapOf):
        return {key: _value(item, kind.value) for key, item in value.items()}
    assert isinstance(kind, Struct)
    return row_of(value, kind)
