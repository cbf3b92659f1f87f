"""Every error Headwater raises on purpose: one family that says whose fault it is and whether to try again."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple


class Fault(enum.Enum):
    """Who has to act before the same call can succeed."""

    PRODUCER = "producer"
    CONSUMER = "consumer"
    OPERATOR = "operator"
    PLATFORM = "platform"


class HeadwaterError(Exception):
    """Base of the family.

    `code` is stable and public (metrics, problem documents, documentation), `fault` says who must act,
    `retriable` whether the identical call may succeed later. `hint` is the sentence that says what to do.
    """

    code: ClassVar[str] = "internal"
    fault: ClassVar[Fault] = Fault.PLATFORM
    retriable: ClassVar[bool] = False
    # Whether nobody answers where the log is. It says itself when that begins and ends, so that no one else has to.
    is_away: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class ConfigInvalid(HeadwaterError):
    """A configuration or declaration file is wrong; says file, line (1-based) and the nearest known key."""

    code = "config_invalid"
    fault = Fault.OPERATOR

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(where + message, hint=hint)
        # The message without the place.
        self.detail = message
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which an event breaks its schema.

    `pointer` is the JSON pointer of the offending value ("" is the root), `keyword` the schema keyword,
    `schema_pointer` where that keyword stands in the schema, `message` a sentence for people.
    """

    pointer: str
    keyword: str
    message: str
    schema_pointer: str = ""


class EventMalformed(HeadwaterError):
    """The bytes are not a JSON object, a number is one no reader could hold, or a field every event needs is absent.

    `value` is what could be read of the event all the same, `is_json` False where the bytes break the rules of JSON.
    """

    code = "event_malformed"
    fault = Fault.PRODUCER

    def __init__(self, message: str, *, hint: str | None = None, value: Any = None, is_json: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.value = value
        self.is_json = is_json


class EventInvalid(HeadwaterError):
    """The event breaks its schema; `violations` lists every way in which it does."""

    code = "event_invalid"
    fault = Fault.PRODUCER

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"'{v.pointer}' {v.message}" for v in violations))
        self.violations = tuple(violations)


class EventTooLarge(HeadwaterError):
    """One event is larger than the configured limit."""

    code = "event_too_large"
    fault = Fault.PRODUCER


class RequestTooLarge(HeadwaterError):
    """A request body, or its number of events, is over the configured limit."""

    code = "request_too_large"
    fault = Fault.PRODUCER


class HeadersTooLarge(HeadwaterError):
    """The request line and headers of a request, or its trailers, are too many or too long."""

    code = "headers_too_large"
    fault = Fault.PRODUCER


class RequestTooSlow(HeadwaterError):
    """The headers or the body of a request did not come within the configured time; nothing of it was stored."""

    code = "request_too_slow"
    fault = Fault.PRODUCER
    retriable = True


class ContentUnsupported(HeadwaterError):
    """The request body is not JSON, or is in a charset or content encoding that is not understood."""

    code = "content_unsupported"
    fault = Fault.PRODUCER


class SchemaNotFound(HeadwaterError):
    """No schema repository has this `$schema` URI."""

    code = "schema_not_found"
    fault = Fault.PRODUCER


class SchemaUriRefused(HeadwaterError):
    """The `$schema` URI is absolute, climbs out of its repository, names a file, or is `latest` from a producer."""

    code = "schema_uri_refused"
    fault = Fault.PRODUCER


class SchemaInvalid(HeadwaterError):
    """The schema document itself cannot be used: not a schema, insecure, too deep, or it does not compile.

    Where the place is known, `message` begins with `file:line:column: ` (1-based) and `detail` is the rest of it.
    """

    code = "schema_invalid"
    fault = Fault.OPERATOR

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.detail = message
        self.file = file
        self.line = line
        self.column = column


