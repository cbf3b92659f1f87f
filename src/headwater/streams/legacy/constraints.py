"""Which streams the `constraints` of the legacy streamconfigs API select (streams.md, section 1.7).

How this works: the original is PHP, whose one container is an ordered map with numbers or texts for keys. Here it is a
dict with int and str keys; a container is a list where its keys are 0, 1, 2, … Each rule below is kept because clients
depend on it, also the surprising ones: a value is cut at its second `=`, a list ends the comparison. Each expectation
takes the same time, however many there are, and their number and nesting are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from headwater.streams import matching as legacy

DEPTH_MAX = 10
# The limits of one request; no comparison goes deeper than DEPTH_MAX, so no expectation nested deeper can be met.
EXPECTATIONS_MAX = 2_000
NESTING_MAX = 64
FLOAT_DIGITS = 14

Container = dict[str | int, Any]

_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})\Z")


class ConstraintTypeError(Exception):
    """The constraint on the stream name is a mapping, which cannot be searched for in a family's expression."""


class TooManyConstraints(Exception):
    """There are more than EXPECTATIONS_MAX expectations, or one is nested more than NESTING_MAX levels deep."""


def parse(values: Iterable[str]) -> Container:
    """All values of the parameter as one container of expectations; keys nest with `a[b][c]`.

    Raises TooManyConstraints.
    """
    expected: Container = {}
    left = EXPECTATIONS_MAX
    for value in values:
        pieces = [piece for piece in value.removeprefix("?").split("&") if piece]
        left -= len(pieces)
        if left < 0:
            raise TooManyConstraints
        _merge_deep(expected, _parse_pieces(pieces))
    return expected


def matches(name: str, settings: Mapping[str, Any], expected: Mapping[Any, Any]) -> bool:
    """Whether the entry `name` meets all expectations; `settings` are merged, without computed topics.

    Raises ConstraintTypeError in the cases in which the original answers with an internal error.
    """
    return meets(name, settings, container(expected))


def meets(name: str, settings: Mapping[str, Any], expected: Container) -> bool:
    """As `matches`, for expectations that are already a container."""
    stream = expected.get("stream")
    if stream is not None:
        if isinstance(stream, dict):
            if legacy.is_family(name):
                raise ConstraintTypeError
            return False
        if not legacy.matches(name, as_text(stream)):
            return False
        expected = {key: value for key, value in expected.items() if key != "stream"}
    return _meets({**container(settings), "stream": name}, expected, DEPTH_MAX)


def container(value: Mapping[Any, Any] | list[Any]) -> Container:
    """A map or list as PHP represents it, at every depth."""
    pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else enumerate(value)
    return {_key(key): container(item) if isinstance(item, (Mapping, list)) else item for key, item in pairs}


def as_text(value: Any) -> str:
    """A value as PHP converts it to text: true is `1`, false and null are empty, 1.0 is `1`."""
    if value is None or value is False:
        return ""
    if value is True:
        return "1"
    if isinstance(value, float):
        return _float_text(value)
    return "Array" if isinstance(value, (dict, list)) else str(value)


def _meets(settings: Container, expected: Mapping[Any, Any], depth: int) -> bool:
    for key, wanted in expected.items():
        actual = settings.get(key)
        if actual is None:
            return False
        if isinstance(actual, dict) and isinstance(wanted, dict):
            if _is_list(actual) and _is_list(wanted):
                # Other expectations next to a list are ignored, as in the original.
                present = {as_text(item) for item in actual.values()}
                return all(as_text(item) in present for item in wanted.values())
            if depth <= 1 or not _meets(actual, wanted, depth - 1):
                return False
        elif isinstance(actual, dict) or isinstance(wanted, dict) or as_text(actual) != as_text(wanted):
            return False
    return True


def _parse_pieces(pieces: Iterable[str]) -> Container:
    found: Container = {}
    # The next number of each merged container.
    numbers: dict[str | int, int] = {}
    for piece in pieces:
        parts = piece.split("=", 2)
        name, text = unquote_plus(parts[0]), unquote_plus(parts[1] if len(parts) > 1 else "")
        first, *rest = name.split("[", NESTING_MAX + 1)
        if len(rest) > NESTING_MAX:
            raise TooManyConstraints
        nested: Any = text
        for step in reversed(rest):
            nested = {_key(step[:-1]): nested}
        key = _key(first)
        earlier = found.get(key)
        if isinstance(earlier, dict) and isinstance(nested, dict):
            if key not in numbers:
                merged: Container = {}
                found[key], numbers[key] = merged, _merge_flat(merged, earlier, 0)
            numbers[key] = _merge_flat(found[key], nested, numbers[key])
        else:
            found[key] = nested
            numbers.pop(key, None)
    return found


def _merge_flat(target: Container, part: Container, number: int) -> int:
    """Numbers are assigned again, beginning with `number`, texts replace. Returns the next number."""
    for key, value in part.items():
        if isinstance(key, int):
            target[number] = value
            number += 1
        else:
            target[key] = value
    return number


def _merge_deep(target: Container, part: Container) -> None:
    """Numbers are appended; under one text, containers merge and plain values become a list of both."""
    number = max((key for key in target if isinstance(key, int)), default=-1) + 1
    for key, value in part.items():
        if isinstance(key, int):
            target[number] = value
            number += 1
        elif key not in target:
            target[key] = value
        else:
            if not isinstance(target[key], dict):
                target[key] = {0: target[key]}
            _merge_deep(target[key], value if isinstance(value, dict) else {0: value})


def _is_list(value: Container) -> bool:
    return list(value) == list(range(len(value)))


def _key(key: Any) -> str | int:
    return int(key) if isinstance(key, str) and _WHOLE.match(key) else key


def _float_text(value: float) -> str:
    mantissa, _, exponent = f"{value:.{FLOAT_DIGITS - 1}e}".partition("e")
    if -5 < int(exponent) < FLOAT_DIGITS:
        plain = f"{value:.{FLOAT_DIGITS - 1 - int(exponent)}f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa = mantissa.rstrip("0")
    return f"{mantissa}{'0' if mantissa.endswith('.') else ''}E{int(exponent):+d}"
