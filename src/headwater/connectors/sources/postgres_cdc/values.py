"""The values of PostgreSQL, as its text, in JSON: numbers exact, times as RFC 3339, bytes as base64."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from headwater.errors import EventMalformed
from headwater.event import decode_json

# Read once per session, and again when a type is not among them.
TYPES_QUERY = (
    "SELECT oid::int8, typtype::text, typbasetype::int8, typelem::int8, typlen::int, typdelim::text FROM pg_type"
)
# The server writes values so that the functions below can read them.
SESSION_OPTIONS = (
    # Rows that a policy hides from the user would be left out of a snapshot in silence: they are refused.
    "-c row_security=off -c datestyle=ISO -c intervalstyle=iso_8601 -c extra_float_digits=3 -c timezone=UTC"
    " -c bytea_output=hex"
)
ARRAY_DEPTH_MAX = 32
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)(?:\+00(?::00)?)?")
_BOUNDS = re.compile(r"(?:\[-?[0-9]+:-?[0-9]+\])+=")

Convert = Callable[[str], Any]


class TypeRow(NamedTuple):
    """What the catalogue says of a type."""

    oid: int
    kind: str
    base: int
    element: int
    length: int
    delimiter: str


def _number(text: str) -> Any:
    try:
        return decode_json(text)
    except EventMalformed:
        return text  # NaN and the infinities, which JSON lacks


def _json(text: str) -> Any:
    try:
        return decode_json(text)
    except EventMalformed:
        return text  # deeper than is read, or a number that no reader of JSON can take


def _moment(text: str) -> str:
    found = _MOMENT.fullmatch(text)
    return f"{found[1]}T{found[2]}Z" if found else text  # infinity, or before Christ


def _bytes(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text[2:])).decode() if text.startswith("\\x") else text


_CONVERT: Mapping[int, Convert] = {
    16: lambda text: text == "t",
    17: _bytes,
    20: int,
    21: int,
    23: int,
    26: int,
    114: _json,
    700: _number,
    701: _number,
    1114: _moment,
    1184: _moment,
    1700: _number,
    3802: _json,
}


class TypeCatalogue:
    """How the values of each type are converted; whatever is not known is text, as enums are."""

    def __init__(self, rows: Iterable[TypeRow] = ()) -> None:
        self._rows = {row.oid: row for row in rows}
        self._converts: dict[int, Convert] = dict(_CONVERT)

    def knows(self, oid: int) -> bool:
        return oid in self._rows

    def convert(self, oid: int) -> Convert:
        """The function from text to JSON for a type."""
        known = self._converts.get(oid)
        if known is None:
            known = self._converts[oid] = self._found(oid, 0)
        return known

    def _found(self, oid: int, depth: int) -> Convert:
        row = self._rows.get(oid)
        if oid in _CONVERT:
            return _CONVERT[oid]
        if row is None or depth > ARRAY_DEPTH_MAX:
            return str
        if row.kind == "d":
            return self._found(row.base, depth + 1)
        if row.element and row.length == -1:
            element = self._found(row.element, depth + 1)
            found = self._rows.get(row.element)
            delimiter = found.delimiter if found else ","
            return lambda text: read_array(text, element, delimiter)
        return str


def read_array(text: str, convert: Convert, delimiter: str = ",") -> Any:
    """`{1,2,{NULL}}` as a list; the text itself if it is not an array."""
    bounds = _BOUNDS.match(text)
    at = bounds.end() if bounds else 0
    if text[at : at + 1] != "{":
        return text
    stack: list[list[Any]] = [[]]
    at += 1
    while at < len(text):
        letter = text[at]
        if letter == "{":
            stack.append([])
            at += 1
        elif letter == "}":
            if len(stack) == 1:
                return stack[0]
            done = stack.pop()
            stack[-1].append(done)
            at += 1
        elif letter == delimiter:
            at += 1
        else:
            value, at = _element(text, at, delimiter)
            stack[-1].append(None if value is None else convert(value))
    return text


def _element(text: str, at: int, delimiter: str) -> tuple[str | None, int]:
    if text[at] != '"':
        end = at
        while text[end] not in ("}", delimiter):
            end += 1
        written = text[at:end]
        return (None if written == "NULL" else written), end
    parts = []
    at += 1
    while text[at] != '"':
        if text[at] == "\\":
            at += 1
        parts.append(text[at])
        at += 1
    return "".join(parts), at + 1
