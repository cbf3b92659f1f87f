"""Which streams the `constraints` of the legacy streamconfigs API select (streams.md, section 1.7).

How this works: the original is PHP, whose one container is an ordered map with numbers or texts for keys. Here it is a
dict with int and str keys; a container is a list where its keys are 0, 1, 2, … Each rule below is kept because clients
are written against it, also the surprising ones: a value is cut at its second `=`, a list ends the comparison.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from headwater.streams import matching as legacy

DEPTH_MAX = 10
FLOAT_DIGITS = 14

Container = dict[str | int, Any]

_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})\Z")


class ConstraintTypeError(Exception):
    """The name of a stream was constrained by a mapping where a family had to be searched for it."""


def parse(values: Iterable[str]) -> Container:
    """All values of the parameter as one container of expectations; keys nest with `a[b][c]`."""
    expected: Container = {}
    for value in values:
        expected = _merge_deep(expected, _parse_one(value))
    return expected


def matches(name: str, settings: Mapping[str, Any], expected: Mapping[Any, Any]) -> bool:
    """Whether the entry `name` meets all expectations; `settings` are merged, without computed topics.

    Raises ConstraintTypeError where the original answers with an internal error.
    """
    wanted: Mapping[Any, Any] = container(expected)
    stream = wanted.get("stream")
    if stream is not None:
        if isinstance(stream, dict):
            if legacy.is_family(name):
                raise ConstraintTypeError
            return False
        if not legacy.matches(name, as_text(stream)):
            return False
        wanted = {key: value for key, value in wanted.items() if key != "stream"}
    return _meets({**container(settings), "stream": name}, wanted, DEPTH_MAX)


def container(value: Mapping[Any, Any] | list[Any]) -> Container:
    """A map or list as PHP keeps it, at every depth."""
    pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else enumerate(value)
    return {_key(key): container(item) if isinstance(item, (Mapping, list)) else item for key, item in pairs}


def as_text(value: Any) -> str:
    """A value as PHP casts it to text: true is `1`, false and null are empty, 1.0 is `1`."""
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
                # Whatever is expected beside a list is never looked at: so does the original.
                present = {as_text(item) for item in actual.values()}
                return all(as_text(item) in present for item in wanted.values())
            if depth <= 1 or not _meets(actual, wanted, depth - 1):
                return False
        elif isinstance(actual, dict) or isinstance(wanted, dict) or as_text(actual) != as_text(wanted):
            return False
    return True


def _parse_one(value: str) -> Container:
    found: Container = {}
    for piece in value.removeprefix("?").split("&"):
        if piece == "":
            continue
        parts = piece.split("=")
        name, text = unquote_plus(parts[0]), unquote_plus(parts[1] if len(parts) > 1 else "")
        first, *rest = name.split("[")
        nested: Any = text
        for step in reversed(rest):
            nested = {_key(step[:-1]): nested}
        key = _key(first)
        earlier = found.get(key)
        found[key] = _merge_flat(earlier, nested) if isinstance(earlier, dict) and isinstance(nested, dict) else nested
    return found


def _merge_flat(first: Container, second: Container) -> Container:
    """Numbers are given out anew, texts replace."""
    merged: Container = {}
    for part in (first, second):
        for key, value in part.items():
            merged[_next_number(merged) if isinstance(key, int) else key] = value
    return merged


def _merge_deep(first: Container, second: Container) -> Container:
    """Numbers are appended; under one text, containers merge and plain values become a list of both."""
    merged = dict(first)
    for key, value in second.items():
        if isinstance(key, int):
            merged[_next_number(merged)] = value
        elif key not in merged:
            merged[key] = value
        else:
            earlier = merged[key] if isinstance(merged[key], dict) else {0: merged[key]}
            merged[key] = _merge_deep(earlier, value if isinstance(value, dict) else {0: value})
    return merged


def _next_number(target: Container) -> int:
    return max((key for key in target if isinstance(key, int)), default=-1) + 1


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
