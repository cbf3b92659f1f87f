"""Errors of one cause are one group, whatever event they are about, and errors of different causes never are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import (
    AnswerInvalid,
    EventInvalid,
    EventMalformed,
    EventTooLarge,
    HeadwaterError,
    InputInvalid,
    JobInvalid,
    LookupNotFound,
    LookupNotYet,
    LookupRefused,
    LookupUnavailable,
    SchemaNotFound,
    Violation,
)
from headwater.foreign import Escaped
from headwater.jobs.outcomes import NotYet, Reject
from headwater.jobs.steps import Element, Failure
from headwater.processing.failures.causes import COMMON_CHARS_MAX, cause_of, common_text, frame_of, kind_of


def input_invalid(reason: type[HeadwaterError]) -> InputInvalid:
    """A line that is no event for this reason."""
    error = InputInvalid("a line")
    error.because = reason.code
    return error


class NoContent(Reject):
    """A rejection with a class of its own."""

    error_type = "NO_CONTENT"


class Unreadable(Exception):
    """An exception whose attributes raise."""

    @property
    def error_type(self) -> str:
        raise RuntimeError("no")


class Misnamed(Exception):
    """An exception whose class of cause is not one."""

    error_type = "not a class"


@pytest.mark.parametrize(
    ("step", "error", "kind"),
    [
        ("decode", ValueError("not JSON"), "INVALID_INPUT"),
        ("decode", EventMalformed("no"), "INVALID_INPUT"),
        ("decode", EventInvalid([Violation("/a", "required", "is required")]), "INVALID_INPUT"),
        ("decode", SchemaNotFound("no"), "SCHEMA_NOT_FOUND"),
        ("decode", EventTooLarge("no"), "MESSAGE_TOO_LARGE"),
        ("input", InputInvalid("a line"), "INVALID_INPUT"),
        ("input", input_invalid(EventInvalid), "INVALID_INPUT"),
        ("input", input_invalid(SchemaNotFound), "SCHEMA_NOT_FOUND"),
        ("input", input_invalid(EventTooLarge), "MESSAGE_TOO_LARGE"),
        ("output", EventInvalid([Violation("/a", "required", "is required")]), "INVALID_OUTPUT"),
        ("output", JobInvalid("A job gives events."), "INVALID_OUTPUT"),
        ("output", EventTooLarge("no"), "MESSAGE_TOO_LARGE"),
        ("output", SchemaNotFound("no"), "SCHEMA_NOT_FOUND"),
        ("table", EventMalformed("not a row"), "INVALID_OUTPUT"),
        ("function", Reject("nobody wants it"), "REJECTED"),
        ("function", Reject(), "REJECTED"),
        ("function", Reject("NOT_FOUND"), "NOT_FOUND"),
        ("function", Reject("NOT_FOUND: revision 999"), "NOT_FOUND"),
        ("function", Reject("UNEXPECTED_RESPONSE:\nno JSON"), "REJECTED"),
        ("function", Reject("A: too short"), "REJECTED"),
        ("function", NoContent("empty"), "NO_CONTENT"),
        ("function", NotYet("replicas lag"), "NOT_YET"),
        ("function", NotYet("EMPTY_RESPONSE: later"), "EMPTY_RESPONSE"),
        ("function", TimeoutError(), "TIMEOUT"),
        ("function", Escaped(TimeoutError()), "TIMEOUT"),
        ("function", ConnectionError("refused"), "UNAVAILABLE"),
        ("function", LookupUnavailable("no answer"), "UNAVAILABLE"),
        ("function", LookupNotYet("too new"), "NOT_YET"),
        ("function", LookupNotFound("no revision 999"), "NOT_FOUND"),
        ("function", LookupRefused("not allowed"), "REJECTED"),
        ("function", AnswerInvalid("not JSON"), "UNEXPECTED_RESPONSE"),
        ("function", ValueError("NOT_FOUND: text of a library"), "HANDLER_ERROR"),
        ("function", EventInvalid([Violation("/a", "required", "is required")]), "HANDLER_ERROR"),
        ("function", Unreadable("x"), "HANDLER_ERROR"),
        ("function", Misnamed("x"), "HANDLER_ERROR"),
        ("function", KeyboardInterrupt(), "HANDLER_ERROR"),
        ("process", SystemExit(1), "HANDLER_ERROR"),
    ],
)
def test_every_cause_has_its_class(step: str, error: BaseException, kind: str) -> None:
    from headwater.foreign import original

    assert kind_of(step, original(error)) == kind


@pytest.mark.parametrize(
    ("exception", "texts"),
    [
        ("ValueError", ["page 12 of 'Q1' is gone", "page 4711 of 'it\\'s' is gone", 'page 0 of "A B" is gone']),
        ("HTTPError", ["https://a.org/w?x=1 says 503", "http://b.org says 429"]),
        (
            "Error",
            ["id 0f8fad5b-d9cb-469f-a165-70867728950e is taken", "id 7c9e6679-7425-40de-944b-e07fc1f90ae7 is taken"],
        ),
        ("Error", ["hash deadbeef0011 is wrong", "hash 00aa11bb22cc33dd is wrong"]),
        ("Error", ["at 12:30:01.5, 3 of 4", "at 1.5, 12 of 9"]),
        ("Error", ["the first line\nand more 'of it'", "the first line"]),
    ],
)
def test_what_differs_between_events_makes_no_other_group(exception: str, texts: list[str]) -> None:
    assert len({common_text(text, exception) for text in texts}) == 1


@pytest.mark.parametrize(
    ("exception", "texts"),
    [
        ("KeyError", ["'title'", "'user'"]),
        ("AttributeError", ["'dict' object has no attribute 'a'", "'dict' object has no attribute 'b'"]),
        ("NameError", ["name 'x' is not defined", "name 'y' is not defined"]),
        ("ValueError", ["is empty", "is too long"]),
    ],
)
def test_what_names_the_cause_makes_another_group(exception: str, texts: list[str]) -> None:
    assert len({common_text(text, exception) for text in texts}) == len(texts)


@given(st.text(max_size=3_000), st.sampled_from(["KeyError", "ValueError"]))
def test_any_text_has_a_common_one_of_bounded_length(text: str, exception: str) -> None:
    common = common_text(text, exception)
    assert len(common) <= COMMON_CHARS_MAX
    assert common_text(text, exception) == common


def failure_of(function: Any, *arguments: Any) -> Failure:
    try:
        function(*arguments)
    except Exception as error:
        return Failure(Element({}, 0, "id"), "function", error)
    raise AssertionError("it does not fail")


def one_cause(number: int) -> None:
    raise ValueError(f"number {number}")


def another_cause(number: int) -> None:
    raise ValueError(f"number {number}")


def test_the_function_that_fails_tells_causes_apart_and_its_line_does_not() -> None:
    project = Path(__file__).parent
    first, second = (cause_of(failure_of(one_cause, number), "a job", project) for number in (1, 22))
    assert first == second
    assert cause_of(failure_of(another_cause, 1), "a job", project).group != first.group
    assert cause_of(failure_of(one_cause, 1), "another job", project).group != first.group
    assert frame_of(failure_of(one_cause, 1).error, project) == f"{Path(__file__).name}:one_cause"


def test_a_text_that_must_not_be_shown_has_no_influence_on_the_group() -> None:
    def fails(text: str) -> None:
        raise ValueError(text)

    causes = {cause_of(failure_of(fails, text), "job", None, withheld=True).group for text in ("a secret", "another")}
    assert len(causes) == 1