class TypeUnmappable(HeadwaterError):
    """A schema has fields that the wanted target has no type or no name for; `refusals` lists each with its reason."""

    code = "type_unmappable"
    fault = Fault.OPERATOR

    def __init__(self, message: str, *, hint: str | None = None, refusals: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message, hint=hint)
        self.refusals = tuple(refusals)


class SchemaUnavailable(HeadwaterError):
    """A remote schema repository did not answer; nothing is known about the URI."""

    code = "schema_unavailable"
    fault = Fault.PLATFORM
    retriable = True


class StreamUnknown(HeadwaterError):
    """No declaration has this stream name."""

    code = "stream_unknown"
    fault = Fault.PRODUCER


class StreamDisabled(HeadwaterError):
    """The stream takes no events for now: its declaration, or a revision of it, switched producers off."""

    code = "stream_disabled"
    fault = Fault.PRODUCER


class StreamClosed(HeadwaterError):
    """The stream takes no events from outside: the platform itself writes it, or its stream file says so."""

    code = "stream_closed"
    fault = Fault.PRODUCER


class TooManyStreams(HeadwaterError):
    """The event names a stream that no file names, and there are as many of those as may be."""

    code = "too_many_streams"
    fault = Fault.PRODUCER


class ChangeRefused(HeadwaterError):
    """A change of what is declared of streams is not allowed or cannot be understood; nothing was changed."""

    code = "change_refused"
    fault = Fault.CONSUMER


class RevisionUnknown(HeadwaterError):
    """No change of what is declared of streams has this number."""

    code = "revision_unknown"
    fault = Fault.CONSUMER


class ChangeConflict(HeadwaterError):
    """Somebody else changed the streams in the meantime; nothing of this change was taken."""

    code = "change_conflict"
    fault = Fault.CONSUMER


class KeyRequired(HeadwaterError):
    """The request needs an API key, and has none, or one that is unknown, expired or revoked."""

    code = "key_required"
    fault = Fault.CONSUMER


class KeysDamaged(HeadwaterError):
    """The file of API keys, or the entry a request needs, cannot be read; other keys go on working."""

    code = "keys_damaged"
    fault = Fault.OPERATOR
    retriable = True


class HostUnknown(HeadwaterError):
    """The request was sent to a name that is not this server's."""

    code = "host_unknown"
    fault = Fault.CONSUMER


class HeaderRepeated(HeadwaterError):
    """A header that decides how the request is answered stands in it more than once."""

    code = "header_repeated"
    fault = Fault.CONSUMER


class ScopeMissing(HeadwaterError):
    """The API key is known, but not good for this."""

    code = "scope_missing"
    fault = Fault.CONSUMER


class TooManyRequests(HeadwaterError):
    """More requests with this key, or from this address, than the configured rate."""

    code = "too_many_requests"
    fault = Fault.CONSUMER
    retriable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after_seconds: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class StreamSchemaMismatch(HeadwaterError):
    """The event's schema title is not the one its stream is declared with."""

    code = "stream_schema_mismatch"
    fault = Fault.PRODUCER


class KeyFieldMissing(HeadwaterError):
    """A field the stream's `message_key_fields` names is absent from the event."""

    code = "key_field_missing"
    fault = Fault.PRODUCER


class TopicUnknown(HeadwaterError):
    """The log has no such topic."""

    code = "topic_unknown"
    fault = Fault.CONSUMER


class TokenInvalid(HeadwaterError):
    """A resume token cannot be read, or names topics the subscription does not have."""

    code = "token_invalid"
    fault = Fault.CONSUMER


