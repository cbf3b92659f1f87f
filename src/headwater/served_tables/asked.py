"""What a request asks of a served table: values and bounds of fields, how many rows, behind which, and which fields.

How this works: a page ends with the place of its last row, which the client sends back as `after`: the encoded key, and
before it the value that rows are sorted by. It begins with a digest of what else was asked, so that it cannot
continue another question.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headwater.declaration import suggestion
from headwater.errors import EventMalformed, FilterInvalid
from headwater.event import decode_json, encode_json
from headwater.served_tables.declared import AFTER, FIELDS, FORMAT, LIMIT, PARAMETERS, ServedTable
from headwater.served_tables.kinds import FieldType

VALUE_CHARS_MAX = 1_000
# A key may have that many, and a place is longer by a third.
PLACE_CHARS_MAX = 20_000
JSON_FORMAT, LINES_FORMAT = FORMATS = ("json", "jsonl")
# How a bound is written behind the name of a field, and what it means for (value of the row, bound).
BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}
_DIGEST_BYTES = 6

TypeOf = Callable[[str], FieldType]


class Bound(NamedTuple):
    """One bound of a range. `text`: as it was written; `value`: as it is compared."""

    field: str
    which: str
    text: str
    value: Any


class RowPlace(NamedTuple):
    """Where a page ended: at the row with this encoded key, and this value in the field that rows are sorted by."""

    key: bytes
    value: Any = None


@dataclass(frozen=True, slots=True)
class Asked:
    """`equals`: field → (text, value). `fields` None: as the table says. `place` None: the first page."""

    equals: Mapping[str, tuple[str, Any]]
    bounds: Sequence[Bound]
    limit: int
    fields: frozenset[str] | None = None
    place: RowPlace | None = None
    digest: bytes = b""
    format: str | None = None

    def after(self, place: RowPlace | None) -> str | None:
        """The `after` that continues behind a row."""
        if place is None:
            return None
        data = self.digest + encode_json([place.value]) + b"\n" + place.key
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def asked_of(served: ServedTable, parameters: Iterable[tuple[str, str]], type_of: TypeOf) -> Asked:
    """What the parameters of a query ask for. `type_of`: of a field. Raises FilterInvalid."""
    given = _once(served, parameters)
    equals: dict[str, tuple[str, Any]] = {}
    bounds: list[Bound] = []
    for name, text in given.items():
        field, _, which = name.partition(".")
        if name in PARAMETERS:
            continue
        value = _value(name, text, type_of(field))
        if which:
            bounds.append(Bound(field, which, text, value))
        else:
            equals[field] = (text, value)
    missing = [field for field in served.options.required if field not in equals]
    if missing:
        raise FilterInvalid(f"The table {served.name} needs the parameter {missing[0]}.", hint=f"Add ?{missing[0]}=….")
    digest = _digest(served, given)
    return Asked(
        equals,
        bounds,
        _limit(served, given.get(LIMIT)),
        _fields(served, given.get(FIELDS)),
        _place(given[AFTER], digest) if given.get(AFTER) else None,
        digest,
        _format(given.get(FORMAT)),
    )


def parameters_of(served: ServedTable) -> list[str]:
    """The names of the parameters that a request may have."""
    return [*served.equals, *(f"{field}.{which}" for field in served.options.ranges for which in BOUNDS), *PARAMETERS]


def _once(served: ServedTable, parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    known = parameters_of(served)
    given: dict[str, str] = {}
    for name, text in parameters:
        if name not in known:
            field = name.partition(".")[0]
            if field in served.options.ranges and field not in served.equals:
                hint = f"Bound it: {', '.join(f'{field}.{which}' for which in BOUNDS)}."
            else:
                hint = suggestion(name, known)
            raise FilterInvalid(f"The table {served.name} has no parameter {name!r:.100}.", hint=hint)
        if name in given:
            raise FilterInvalid(f"The parameter {name} is given twice.")
        if len(text) > (PLACE_CHARS_MAX if name == AFTER else VALUE_CHARS_MAX):
            raise FilterInvalid(f"The parameter {name} has at most {VALUE_CHARS_MAX:,} characters.")
        given[name] = text
    return given


def _value(name: str, text: str, kind: FieldType) -> Any:
    try:
        return kind.read(text)
    except ValueError as error:
        raise FilterInvalid(f"{name} must be {error}, not {text[:80]!r}.") from None


def _limit(served: ServedTable, text: str | None) -> int:
    if text is None:
        return served.rows_default
    most = served.options.rows_max
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise FilterInvalid(f"limit must be a number from 1 to {most:,}, not {text[:80]!r}.")
    return int(text)


def _fields(served: ServedTable, text: str | None) -> frozenset[str] | None:
    if not text:
        return None
    named = [name.strip() for name in text.split(",") if name.strip()]
    known = served.fields
    for name in named:
        if known is not None and name not in known:
            raise FilterInvalid(f"Rows of {served.name} have no field {name!r:.100}.", hint=suggestion(name, known))
    return frozenset(named)


def _format(text: str | None) -> str | None:
    if text is not None and text not in FORMATS:
        raise FilterInvalid(f"format must be {' or '.join(FORMATS)}, not {text[:80]!r}.")
    return text


def _digest(served: ServedTable, given: Mapping[str, str]) -> bytes:
    """Of what decides which rows follow one another."""
    kept = sorted((name, text) for name, text in given.items() if name not in PARAMETERS)
    whole = encode_json([served.name, served.options.order, kept])
    return hashlib.blake2b(whole, digest_size=_DIGEST_BYTES).digest()


def _place(text: str, digest: bytes) -> RowPlace:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        written, _, key = data.removeprefix(digest).partition(b"\n")
        value = decode_json(written)
    except (ValueError, EventMalformed):
        data, key, value = b"", b"", None
    if not (data.startswith(digest) and key and isinstance(value, list) and len(value) == 1):
        raise FilterInvalid(
            "after must be the `next` of a page that the same request had before.",
            hint="Leave it out for the first page, and repeat all other parameters.",
        )
    return RowPlace(key, value[0])
