"""Errors of events: what producers send, and lines of files that are to be events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwater.errors.family import Fault, HeadwaterError


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which an event violates its schema.

    `pointer` is the JSON pointer of the offending value ("" is the root), `keyword` the schema keyword,
    `schema_pointer` the location of that keyword in the schema, `message` a sentence for people.
    """

    pointer: str
    keyword: str
    message: str
    schema_pointer: str = ""


class EventMalformed(HeadwaterError):
    """The bytes are not a JSON object, a number is too large for readers, or a field that every event needs is absent.

    `value` is what could nevertheless be read of the event, `is_json` is False if the bytes are not valid JSON.
    """

    code = "event_malformed"
    fault = Fault.PRODUCER

    def __init__(self, message: str, *, hint: str | None = None, value: Any = None, is_json: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.value = value
        self.is_json = is_json


class EventInvalid(HeadwaterError):
    """The event does not conform to its schema; `violations` lists every way in which it does not."""

    code = "event_invalid"
    fault = Fault.PRODUCER

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"'{v.pointer}' {v.message}" for v in violations))
        self.violations = tuple(violations)


class EventTooLarge(HeadwaterError):
    """One event is larger than the configured limit."""

    code = "event_too_large"
    fault = Fault.PRODUCER


class InputInvalid(HeadwaterError):
    """A line of a job's input is not an event that the intake would accept; the message has file, line and reason."""

    code = "input_invalid"
    fault = Fault.PRODUCER
    because: str = ""  # the code of the reason


class StreamSchemaMismatch(HeadwaterError):
    """The event's schema title is not the one that its stream declares."""

    code = "stream_schema_mismatch"
    fault = Fault.PRODUCER


class KeyFieldMissing(HeadwaterError):
    """A field the stream's `message_key_fields` names is absent from the event."""

    code = "key_field_missing"
    fault = Fault.PRODUCER
