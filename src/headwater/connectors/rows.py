"""Events as rows of a declared table: what every table sink does before it speaks its own SQL."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from headwater.connectors.contract import Column, ColumnType, Delivery, Shape, TableShape
from headwater.errors import EventMalformed
from headwater.event import encode_json, get_path
from headwater.schemas.json_value import identity, json_equal, plain
from headwater.times import to_utc_microseconds

INTEGER_MAX = 2**63 - 1
# Of how many events that were checked the values are kept until the next batch.
CHECKED_MAX = 20_000
# The end of a time in UTC. Without it, times of any precision sort as texts do.
UTC = "Z"


# The index of an event in its batch, and the values of its row. A plain tuple: one is made for each event.
Row = tuple[int, tuple[Any, ...]]
# An event, whether it deletes, and its values.
_Checked = tuple[Delivery, bool, tuple[Any, ...]]
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


class RowReader:
    """Reads events as rows of one table. Made once for a table: it finds out beforehand how each column is read.

    `check` raises EventMalformed for values that the database cannot hold.
    """

    def __init__(self, shape: TableShape, check: Check | None = None) -> None:
        self._shape = shape
        self._check = check
        self._deletion = deletion_columns(shape)
        self._row_cells = _cells_of(shape, shape.columns)
        self._deletion_cells = _cells_of(shape, self._deletion)
        # What was checked is mostly written next: its values need not be found again. By the identity of the delivery.
        self._checked: dict[int, _Checked] = {}

    def row(self, delivery: Delivery) -> tuple[Any, ...]:
        """The event's values in column order, None where absent. Raises EventMalformed for one of another type."""
        return _values_of(self._shape, self._row_cells, delivery)

    def deletion(self, delivery: Delivery) -> tuple[Any, ...]:
        """The values of the key of an event that deletes, and its version. Raises EventMalformed if one is absent."""
        return _values_of(self._shape, self._deletion_cells, delivery)

    def check(self, delivery: Delivery) -> None:
        """Raise EventMalformed if the event cannot be a row, or a deletion, or does not pass the check."""
        found = self._read(delivery)
        if len(self._checked) < CHECKED_MAX:
            self._checked[id(delivery)] = found

    def batch(self, deliveries: Sequence[Delivery]) -> Batch:
        """What these events, in their order, change. Called by one thread at a time; another one may call `check`."""
        checked, self._checked = self._checked, {}
        rejected: dict[int, EventMalformed] = {}
        read: list[tuple[bool, Row]] = []
        for index, delivery in enumerate(deliveries):
            try:
                # An identity belongs to one object as long as that is kept.
                _, deletes, values = checked.get(id(delivery)) or self._read(delivery)
                read.append((deletes, (index, values)))
            except EventMalformed as error:
                rejected[index] = error
        if self._shape.key:
            read = self._latest(read)
        rows = [row for deletes, row in read if not deletes]
        return Batch(rows, [row for deletes, row in read if deletes], rejected)

    def _latest(self, read: Sequence[tuple[bool, Row]]) -> list[tuple[bool, Row]]:
        """The newest of each key."""
        names, version = self._shape.column_names, self._shape.version
        count = len(self._shape.key)
        row_key = itemgetter(*[names.index(name) for name in self._shape.key])
        deletion_key = itemgetter(*range(count))
        if not version:
            keyed = {(deletion_key if one[0] else row_key)(one[1][1]): one for one in read}
            return list(keyed.values())
        version_at = names.index(version)
        latest: dict[Any, tuple[Any, tuple[bool, Row]]] = {}
        for one in read:
            deletes, (_, values) = one
            key = (deletion_key if deletes else row_key)(values)
            age = age_of(values[count if deletes else version_at])
            if key not in latest or age >= latest[key][0]:
                latest[key] = (age, one)
        return [one for _, one in latest.values()]

    def _read(self, delivery: Delivery) -> _Checked:
        deletes = is_delete(self._shape, delivery)
        values = self.deletion(delivery) if deletes else self.row(delivery)
        if self._check is not None:
            self._check(self._deletion if deletes else self._shape.columns, values)
        return delivery, deletes, values


def row_of(shape: TableShape, delivery: Delivery) -> tuple[Any, ...]:
    """As `RowReader.row`, for one event: finding out how the columns are read takes longer than reading them."""
    return RowReader(shape).row(delivery)


def latest_rows(shape: TableShape, deliveries: Sequence[Delivery]) -> tuple[list[Row], dict[int, EventMalformed]]:
    """The rows of a batch of a table without `delete_when`, and the errors of what cannot be rows: see `Batch`."""
    batch = RowReader(shape).batch(deliveries)
    return batch.rows, batch.rejected


def is_delete(shape: Shape, delivery: Delivery) -> bool:
    """Whether the event deletes the row of its key: each path of `delete_when` holds one of its values."""
    return bool(shape.delete_when) and all(
        any(json_equal(get_path(delivery.value, path), value) for value in values) for path, values in shape.delete_when
    )


def deletion_columns(shape: TableShape) -> tuple[Column, ...]:
    """The columns of a deletion: those of the key, and the version if there is one."""
    by_name = {column.name: column for column in shape.columns}
    return tuple(by_name[name] for name in (*shape.key, *((shape.version,) if shape.version else ())))


class _Cell(NamedTuple):
    """How one column is read: the parts of its path, the type whose values are kept as they are, and how others are
    converted."""

    first: str
    rest: tuple[str, ...]
    kept: type | None
    convert: Callable[[Any], Any]
    column: Column
    is_needed: bool


def _cells_of(shape: TableShape, columns: Sequence[Column]) -> list[_Cell]:
    cells = []
    for column in columns:
        first, *rest = column.path.split(".")
        # Equal keys must be equal texts.
        is_json_key = column.type == "json" and column.name in shape.key
        convert = _json_key if is_json_key else _CONVERSIONS[column.type]
        is_needed = column.name in shape.key or column.name == shape.version
        cells.append(_Cell(first, tuple(rest), _KEPT.get(column.type), convert, column, is_needed))
    return cells


def _values_of(shape: TableShape, cells: Sequence[_Cell], delivery: Delivery) -> tuple[Any, ...]:
    event = delivery.value
    is_plain = type(event) is dict
    row: list[Any] = []
    # This runs twice for each event: most values are of a plain object's, and of the type that is kept.
    for first, rest, kept, convert, column, is_needed in cells:
        value = event.get(first) if is_plain else get_path(event, first)
        for part in rest:
            value = value.get(part) if type(value) is dict else get_path(value, part)
        if type(value) is kept:
            row.append(value)
        elif value is not None:
            try:
                row.append(convert(value))
            except (TypeError, ValueError, OverflowError):
                raise EventMalformed(
                    f"{column.path} is not {column.type}, which column {column.name} of {shape.name} holds."
                ) from None
        elif is_needed:
            what = "version" if column.name == shape.version else f"key {column.name}"
            raise EventMalformed(f"{column.path} is absent, and {shape.name} needs it for its {what}.")
        else:
            row.append(None)
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


def _json_key(value: Any) -> str:
    return identity(value).decode()


def _timestamp(value: Any) -> str:
    return to_utc_microseconds(_text(value))


# The type of values that need no conversion.
_KEPT: dict[ColumnType, type] = {"text": str, "boolean": bool}
_CONVERSIONS: dict[ColumnType, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "real": _real,
    "boolean": _boolean,
    "json": _json,
    "timestamp": _timestamp,
}
