"""Finds the rows that a request asks for, and reads no more than it may.

How this works: keys are read in order, some at a time, until there are enough rows, or the request has read as much or
as long as it may. Then a page ends early, with the place to continue from. What needs all rows that fit, which are
sorted or counted, is refused instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from headwater.errors import FilterInvalid, JobInvalid, RowsTooMany, RowUnknown
from headwater.event import encode_json
from headwater.jobs.tables.materialized import TableRow
from headwater.jobs.tables.reader import TableReader
from headwater.jobs.tables.written_keys import find_row
from headwater.served_tables.asked import BOUNDS, Asked, RowPlace, TypeOf
from headwater.served_tables.declared import ServedTable
from headwater.served_tables.kinds import FieldType
from headwater.served_tables.spans import Span, leading, spans_of

# So many keys are read at a time, as the row of each may be large.
KEYS_AT_ONCE = 50


class Found(NamedTuple):
    """The rows of a page as JSON; `place` of the last, None at the end."""

    rows: list[bytes]
    place: RowPlace | None


class _Row(NamedTuple):
    encoded: bytes
    flat: dict[str, Any]


class _Spent(Exception):
    """The request has read as much, or as long, as it may; `at`: the last key that was read."""

    def __init__(self, at: bytes, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason


class ServedReader:
    """The rows of one served table. Calls block; any thread may make them."""

    def __init__(
        self, served: ServedTable, reader: TableReader, type_of: TypeOf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`type_of`: of a field of its rows."""
        self._served = served
        self._reader = reader
        self._type_of = type_of
        self._clock = clock

    def page(self, asked: Asked) -> Found:
        """The next rows. Raises FilterInvalid, RowsTooMany, and what the log raises."""
        self._check_bounds(asked)
        return self._in_order_of_keys(asked) if self._served.sorted_by is None else self._sorted(asked)

    def row(self, written: Sequence[str]) -> bytes:
        """The row of a key, a text for each part. Raises RowUnknown, FilterInvalid, and what the log raises."""
        names = self._served.key
        if len(written) != len(names):
            raise FilterInvalid(f"A key of {self._served.name} is {'/'.join(names)}, not {len(written)} parts.")
        key: Any = [self._part(name, text) for name, text in zip(names, written, strict=True)]
        found = self._reader.get(key if self._reader.table.key_is_list else key[0])
        if found is None and any(self._type_of(name).kind == "any" for name in names):
            key, found = find_row(self._reader, written)
        if found is None:
            raise self._unknown("/".join(written))
        parts = tuple(key) if isinstance(key, list | tuple) else (key,)
        return encode_json(self._shown(self._reader.table.flat(TableRow(parts, found)), None))

    def counts(self, asked: Asked) -> dict[str, int]:
        """How many rows fit, and how many different values fields have in them. Raises as `page`."""
        self._check_bounds(asked)
        rows, seen = 0, {name: set[bytes]() for name in self._served.options.distinct}
        try:
            for row in self._matching(asked, b""):
                rows += 1
                for name, field in self._served.options.distinct.items():
                    if row.flat.get(field) is not None:
                        seen[name].add(encode_json(row.flat[field]))
        except _Spent as spent:
            raise self._too_many("counted", spent) from None
        return {"rows": rows, **{name: len(values) for name, values in seen.items()}}

    def _in_order_of_keys(self, asked: Asked) -> Found:
        rows: list[bytes] = []
        size_bytes = 0
        last = asked.place.key if asked.place else b""
        try:
            for row in self._matching(asked, last):
                if len(rows) == asked.limit or size_bytes > self._served.options.response_bytes_max:
                    return Found(rows, RowPlace(last))
                rows.append(encode_json(self._shown(row.flat, asked)))
                size_bytes += len(rows[-1])
                last = row.encoded
        except _Spent as spent:
            full = len(rows) == asked.limit
            return Found(rows, RowPlace(last if full else spent.at))
        return Found(rows, None)

    def _sorted(self, asked: Asked) -> Found:
        field, is_descending = self._served.sorted_by, self._served.is_descending
        assert field is not None
        kept: list[tuple[Any, _Row]] = []

        def sort() -> None:
            # Of one value, in order of the keys: both sorts leave equal ones in their order.
            kept.sort(key=lambda one: one[1].encoded)
            kept.sort(key=lambda one: one[0], reverse=is_descending)
            del kept[asked.limit + 1 :]

        before = None if asked.place is None else (_rank(asked.place.value, is_descending), asked.place.key)
        try:
            for row in self._matching(asked, b""):
                rank = _rank(row.flat.get(field), is_descending)
                if before is not None and not _is_behind(rank, row.encoded, before, is_descending):
                    continue
                kept.append((rank, row))
                if len(kept) >= 2 * (asked.limit + 1):
                    sort()
        except _Spent as spent:
            raise self._too_many("sorted", spent) from None
        sort()
        rows: list[bytes] = []
        size_bytes = 0
        for _, row in kept[: asked.limit]:
            rows.append(encode_json(self._shown(row.flat, asked)))
            size_bytes += len(rows[-1])
            if size_bytes > self._served.options.response_bytes_max:
                break
        if len(rows) == len(kept):
            return Found(rows, None)
        last = kept[len(rows) - 1][1]
        return Found(rows, RowPlace(last.encoded, last.flat.get(field)))

    def _matching(self, asked: Asked, after: bytes) -> Iterator[_Row]:
        """The rows that fit behind an encoded key, in order. Raises _Spent, FilterInvalid."""
        try:
            spans = spans_of(self._reader.table, asked, self._type_of)
        except JobInvalid as error:
            raise FilterInvalid(error.detail) from None
        tests = list(self._tests(asked))
        for encoded, found in self._stored(spans, after):
            if found is not None and len(found.key) == len(self._served.key):
                flat = self._reader.table.flat(found)
                if all(test(flat) for test in tests):
                    yield _Row(encoded, flat)

    def _stored(self, spans: Sequence[Span], after: bytes) -> Iterator[tuple[bytes, TableRow | None]]:
        """The keys in these spans, with their rows. Raises _Spent."""
        options = self._served.options
        left, ends_at = options.rows_read_max, self._clock() + options.read_seconds_max
        for span in spans:
            at = max(span.after, after)
            while span.end is None or at < span.end:
                some = self._reader.stored(at, min(KEYS_AT_ONCE, left))
                for encoded, row in some:
                    if span.end is not None and encoded >= span.end:
                        break
                    at = encoded
                    left -= 1
                    yield encoded, row
                else:
                    if len(some) < KEYS_AT_ONCE and left:
                        break
                    if not left:
                        raise _Spent(at, f"{options.rows_read_max:,} keys (`rows_read_max`)")
                    if self._clock() > ends_at:
                        raise _Spent(at, f"{options.read_seconds_max:g} s (`read_seconds_max`)")
                    continue
                break

    def _tests(self, asked: Asked) -> Iterator[Callable[[Mapping[str, Any]], bool]]:
        for field, (_, value) in asked.equals.items():
            yield _equality(field, self._type_of(field), value)
        for bound in asked.bounds:
            yield _bounded(bound.field, self._type_of(bound.field), BOUNDS[bound.which], bound.value)

    def _check_bounds(self, asked: Asked) -> None:
        """Bounds are rows, where that is wanted; and there are rows at all. Raises RowUnknown, FilterInvalid."""
        if not self._served.options.bounds_exist or not asked.bounds:
            return
        names = self._served.key
        parts = leading(self._reader.table, asked, self._type_of)[: len(names) - 1]
        for bound in asked.bounds:
            if bound.field == names[-1] and self._reader.get([*parts, bound.value]) is None:
                if not self._reader.scan(prefix=parts, rows_max=1):
                    raise self._unknown("/".join(map(str, parts)))
                named = ", ".join(f"{name} {value}" for name, value in zip(names, parts, strict=False))
                raise FilterInvalid(
                    f"There is no {bound.field} {bound.text} of {named}.", hint="A bound has to be a row."
                )

    def _part(self, name: str, text: str) -> Any:
        try:
            return self._type_of(name).read(text) if self._type_of(name).kind != "time" else text
        except ValueError as error:
            raise FilterInvalid(f"{name} must be {error}, not {text[:80]!r}.") from None

    def _shown(self, flat: Mapping[str, Any], asked: Asked | None) -> dict[str, Any]:
        named = self._served.fields
        shown = flat if named is None else {name: flat[name] for name in named if name in flat}
        if asked is None or asked.fields is None:
            return dict(shown)
        return {name: value for name, value in shown.items() if name in asked.fields}

    def _unknown(self, key: str) -> RowUnknown:
        return RowUnknown(f"The table {self._served.name} has no row with the key {key[:1_000]}.")

    def _too_many(self, verb: str, spent: _Spent) -> RowsTooMany:
        asked_for = ", ".join((*self._served.equals, *self._served.options.ranges))
        return RowsTooMany(
            f"All rows that fit have to be {verb}, and one request may read {spent.reason}.",
            hint=f"Ask for fewer, best by the first parts of the key. Parameters: {asked_for}.",
        )


def _equality(field: str, kind: FieldType, asked: Any) -> Callable[[Mapping[str, Any]], bool]:
    return lambda flat: kind.equals(flat.get(field), asked)


def _bounded(
    field: str, kind: FieldType, fits: Callable[[Any, Any], bool], bound: Any
) -> Callable[[Mapping[str, Any]], bool]:
    def test(flat: Mapping[str, Any]) -> bool:
        value = kind.comparable(flat.get(field))
        return value is not None and fits(value, bound)

    return test


def _rank(value: Any, is_descending: bool) -> tuple[int, Any]:
    """What rows are sorted by: numbers before texts before truth values; what has no order comes last."""
    if isinstance(value, bool):
        rank: tuple[int, Any] = (3, value)
    elif isinstance(value, int | float):
        rank = (1, value)
    elif isinstance(value, str):
        rank = (2, value)
    else:
        return (0 if is_descending else 4, 0)
    return rank


def _is_behind(rank: tuple[int, Any], key: bytes, before: tuple[tuple[int, Any], bytes], is_descending: bool) -> bool:
    if rank == before[0]:
        return key > before[1]
    return rank < before[0] if is_descending else rank > before[0]
