"""Tests of errors between processes: every class of the family arrives as itself, with all it has."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import errors
from headwater.errors import (
    AppendIncomplete,
    ConfigInvalid,
    DamagedOffsets,
    EventInvalid,
    EventMalformed,
    HeadwaterError,
    LogCorrupt,
    LogFull,
    LogUnavailable,
    PositionLost,
    SchemaInvalid,
    TypeUnmappable,
    Violation,
    WriteIncomplete,
    WriterFenced,
)
from headwater.process_link.crossing_errors import decode_error, encode_error

FAMILY = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, HeadwaterError)]


def crossed(error: BaseException) -> HeadwaterError:
    return decode_error(encode_error(error))


def described(value: Any) -> Any:
    """Errors have no equality of their own."""
    if isinstance(value, HeadwaterError):
        return type(value), str(value), value.retriable, {name: described(one) for name, one in vars(value).items()}
    if isinstance(value, dict):
        return {key: described(one) for key, one in value.items()}
    return value


EXAMPLES = [
    ConfigInvalid("no such key", file="headwater.yaml", line=3, hint="Did you mean `log`?"),
    EventInvalid([Violation("/a", "type", "is not a string", "/properties/a/type"), Violation("", "required", "x")]),
    EventMalformed("not an object", value={"a": [1, None, "é", 2.5]}, is_json=False),
    SchemaInvalid("does not compile", file="a.yaml", line=1, column=2),
    TypeUnmappable("no type", refusals=[("a.b", "has none"), ("c", "neither")]),
    LogUnavailable("held", retry_after_seconds=7, is_away=True),
    LogFull("no space", hint="Free some."),
    LogCorrupt("damaged", damaged=DamagedOffsets("a", 0, 5, 9)),
    PositionLost("gone", earliest="hw1;a:0=3"),
    AppendIncomplete({0: LogFull("full"), 2: WriterFenced("taken")}, {1: None}),
    WriteIncomplete(rejected={3: EventInvalid([Violation("/x", "k", "m")])}, retry=[1, 2], back_off_seconds=4.5),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_arrives_with_all_it_has(error: HeadwaterError) -> None:
    found = crossed(error)
    assert described(found) == described(error)
    assert found.args == (error.message,)


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_every_class_of_the_family_arrives_as_itself(kind: type[HeadwaterError]) -> None:
    error = kind.__new__(kind)
    HeadwaterError.__init__(error, "what", hint="do")
    found = crossed(error)
    assert (type(found), str(found), found.code, found.retriable) == (kind, "what do", kind.code, kind.retriable)


def test_a_class_that_is_not_known_there_arrives_as_the_nearest_that_is() -> None:
    class OwnTrouble(LogUnavailable):
        """Of one program."""

    found = crossed(OwnTrouble("held"))
    assert (type(found), found.retriable, found.message) == (LogUnavailable, True, "held")


def test_other_exceptions_and_values_arrive_as_text() -> None:
    found = crossed(ValueError("bad"))
    assert (type(found), found.message, found.retriable) == (HeadwaterError, "ValueError: bad", False)
    odd = WriteIncomplete(rejected={0: KeyError("k")})
    odd.held = {1 << 70, "\ud800"}  # type: ignore[attr-defined]
    arrived = crossed(odd)
    assert isinstance(arrived, WriteIncomplete)
    assert "KeyError" in str(arrived.rejected[0])


@given(st.text(), st.none() | st.text())
def test_any_text_crosses(message: str, hint: str | None) -> None:
    found = crossed(HeadwaterError(message, hint=hint))
    assert (found.message, found.hint) == (message, hint)
