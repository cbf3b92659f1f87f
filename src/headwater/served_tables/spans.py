"""Where in a table the rows are that a request asks for: parts of it, in order, so that others are not read.

How this works: keys are stored in order of their JSON. Keys with the same first parts follow one another; so do those
whose next part, a text, is between two bounds, but for characters that JSON writes behind a backslash, and for those
before the quotation mark that ends a text: texts with these are at other places, which are few and known. A span may
have rows that do not fit; it misses none that do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from headwater.jobs.tables.materialized import MaterializedTable
from headwater.jobs.tables.reader import just_before
from headwater.served_tables.asked import Asked, TypeOf

_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_QUOTE, _BACKSLASH = b'"', b"\\"
# Behind all keys that begin alike: no byte of UTF-8 is greater.
_LAST = b"\xff"


class Span(NamedTuple):
    """The keys behind `after` and before `end`; None: to the last."""

    after: bytes
    end: bytes | None


def leading(table: MaterializedTable, asked: Asked, type_of: TypeOf) -> list[Any]:
    """The values of the first parts of the key that a request says, as far as keys are found by them."""
    parts: list[Any] = []
    for name in table.key_names:
        if name not in asked.equals or not type_of(name).is_found:
            break
        parts.append(asked.equals[name][1])
    return parts


def spans_of(table: MaterializedTable, asked: Asked, type_of: TypeOf) -> Sequence[Span]:
    """The parts of a table in which the rows are, in order. Raises JobInvalid for values that no key has."""
    parts = leading(table, asked, type_of)
    if len(parts) == len(table.key_names):
        whole = table.encoded(parts if table.key_is_list else parts[0])
        # No key has a byte 0.
        return [Span(just_before(whole), whole + b"\0")]
    begins = table.encoded_prefix(parts) or (b"[" if table.key_is_list else b"")
    following = table.key_names[len(parts)]
    if type_of(following).kind == "text":
        bounds = [bound for bound in asked.bounds if bound.field == following]
        lower = max((bound.text for bound in bounds if bound.which.startswith("g")), default="")
        uppers = [bound.text for bound in bounds if bound.which.startswith("l")]
        if bounds:
            return list(_texts(begins + b'"', lower, min(uppers) if uppers else None))
    return [Span(just_before(begins) if begins else b"", begins + _LAST if begins else None)]


def _texts(begins: bytes, lower: str, upper: str | None) -> Iterator[Span]:
    """Where the keys are whose next part is a text between these bounds, themselves included."""
    after = just_before(begins + _plain(lower))
    if upper is None:
        yield Span(after, begins + _LAST)
        return
    ends = _plain(upper)
    yield Span(after, begins + ends + _LAST)
    # A lesser text may end, or have an escaped character, where the bound has one that is stored before the quotation
    # mark behind a text, as a space is, or before a backslash.
    for at in range(len(ends) - 1, -1, -1):
        for byte in (_QUOTE, _BACKSLASH):
            if ends[at] < byte[0]:
                others = begins + ends[:at] + byte
                yield Span(max(after, just_before(others)), others + _LAST)


def _plain(text: str) -> bytes:
    """A text up to the first character that JSON escapes: of this and what follows, the order is another."""
    return _ESCAPED.split(text, maxsplit=1)[0].encode("utf-8", "surrogatepass")
