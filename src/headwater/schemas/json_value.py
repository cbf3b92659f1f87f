"""JSON values compared and counted as JSON means it: 1 is 1.0, and neither is true."""

from __future__ import annotations

from typing import Any


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


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()


def is_multiple(value: float, divisor: float) -> bool:
    """Exact for whole numbers; for fractions the quotient of the two doubles is whole, so 0.3 is no multiple of 0.1."""
    if is_whole(value) and is_whole(divisor):
        return int(value) % int(divisor) == 0
    try:
        return float(value / divisor).is_integer()
    except OverflowError:
        return False
