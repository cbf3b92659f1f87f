"""The values of MariaDB in JSON, the same whether a query or the binary log gave them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from headwater.errors import EventMalformed
from headwater.event import decode_json
from headwater.times import utc_of

# Types whose values the client of the binary log does not read.
UNREADABLE = ("uuid", "inet4", "inet6", "geometry", "point", "linestring", "polygon", "vector")
_MEMBERS = re.compile(r"'((?:[^']|'')*)'")
# A date or a moment of which a part is zero, which no calendar has.
_INCOMPLETE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?: [0-9:.]+)?\Z")
EPOCH = datetime(1970, 1, 1)
_BINARY = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the server describes it: `kind` is the bare type, `described` the whole one."""

    name: str
    kind: str
    described: str
    is_json: bool = False
    length: int = 0

    def convert(self, value: Any) -> Any:
        """The value in JSON. One of another type than the column has by now is converted by itself."""
        if value is None:
            return None
        if self.is_json or self.kind == "json":
            return _json(value)
        if self.kind in _BINARY and isinstance(value, bytes):
            return self._bytes(value)
        if self.kind == "set" and isinstance(value, str | set | frozenset):
            return self._members(value)
        if isinstance(value, int) and self.described.lower() == "tinyint(1)":
            return bool(value) if value in (0, 1) else value
        types, convert = _CONVERT.get(self.kind, _BY_ITSELF)
        return convert(value) if isinstance(value, types) else _by_itself(value)

    def name_members(self, logged: Any) -> None:
        """Give the description of this column in the log the members of an enum or a set: those that the log has are
        unreadable in some character sets."""
        if self.kind in ("enum", "set"):
            members = self._known_members()
            if logged.enum_values and len(logged.enum_values) == len(members) + 1:
                logged.enum_values = ["", *members]
            if logged.set_values and len(logged.set_values) == len(members):
                logged.set_values = members

    def absent(self) -> Any:
        """What a value is that the binary log has as nothing although it is not null: an empty set."""
        return [] if self.kind == "set" else None

    def _bytes(self, value: bytes) -> str:
        return _base64(value.ljust(self.length, b"\0") if self.kind == "binary" else value)

    def _members(self, value: str | Collection[str]) -> list[str]:
        chosen: Collection[str] = (value.split(",") if value else ()) if isinstance(value, str) else value
        return [name for name in self._known_members() if name in chosen]

    def _known_members(self) -> list[str]:
        return [found.replace("''", "'") for found in _MEMBERS.findall(self.described)]


def _json(value: Any) -> Any:
    try:
        return decode_json(value) if isinstance(value, str | bytes) else _by_itself(value)
    except EventMalformed:
        return _by_itself(value)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _decimal(value: Decimal) -> Any:
    return decode_json(format(value, "f"))


def _float(value: float) -> float:
    # So many digits a query gives; the binary log has more.
    return float(f"{value:.6g}")


def _bits(value: str | bytes) -> Any:
    if isinstance(value, bytes):
        return int.from_bytes(value, "big")
    return int(value, 2) if value and not value.strip("01") else value


def _year(value: int) -> int:
    # The log has the years since 1900, and 0 for the year 0.
    return 0 if value == 1900 else value


def _moment(value: datetime | str) -> Any:
    if isinstance(value, str):
        return None if _INCOMPLETE.match(value) else value
    return utc_of(value)


def _timestamp(value: datetime | str) -> Any:
    # The log has 0 for 0000-00-00; a timestamp is never that of 1970-01-01 00:00:00.
    return None if value == EPOCH else _moment(value)


def _day(value: date | str) -> Any:
    if isinstance(value, str):
        return None if _INCOMPLETE.match(value) else value
    return _by_itself(value)


def time_text(value: timedelta) -> str:
    """`-01:02:03.000004`, as MariaDB writes a time."""
    us = abs(value) // timedelta(microseconds=1)
    seconds, fraction = divmod(us, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return ("-" if value < timedelta() else "") + text + (f".{fraction:06d}" if fraction else "")


def _by_itself(value: Any) -> Any:
    """In JSON by its type alone."""
    match value:
        case Decimal():
            return _decimal(value)
        case datetime():
            return utc_of(value)
        case date():
            return str(value)
        case timedelta():
            return time_text(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case set() | frozenset():
            return sorted(value)
        case _:
            return value


_BY_ITSELF: tuple[Any, Callable[[Any], Any]] = (object, _by_itself)
# What the values of a type come as, and what is made of these.
_CONVERT: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "decimal": (Decimal, _decimal),
    "float": (float, _float),
    "bit": ((str, bytes), _bits),
    "year": (int, _year),
    "datetime": ((datetime, str), _moment),
    "timestamp": ((datetime, str), _timestamp),
    "date": ((date, str), _day),
}
