"""The conditions of rules: which events a rule is about, and what its regular expressions capture.

How this works: a match is a mapping of fields to what they have to be. A text between slashes is a regular expression,
whose named groups are captured; a list has to be among the elements of the event's array; null means that the field is
absent; anything else has to be equal, as JSON values are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from headwater.event import get_path
from headwater.schemas.json_value import json_equal

# Longer texts are matched by their beginning.
MATCHED_CHARS_MAX = 65_536
_WRITTEN = re.compile(r"/(.*)/([a-z]*)", re.DOTALL)
# Named groups as other languages write them.
_NAMED_GROUP = re.compile(r"\(\?<(?![=!])")
_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "u": re.NOFLAG}


@dataclass(frozen=True, slots=True)
class Equal:
    """The field has this value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Found:
    """The regular expression is found in the field, a text."""

    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Contains:
    """Each of these holds for some element of the field, an array."""

    members: tuple[Equal | Found, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """The field is absent, or null."""


Expected = Equal | Found | Contains | Absent


@dataclass(frozen=True, slots=True)
class Match:
    """What has to hold of an event: of each of these fields, by dotted path. Nothing: it holds for every event."""

    fields: tuple[tuple[str, Expected], ...] = ()

    def captures(self, event: Mapping[str, Any]) -> dict[str, str] | None:
        """What the named groups captured; None if the match does not hold."""
        captured: dict[str, str] = {}
        for path, expected in self.fields:
            found = _found(expected, get_path(event, path))
            if found is None:
                return None
            captured |= found
        return captured


def pattern_of(text: str) -> re.Pattern[str] | None:
    """The regular expression that `text` is, between slashes; None if it is a plain text. Raises re.error."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        return None
    flags = re.NOFLAG
    for letter in written.group(2):
        if letter not in _FLAGS:
            raise re.error(f"the flag {letter!r} is none of {', '.join(_FLAGS)}")
        flags |= _FLAGS[letter]
    return re.compile(_NAMED_GROUP.sub("(?P<", written.group(1)).replace(r"\/", "/"), flags)


def expected_of(written: Any) -> Expected:
    """What a field has to be, as it is written in a rule. Raises re.error, and ValueError for a mapping in a list."""
    if written is None:
        return Absent()
    if isinstance(written, Sequence) and not isinstance(written, str):
        if any(isinstance(member, Mapping | list) for member in written):
            raise ValueError("the members of a list are texts, numbers or truth values")
        return Contains(tuple(_single(member) for member in written))
    return _single(written)


def _single(written: Any) -> Equal | Found:
    pattern = pattern_of(written) if isinstance(written, str) else None
    return Equal(written) if pattern is None else Found(pattern)


def _found(expected: Expected, value: Any) -> dict[str, str] | None:
    match expected:
        case Absent():
            return {} if value is None else None
        case Equal(wanted):
            return {} if value is not None and json_equal(wanted, value) else None
        case Found(pattern):
            at = pattern.search(value[:MATCHED_CHARS_MAX]) if isinstance(value, str) else None
            return None if at is None else {name: text for name, text in at.groupdict().items() if text is not None}
        case Contains(members):
            return _contained(members, value)
        case _:
            assert_never(expected)


def _contained(members: Sequence[Equal | Found], value: Any) -> dict[str, str] | None:
    if not isinstance(value, list):
        return None
    captured: dict[str, str] = {}
    for member in members:
        found = next((one for element in value if (one := _found(member, element)) is not None), None)
        if found is None:
            return None
        captured |= found
    return captured