class PositionLost(HeadwaterError):
    """The position is no longer (or was never) in the log; `earliest` is the token where reading can go on."""

    code = "position_lost"
    fault = Fault.CONSUMER

    def __init__(self, message: str, *, hint: str | None = None, earliest: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.earliest = earliest


class FilterInvalid(HeadwaterError):
    """A filter expression cannot be parsed; the message points at the column."""

    code = "filter_invalid"
    fault = Fault.CONSUMER


class TimestampInvalid(HeadwaterError):
    """`since` is neither an ISO 8601 date-time nor an epoch."""

    code = "timestamp_invalid"
    fault = Fault.CONSUMER


class TooManyConnections(HeadwaterError):
    """A limit on concurrent connections is reached, for this address or for the server."""

    code = "too_many_connections"
    fault = Fault.CONSUMER
    retriable = True


class ConsumerTooSlow(HeadwaterError):
    """A consumer did not keep up with its bounded buffer and was cut off; it can resume from its last token."""

    code = "consumer_too_slow"
    fault = Fault.CONSUMER
    retriable = True


class LogUnavailable(HeadwaterError):
    """The log cannot take or give records now; nothing of the failed call was stored."""

    code = "log_unavailable"
    fault = Fault.PLATFORM
    retriable = True

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after_seconds: int = 1, is_away: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds
        self.is_away = is_away


class LogFull(LogUnavailable):
    """The disk under the log is full; reads go on, and writing resumes when space returns."""

    code = "log_full"
    fault = Fault.OPERATOR


class LogInUse(HeadwaterError):
    """Another process runs the server of this log, and the log has room for one; the message says which it is."""

    code = "log_in_use"
    fault = Fault.OPERATOR


class AppendIncomplete(LogUnavailable):
    """Of the records of one append, some were stored and some were not, in a log that stores each on its own.

    `failures` says by index which were not, and why; `placements` where the others went.
    """

    code = "append_incomplete"

    def __init__(self, failures: Mapping[int, HeadwaterError], placements: Mapping[int, Any]) -> None:
        first = next(iter(failures.values()))
        super().__init__(f"{len(failures)} of {len(failures) + len(placements)} records were not stored: {first}")
        self.failures = failures
        self.placements = placements
        self.is_away = all(error.is_away for error in failures.values())


class WriterFenced(HeadwaterError):
    """Another process has taken over the group that a transaction is for; nothing of the transaction was stored."""

    code = "writer_fenced"
    fault = Fault.OPERATOR


class FeatureUnsupported(HeadwaterError):
    """This log cannot do what was asked of it, as its `features` say."""

    code = "feature_unsupported"
    fault = Fault.OPERATOR


class DamagedOffsets(NamedTuple):
    """The offsets of one partition that a damage has cost, both ends included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class LogCorrupt(HeadwaterError):
    """Stored bytes do not match their checksum; the message says which topic, partition and offsets.

    `damaged` are the offsets that cannot be read, where it is they alone: what lies after them can.
    """

    code = "log_corrupt"
    fault = Fault.OPERATOR

    def __init__(self, message: str, *, hint: str | None = None, damaged: DamagedOffsets | None = None) -> None:
        super().__init__(message, hint=hint)
        self.damaged = damaged


class CopyRefused(HeadwaterError):
    """Records cannot be brought into a log without losing some of them there, or mixing them with others."""

    code = "copy_refused"
    fault = Fault.OPERATOR


class JobInvalid(ConfigInvalid):
    """A job file cannot be loaded or describes something no runner can run; says file and line where they are known."""

    code = "job_invalid"


class StateUnavailable(HeadwaterError):
    """The file a job keeps its state in cannot be used now; nothing of the failed commit was stored."""

    code = "state_unavailable"
    fault = Fault.PLATFORM
    retriable = True


class StateMismatch(HeadwaterError):
    """The file a job keeps its state in does not belong to the position the log has for it."""

    code = "state_mismatch"
    fault = Fault.OPERATOR


class SinkUnavailable(HeadwaterError):
    """The target of a sink cannot be reached; the batch was not written and can be tried again."""

    code = "sink_unavailable"
    fault = Fault.PLATFORM
    retriable = True


class ExtraMissing(HeadwaterError):
    """An optional dependency is not installed; the hint names the extra to install."""

    code = "extra_missing"
    fault = Fault.OPERATOR
