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
# The end of a time in UTC. Without it, times of any precision sort as texts do.
UTC = "Z"


# The index of an event in its batch, and the values of its row. A plain tuple: one is made for each event.
Row = tuple[int, tuple[Any, ...]]


def row_of(shape: TableShape, delivery: Delivery) -> tuple[Any, ...]:
    """The event's values in column order, None where absent. Raises EventMalformed for one of another type."""
    row: list[Any] = []
    for column in shape.columns:
        value = get_path(delivery.value, column.path)
        if value is None:
            if column.name in shape.key or column.name == shape.version:
                what = "version" if column.name == shape.version else f"key {column.name}"
                raise EventMalformed(f"{column.path} is absent, and {shape.name} needs it for its {what}.")
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


def latest_rows(shape: TableShape, deliveries: Sequence[Delivery]) -> tuple[list[Row], dict[int, EventMalformed]]:
    """The rows of a batch, only the newest one of each key: the database does not need the others.

    The second result has the errors of the events that cannot be rows, by their index.
    """
    rows: list[Row] = []
    rejected: dict[int, EventMalformed] = {}
    for index, delivery in enumerate(deliveries):
        try:
            rows.append((index, row_of(shape, delivery)))
        except EventMalformed as error:
            rejected[index] = error
    if not shape.key:
        return rows, rejected
    positions = [shape.column_names.index(name) for name in shape.key]
    keyed = [(tuple(row[1][position] for position in positions), row) for row in rows]
    if not shape.version:
        return list(dict(keyed).values()), rejected
    latest: dict[tuple[Any, ...], Row] = {}
    for key, row in keyed:
        if key not in latest or is_newer(shape, row[1], latest[key][1]):
            latest[key] = row
    return list(latest.values()), rejected


def is_newer(shape: TableShape, values: tuple[Any, ...], present: tuple[Any, ...]) -> bool:
    """Whether a row that arrives later replaces the existing one with the same key; `on_conflict` has the SQL."""
    if not shape.version:
        return True
    at = shape.column_names.index(shape.version)
    return present[at] is None or bool(_age(values[at]) >= _age(present[at]))


def _age(version: Any) -> Any:
    """The value by which versions are compared, here and in the SQL of sinks: times with and without fractions sort."""
    return version.rstrip(UTC) if isinstance(version, str) else version


def refused_rows(
    rows: Sequence[Row], refusal: Callable[[Sequence[tuple[Any, ...]]], Exception | None], *, refused_max: int
) -> dict[int, Exception]:
    """Which rows a database rejects, by their index in the batch, and why: at most the first `refused_max`.

    `refusal` returns why the database rejects some rows together, None if it accepts them. A row may be accepted alone
    but not together with an earlier one. Therefore the longest accepted run from the first row on is searched for, in
    steps that are doubled and halved; the row after it is a rejected one.
    """
    refused: dict[int, Exception] = {}
    accepted: list[tuple[Any, ...]] = []
    at, step = 0, 1
    while at < len(rows) and len(refused) < refused_max:
        some = [values for _, values in rows[at : at + step]]
        error = refusal([*accepted, *some])
        if error is None:
            accepted += some
            at, step = at + len(some), 2 * step
        elif len(some) > 1:
            step = len(some) // 2
        else:
            refused[rows[at][0]] = error
            at += 1
    return refused


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
