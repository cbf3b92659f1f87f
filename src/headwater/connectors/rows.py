"""Events as rows of a declared table: what every table sink does before it speaks its own SQL."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any

from headwater.connectors.contract import ColumnType, Delivery, TableShape
from headwater.errors import EventMalformed
from headwater.event import encode_json, get_path
from headwater.schemas.json_value import identity, plain

INTEGER_MAX = 2**63 - 1


def row_of(shape: TableShape, delivery: Delivery) -> tuple[Any, ...]:
    """The event's values in column order, None where absent. Raises EventMalformed for one of another type."""
    row: list[Any] = []
    for column in shape.columns:
        value = get_path(delivery.value, column.path)
        if value is None:
            if column.name in shape.key:
                raise EventMalformed(f"{column.path} is absent, and {shape.name} needs it for its key {column.name}.")
            row.append(None)
            continue
        try:
            # What rows are told apart by has one spelling.
            is_key = column.type == "json" and column.name in shape.key
            row.append(identity(value).decode() if is_key else _CONVERSIONS[column.type](value))
        except (TypeError, ValueError, OverflowError):
            raise EventMalformed(
                f"{column.path} is not {column.type}, which column {column.name} of {shape.name} holds."
            ) from None
    return tuple(row)


def latest_rows(shape: TableShape, deliveries: Sequence[Delivery]) -> list[tuple[Any, ...]]:
    """The rows of a batch, the last one of each key only: a database need not write the others."""
    rows = [row_of(shape, delivery) for delivery in deliveries]
    if not shape.key:
        return rows
    positions = [shape.column_names.index(name) for name in shape.key]
    latest = {tuple(row[position] for position in positions): row for row in rows}
    return list(latest.values())


def name_aside(name: str) -> str:
    """What a table is called when its rows are set aside now: with the time, UTC."""
    return f"{name}_before_{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S%f}"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if type(value) is float:
        value = plain(value)  # 2.0 is an integer, as it is for JSON Schema
    if type(value) is not int or abs(value) > INTEGER_MAX:
        raise TypeError
    return value


def _real(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError
    return float(value) + 0.0  # no -0.0


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _json(value: Any) -> str:
    return encode_json(value).decode()


_CONVERSIONS: dict[ColumnType, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "real": _real,
    "boolean": _boolean,
    "json": _json,
}
