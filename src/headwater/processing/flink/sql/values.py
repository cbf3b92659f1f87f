"""Events as rows of Flink, and rows as events: the values that Flink's Python takes and gives for each type.

How this works: a value that has not the type of its column is an error that names its place, never null: a record of
another program, or of another version, must not lose what it holds in silence. Python gives a moment to Flink as the
clock of UTC, and is given a text of it, as SQL writes it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from headwater.errors import EventMalformed
from headwater.event import json_bytes, read_json
from headwater.schemas.json_value import is_number, is_whole
from headwater.schemas.types.tree import DataType, ListOf, MapOf, Scalar, Struct, describe
from headwater.times import moment_of, utc_of

_EPOCH = datetime.datetime(1970, 1, 1)
_SECOND = datetime.timedelta(seconds=1)
# A moment as SQL writes it, in UTC.
_SQL_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?")
_LONG = range(-(2**63), 2**63)
_SHOWN_CHARS_MAX = 60

MakeRow = Callable[..., Any]


def row_values(event: Mapping[str, Any], root: Struct, make_row: MakeRow) -> list[Any]:
    """The values of the columns, None for those that the event lacks. `make_row` makes a row of nested values.

    Raises EventMalformed for a value that its column cannot hold, with its place.
    """
    return [_to_flink(event.get(field.source), field.type, field.source, make_row) for field in root.fields]


def _to_flink(value: Any, kind: DataType, path: str, make_row: MakeRow) -> Any:
    if value is None:
        return None
    if isinstance(kind, Scalar):
        return _scalar(value, kind, path)
    if isinstance(kind, ListOf):
        if not isinstance(value, list):
            raise _wrong(value, kind, path)
        return [_to_flink(item, kind.item, f"{path}[]", make_row) for item in value]
    if not isinstance(value, Mapping):
        raise _wrong(value, kind, path)
    if isinstance(kind, MapOf):
        return {name: _to_flink(item, kind.value, f"{path}.{name}", make_row) for name, item in value.items()}
    assert isinstance(kind, Struct)
    fields = kind.fields
    return make_row(*(_to_flink(value.get(one.source), one.type, f"{path}.{one.source}", make_row) for one in fields))


def _scalar(value: Any, kind: Scalar, path: str) -> Any:
    if kind.kind == "json":
        return json_bytes(value).decode()
    takes = _TAKES.get(kind.kind, _is_text)
    if not takes(value):
        raise _wrong(value, kind, path)
    if kind.kind == "integer":
        return _integer(int(value), kind, path)
    if kind.kind == "timestamp":
        return _clock(value, path)
    return float(value) if kind.kind == "number" else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_TAKES: Mapping[str, Callable[[Any], bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: is_number(value) and is_whole(value),
    "number": is_number,
}


def _integer(value: int, kind: Scalar, path: str) -> int | Decimal:
    if kind.digits:
        if len(str(abs(value))) <= kind.digits:
            return Decimal(value)
    elif value in _LONG:
        return value
    raise EventMalformed(
        f"{path} is {_shown(value)}, which is beyond {describe(kind) if kind.digits else '64 bits'}: its schema has"
        " no bounds that allow for it."
    )


def _clock(text: str, path: str) -> datetime.datetime:
    """The clock of UTC at this time, in milliseconds."""
    try:
        moment = moment_of(text).astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise EventMalformed(f"{path} is {_shown(text)}, which is no date-time.") from None
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    # Flink's Python counts the seconds before 1970 up to the later one, and adds the milliseconds to it.
    return moment - _SECOND if moment < _EPOCH and moment.microsecond else moment


def event_of(row: Iterable[tuple[str, Any]], root: Struct) -> dict[str, Any]:
    """The event of a row, of names and values: without what is NULL, moments as ISO 8601 in UTC, and whole numbers
    where the schema has them.

    Raises EventMalformed for a value that JSON has not.
    """
    types: dict[str, DataType | None] = {field.name: field.type for field in root.fields}
    return {name: _to_json(value, types.get(name), name) for name, value in row if value is not None}


def _to_json(value: Any, kind: DataType | None, path: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _from_text(value, kind, path)
    if isinstance(value, int | float | Decimal):
        return _number(value, kind)
    if isinstance(value, datetime.date | datetime.time):
        # A date of SQL: moments are text.
        return str(value)
    if callable(as_dict := getattr(value, "as_dict", None)):
        fields = {field.name: field.type for field in kind.fields} if isinstance(kind, Struct) else {}
        pairs = as_dict().items()
        return {name: _to_json(one, fields.get(name), f"{path}.{name}") for name, one in pairs if one is not None}
    if isinstance(value, Mapping):
        of = kind.value if isinstance(kind, MapOf) else None
        return {str(name): _to_json(item, of, f"{path}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        of = kind.item if isinstance(kind, ListOf) else None
        return [_to_json(item, of, f"{path}[]") for item in value]
    raise EventMalformed(f"{path} is {type(value).__name__}, which JSON has not: CAST it, to STRING for example.")


def _from_text(value: str, kind: DataType | None, path: str) -> Any:
    if not isinstance(kind, Scalar):
        return value
    if kind.kind == "timestamp" and _SQL_TIME.fullmatch(value):
        return utc_of(moment_of(value))
    if kind.kind != "json":
        return value
    try:
        return read_json(value.encode())
    except ValueError as error:
        raise EventMalformed(f"{path} is {_shown(value)}, which is no JSON: {error}") from None


def _number(value: float | Decimal, kind: DataType | None) -> float:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    is_integer = isinstance(kind, Scalar) and kind.kind == "integer"
    return int(value) if is_integer and isinstance(value, float) and value.is_integer() else value


def _wrong(value: Any, kind: DataType, path: str) -> EventMalformed:
    return EventMalformed(f"{path} is {_shown(value)}, not {describe(kind)}.")


def _shown(value: Any) -> str:
    text = json_bytes(value).decode()
    return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[: _SHOWN_CHARS_MAX - 1]}…"
