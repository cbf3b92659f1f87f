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
        """The value in JSON."""
        return None if value is None else self._function()(value)

    def _function(self) -> Callable[[Any], Any]:
        if self.is_json or self.kind == "json":
            return _json
        if self.described.lower() == "tinyint(1)":
            return _boolean
        if self.kind in _BINARY:
            return self._bytes
        if self.kind == "set":
            return self._members
        return _CONVERT.get(self.kind, _text)

    def absent(self) -> Any:
        """What a value is that the binary log has as nothing although it is not null: an empty set."""
        return [] if self.kind == "set" else None

    def _bytes(self, value: Any) -> str:
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
        if self.kind == "binary":
            data = data.ljust(self.length, b"\0")
        return base64.b64encode(data).decode()

    def _members(self, value: Any) -> list[str]:
        chosen: Collection[str] = (
            value if isinstance(value, set | frozenset) else str(value).split(",") if value else ()
        )
        known = [found.replace("''", "'") for found in _MEMBERS.findall(self.described)]
        return [name for name in known if name in chosen]


def _json(value: Any) -> Any:
    try:
        return decode_json(value) if isinstance(value, str | bytes) else value
    except EventMalformed:
        return _text(value)


def _boolean(value: Any) -> Any:
    return bool(value) if value in (0, 1) else int(value)


def _decimal(value: Any) -> Any:
    return decode_json(format(value if isinstance(value, Decimal) else Decimal(str(value)), "f"))


def _float(value: Any) -> float:
    # So many digits a query gives; the binary log has more.
    return float(f"{float(value):.6g}")


def _bits(value: Any) -> int:
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(str(value), 2)


def _moment(value: Any) -> Any:
    if not isinstance(value, datetime):
        return None  # a date such as 0000-00-00
    return utc_of(value)


def _day(value: Any) -> Any:
    return str(value) if isinstance(value, date) else None


def _time(value: Any) -> Any:
    if not isinstance(value, timedelta):
        return _text(value)
    us = abs(value) // timedelta(microseconds=1)
    seconds, fraction = divmod(us, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return ("-" if value < timedelta() else "") + text + (f".{fraction:06d}" if fraction else "")


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


_CONVERT: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year"), int),
    "decimal": _decimal,
    "float": _float,
    "double": float,
    "bit": _bits,
    "datetime": _moment,
    "timestamp": _moment,
    "date": _day,
    "time": _time,
}
