"""Compares JSON values as JSON defines it: 1 equals 1.0, and neither equals true."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import orjson

from headwater.event import WrittenNumber, decode_json, encode_json, right_sized

# What the JSON parser reads as an integer.
INTEGER_MIN, INTEGER_END = -(2**63), 2**64
# Up to this every integer is exact as a double.
EXACT_MAX = 2**53

_ONE_SPELLING = frozenset((str, int, bool, type(None)))
_LISTS = frozenset((list, tuple))


def json_equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, and neither equals true."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return bool(left == right)


def identity_key(value: Any) -> Any:
    """A hashable that is equal for equal JSON values, so that duplicates are found in linear time."""
    if isinstance(value, dict):
        return ("o", frozenset((name, identity_key(child)) for name, child in value.items()))
    if isinstance(value, list):
        return ("a", tuple(identity_key(child) for child in value))
    return ("b", value) if isinstance(value, bool) else ("v", value)


def plain(value: Any) -> Any:
    """A JSON value in its canonical form, which is the same for all its spellings.

    Whole numbers are integers (2.0 is 2, -0.0 is 0), and the members of objects are in order of their names. Integers
    beyond 64 bits are written as numbers such as 1e20, if those are exactly equal.
    """
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and INTEGER_MIN <= value < INTEGER_END else value
    if kind is int or kind is WrittenNumber:
        return value if kind is int and INTEGER_MIN <= value < INTEGER_END else _plain_large(value)
    if kind is dict:
        return {name: plain(value[name]) for name in sorted(value)}
    if kind is list:
        return [plain(item) for item in value]
    return value


def _plain_large(value: int | WrittenNumber) -> Any:
    """A number beyond 64-bit integers, or a WrittenNumber that no double equals."""
    if isinstance(value, WrittenNumber):
        digits = Decimal(value.text)
        if digits != digits.to_integral_value():
            return WrittenNumber(_without_zeros(format(digits, "f")))
        value = int(digits)
    try:
        number = float(value)
    except OverflowError:
        return value
    return number if Decimal(repr(number)) == value else value


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".")


def identity(value: Any) -> bytes:
    """Compact JSON that is the same for all spellings of a JSON value, and different for other values: it identifies
    keys.

    Tuples, datetimes and other values with a JSON form are written in it. Raises TypeError for values without one.
    """
    try:
        if type(value) in _ONE_SPELLING or (type(value) in _LISTS and _has_one_spelling(value)):
            return right_sized(orjson.dumps(value))
        return right_sized(orjson.dumps(plain(orjson.loads(orjson.dumps(value)))))
    except TypeError:
        # Numbers that orjson cannot write.
        return encode_json(plain(decode_json(encode_json(value))))


def identified(value: Any) -> tuple[bytes, Any]:
    """The `identity` of a JSON value, and the JSON value that it is, which the caller may change.

    Raises TypeError for values without a JSON form.
    """
    kind = type(value)
    if kind is str or (kind is list and _ONE_SPELLING.issuperset(map(type, value))):
        try:
            return right_sized(orjson.dumps(value)), value if kind is str else value[:]
        except TypeError:
            # Text that is not Unicode, or integers beyond 64 bits.
            pass
    encoded = identity(value)
    return encoded, decode_json(encoded)


def _has_one_spelling(items: Sequence[Any]) -> bool:
    for item in items:
        if type(item) not in _ONE_SPELLING and not (type(item) in _LISTS and _has_one_spelling(item)):
            return False
    return True


def whole(value: Any) -> Any:
    """A number as an integer if it is whole and exact as a double; anything else unchanged."""
    if type(value) is float and value.is_integer() and -EXACT_MAX <= value <= EXACT_MAX:
        return int(value)
    return value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()


def is_multiple(value: float, divisor: float) -> bool:
    """Exact for whole numbers; for fractions the quotient of the two doubles must be whole, so 0.3 is not a multiple of
    0.1.
    """
    if is_whole(value) and is_whole(divisor):
        return int(value) % int(divisor) == 0
    try:
        return float(value / divisor).is_integer()
    except OverflowError:
        return False
