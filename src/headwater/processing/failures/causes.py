"""Why a job could not process an event: the class of the cause, and the group of the errors that have the same cause.

The class is `error_type` in error events. A group is the same in every process and after every restart: it is computed
from what errors of one cause have in common, not from what distinguishes the events.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from headwater.errors import (
    AnswerInvalid,
    EventTooLarge,
    HeadwaterError,
    InputInvalid,
    LookupNotFound,
    LookupNotYet,
    LookupRefused,
    LookupUnavailable,
    ProcessEnded,
    SchemaNotFound,
)
from headwater.foreign import contain, name_of, original, text_of
from headwater.jobs.outcomes import NotYet, Reject
from headwater.jobs.steps import Failure
from headwater.processing.stack import file_name, without_paths

INVALID_INPUT = "INVALID_INPUT"
INVALID_OUTPUT = "INVALID_OUTPUT"
MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
SCHEMA_NOT_FOUND = "SCHEMA_NOT_FOUND"
REJECTED = "REJECTED"
NOT_YET = "NOT_YET"
NOT_FOUND = "NOT_FOUND"
UNEXPECTED_RESPONSE = "UNEXPECTED_RESPONSE"
UNAVAILABLE = "UNAVAILABLE"
TIMEOUT = "TIMEOUT"
PROCESS_ENDED = "PROCESS_ENDED"
HANDLER_ERROR = "HANDLER_ERROR"

# The names of steps that are no steps of the job: reading, writing a stream, and writing a table.
DECODE, INPUT, OUTPUT, TABLE, PROCESS = "decode", "input", "output", "table", "process"

# What functions raise, the narrower classes first.
_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (Reject, REJECTED),
    (NotYet, NOT_YET),
    (LookupNotFound, NOT_FOUND),
    (AnswerInvalid, UNEXPECTED_RESPONSE),
    (LookupRefused, REJECTED),
    (LookupNotYet, NOT_YET),
    (LookupUnavailable, UNAVAILABLE),
    (ProcessEnded, PROCESS_ENDED),
    (TimeoutError, TIMEOUT),
    (ConnectionError, UNAVAILABLE),
)
COMMON_CHARS_MAX = 200
_FRAMES_MAX = 2_000
# A class of its own that an exception names, by its attribute `error_type` or at the beginning of its text.
_CLASS = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
_CLASS_FIRST = re.compile(rf"({_CLASS.pattern})(?:: .*|\s*)", re.DOTALL)
_CLASS_CHARS = range(3, 65)
# What is quoted in their texts are names in the code or of fields, the same for every event.
_NAMING = frozenset({"AttributeError", "ImportError", "KeyError", "ModuleNotFoundError", "NameError"})

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_HEX = re.compile(r"\b(?=[0-9a-f-]*[0-9])[0-9a-f]{4,}(?:-?[0-9a-f]{4,})+\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an event failed. `kind` is its class, such as INVALID_INPUT; `group` identifies all errors of this cause."""

    kind: str
    exception: str
    group: str


def cause_of(failure: Failure, job: str, project: Path | None, *, withheld: bool = False) -> Cause:
    """The cause of a failure of `job`. `withheld`: its text has no influence on the group, as it may quote an event."""
    error = original(failure.error)
    kind, exception = kind_of(failure.step, error), name_of(error)
    text = "" if withheld else without_paths(text_of(error), project)
    frame = frame_of(error, project)
    return Cause(kind, exception, group_of((job, failure.step, kind, frame), exception, text))


def kind_of(step: str, error: BaseException) -> str:
    """The class of the cause of an error raised in a step."""
    if (named := _named(error)) is not None:
        return named
    if step in (DECODE, INPUT, OUTPUT, TABLE):
        code = error.because if isinstance(error, InputInvalid) else getattr(error, "code", None)
        if code == EventTooLarge.code:
            return MESSAGE_TOO_LARGE
        if code == SchemaNotFound.code:
            return SCHEMA_NOT_FOUND
        return INVALID_INPUT if step in (DECODE, INPUT) else INVALID_OUTPUT
    return next((kind for of, kind in _KINDS if isinstance(error, of)), HANDLER_ERROR)


def group_of(where: Iterable[str], exception: str, text: str) -> str:
    """The id of a group, of twelve characters: `where` is the same for all of its errors, `text` the exception's."""
    common = (*where, exception, common_text(text, exception))
    # Only a name: nobody gains from two causes that have the same.
    return hashlib.blake2b("\0".join(common).encode("utf-8", "replace"), digest_size=6).hexdigest()


def common_text(text: str, exception: str = "") -> str:
    """The text of an exception without what differs between events: quoted values, numbers, ids and addresses."""
    first = text.strip().split("\n", 1)[0][: COMMON_CHARS_MAX * 5]
    if exception not in _NAMING:
        first = _QUOTED.sub("'…'", first)
    return _NUMBER.sub("#", _HEX.sub("#", _URL.sub("URL", first)))[:COMMON_CHARS_MAX]


def frame_of(error: BaseException, project: Path | None) -> str:
    """The last function of the project on the way to the error, as `jobs/edits.py:parse`; "" if there is none.

    Without a number of a line, which each change of the file would move.
    """
    found = ""
    for frame in _frames(error):
        code = frame.f_code
        file = file_name(code.co_filename, project)
        if not file.startswith(("headwater/", "python/", "<")):
            found = f"{file}:{code.co_qualname}"
    return found


def _frames(error: BaseException) -> Iterator[FrameType]:
    for number, (frame, _) in enumerate(traceback.walk_tb(error.__traceback__)):
        if number >= _FRAMES_MAX:
            return
        yield frame


def _named(error: BaseException) -> str | None:
    """The class that the exception names itself."""
    if isinstance(error, HeadwaterError):
        return None
    try:
        own = getattr(error, "error_type", None)
    except BaseException as another:
        contain(another)
        own = None
    if type(own) is str and len(own) in _CLASS_CHARS and _CLASS.fullmatch(own):
        return own
    if isinstance(error, Reject | NotYet):
        found = _CLASS_FIRST.fullmatch(text_of(error))
        if found is not None and len(found[1]) in _CLASS_CHARS:
            return found[1]
    return None
