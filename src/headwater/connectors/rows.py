"""Events as rows of a declared table: what every table sink does before it speaks its own SQL."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headwater.connectors.contract import Column, ColumnType, Delivery, Shape, TableShape
from headwater.errors import EventMalformed
from headwater.event import encode_json, get_path
from headwater.schemas.json_value import identity, json_equal, plain
from headwater.times import moment_of, utc_microseconds

INTEGER_MAX = 2**63 - 1
# The end of a time in UTC. Without it, times of any precision sort as texts do.
UTC = "Z"


# The index of an event in its batch, and the values of its row. A plain tuple: one is made for each event.
Row = tuple[int, tuple[Any, ...]]
# Raises EventMalformed for a value, of a row's in column order, that a database cannot hold.
Check = Callable[[Sequence[Column], Sequence[Any]], None]


class Batch(NamedTuple):
    """What a batch changes: for each key its newest row or its deletion; the database does not need the others.

    A deletion has the values of the key, in order of `shape.key`, and then the version if the shape has one.
    `rejected` has the errors of the events that cannot be rows, by their index.
    """

    rows: list[Row]
    deletes: list[Row]
    rejected: dict[int, EventMalformed]


def row_of(shape: TableShape, delivery: Delivery) -> tuple[Any, ...]:
    """The event's values in column order, None where absent. Raises EventMalformed for one of another type."""
    return _values_of(shape, shape.columns, delivery)


def is_delete(shape: Shape, delivery: Delivery) -> bool:
    """Whether the event deletes the row of its key: each path of `delete_when` holds one of its values."""
    return bool(shape.delete_when) and all(
        any(json_equal(get_path(delivery.value, path), value) for value in values) for path, values in shape.delete_when
    )


def deletion_of(shape: TableShape, delivery: Delivery) -> tuple[Any, ...]:
    """The values of the key of an event that deletes, and its version. Raises EventMalformed if one is absent."""
    return _values_of(shape, deletion_columns(shape), delivery)


def deletion_columns(shape: TableShape) -> tuple[Column, ...]:
    """The columns of a deletion: those of the key, and the version if there is one."""
    by_name = {column.name: column for column in shape.columns}
    return tuple(by_name[name] for name in (*shape.key, *((shape.version,) if shape.version else ())))


def checked_row(shape: TableShape, delivery: Delivery, check: Check | None = None) -> None:
    """Raise EventMalformed if the event cannot be a row, or a deletion, of the shape, or does not pass the check."""
    deletes = is_delete(shape, delivery)
    values = deletion_of(shape, delivery) if deletes else row_of(shape, delivery)
    if check is not None:
        check(deletion_columns(shape) if deletes else shape.columns, values)


def batch_of(shape: TableShape, deliveries: Sequence[Delivery], check: Check | None = None) -> Batch:
    """What these events, in their order, change."""
    if not shape.delete_when:
        rows, rejected = latest_rows(shape, deliveries, check)
        return Batch(rows, [], rejected)
    return _batch_with_deletes(shape, deliveries, check)


def latest_rows(
    shape: TableShape, deliveries: Sequence[Delivery], check: Check | None = None
) -> tuple[list[Row], dict[int, EventMalformed]]:
    """The rows of a batch, only the newest one of each key, and the errors of what cannot be rows: see `Batch`."""
    rows: list[Row] = []
    rejected: dict[int, EventMalformed] = {}
    for index, delivery in enumerate(deliveries):
        try:
            values = row_of(shape, delivery)
            if check is not None:
                check(shape.columns, values)
            rows.append((index, values))
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


def _batch_with_deletes(shape: TableShape, deliveries: Sequence[Delivery], check: Check | None) -> Batch:
    rejected: dict[int, EventMalformed] = {}
    names = [column.name for column in deletion_columns(shape)]
    positions = [shape.column_names.index(name) for name in names]
    keys = len(shape.key)
    latest: dict[tuple[Any, ...], tuple[Any, bool, Row]] = {}
    for index, delivery in enumerate(deliveries):
        deletes = is_delete(shape, delivery)
        try:
            values = deletion_of(shape, delivery) if deletes else row_of(shape, delivery)
            if check is not None:
                check(deletion_columns(shape) if deletes else shape.columns, values)
        except EventMalformed as error:
            rejected[index] = error
            continue
        found = values if deletes else tuple(values[position] for position in positions)
        key, age = found[:keys], age_of(found[keys]) if shape.version else None
        if key not in latest or not shape.version or age >= latest[key][0]:
            latest[key] = (age, deletes, (index, values))
    rows = [row for _, deletes, row in latest.values() if not deletes]
    return Batch(rows, [row for _, deletes, row in latest.values() if deletes], rejected)


def _values_of(shape: TableShape, columns: Sequence[Column], delivery: Delivery) -> tuple[Any, ...]:
    row: list[Any] = []
    for column in columns:
        value = get_path(delivery.value, column.path)
        if value is None:
            if column.name in shape.key or column.name == shape.version:
                what = "version" if column.name == shape.version else f"key {column.name}"
                raise EventMalformed(f"{column.path} is absent, and {shape.name} needs it for its {what}.")
            row.append(None)
            continue
        try:
            # Equal keys must be equal texts.
            is_key = column.type == "json" and column.name in shape.key
            row.append(identity(value).decode() if is_key else _CONVERSIONS[column.type](value))
        except (TypeError, ValueError, OverflowError):
            raise EventMalformed(
                f"{column.path} is not {column.type}, which column {column.name} of {shape.name} holds."
            ) from None
    return tuple(row)


def is_newer(shape: TableShape, values: tuple[Any, ...], present: tuple[Any, ...]) -> bool:
    """Whether a row that arrives later replaces the existing one with the same key; `on_conflict` has the SQL."""
    if not shape.version:
        return True
    at = shape.column_names.index(shape.version)
    return present[at] is None or bool(age_of(values[at]) >= age_of(present[at]))


def age_of(version: Any) -> Any:
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


def name_aside(name: str, characters_max: int = 63) -> str:
    """What a table is called when its rows are set aside now: with the time, UTC; a long name is cut."""
    end = f"_before_{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S%f}"
    return f"{name[: characters_max - len(end)]}{end}"


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


def _timestamp(value: Any) -> str:
    return utc_microseconds(moment_of(_text(value)))


_CONVERSIONS: dict[ColumnType, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "real": _real,
    "boolean": _boolean,
    "json": _json,
    "timestamp": _timestamp,
}
