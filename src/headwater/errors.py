"""Every error Headwater raises on purpose: one family that says whose fault it is and whether to retry."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

# The longest back-off that a target is granted, whatever it asks for.
BACK_OFF_SECONDS_MAX = 300.0


class Fault(enum.Enum):
    """Who must act before the same call can succeed."""

    PRODUCER = "producer"
    CONSUMER = "consumer"
    OPERATOR = "operator"
    PLATFORM = "platform"


class HeadwaterError(Exception):
    """Base of the family.

    `code` is stable and public (metrics, problem documents, documentation), `fault` says who must act, `retriable`
    whether the identical call may succeed later. `hint` says what to do.
    """

    code: ClassVar[str] = "internal"
    fault: ClassVar[Fault] = Fault.PLATFORM
    retriable: ClassVar[bool] = False
    # Whether the log is unreachable. The log reports the beginning and the end of that itself, so callers need not.
    is_away: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class ConfigInvalid(HeadwaterError):
    """A configuration or declaration file is wrong; the message names the file, the line (1-based) and the nearest
    known key."""

    code = "config_invalid"
    fault = Fault.OPERATOR

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(where + message, hint=hint)
        # The message without file and line.
        self.detail = message
        self.file = file
        self.line = line


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


class InputInvalid(HeadwaterError):
    """A line of a job's input is not an event that the intake would accept; the message has file, line and reason."""

    code = "input_invalid"
    fault = Fault.PRODUCER
    because: str = ""  # the code of the reason


class EventTooLarge(HeadwaterError):
    """One event is larger than the configured limit."""

    code = "event_too_large"
    fault = Fault.PRODUCER


class RequestTooLarge(HeadwaterError):
    """A request body, or its number of events, exceeds the configured limit."""

    code = "request_too_large"
    fault = Fault.PRODUCER


class HeadersTooLarge(HeadwaterError):
    """The request line and headers of a request, or its trailers, exceed the configured limits in number or size."""

    code = "headers_too_large"
    fault = Fault.PRODUCER


class RequestTooSlow(HeadwaterError):
    """The headers or the body of a request did not arrive within the configured time; none of it was stored."""

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
    """The `$schema` URI is absolute, leaves its repository, names a file, or is `latest` from a producer."""

    code = "schema_uri_refused"
    fault = Fault.PRODUCER


class SchemaInvalid(HeadwaterError):
    """The schema document itself cannot be used: it is not a schema, is insecure, is too deep, or does not compile.

    If the location is known, `message` begins with `file:line:column: ` (1-based) and `detail` is the rest of it.
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
    """A schema has fields for which the target system has no type or no name; `refusals` lists each with its reason."""

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
    """No stream of this name is declared."""

    code = "stream_unknown"
    fault = Fault.PRODUCER


class StreamDisabled(HeadwaterError):
    """The stream does not accept events at present: its declaration, or a revision of it, disabled producers."""

    code = "stream_disabled"
    fault = Fault.PRODUCER


class StreamClosed(HeadwaterError):
    """The stream does not accept events from outside: the platform itself writes it, or its stream file says so."""

    code = "stream_closed"
    fault = Fault.PRODUCER


class TooManyStreams(HeadwaterError):
    """The event names a member of a stream family, and the limit on streams created for such names is reached."""

    code = "too_many_streams"
    fault = Fault.PRODUCER


class ChangeRefused(HeadwaterError):
    """A change of stream declarations is not allowed or cannot be understood; nothing was changed."""

    code = "change_refused"
    fault = Fault.CONSUMER


class RevisionUnknown(HeadwaterError):
    """No change of stream declarations has this number."""

    code = "revision_unknown"
    fault = Fault.CONSUMER


class JobUnknown(HeadwaterError):
    """The project has no job of this name."""

    code = "job_unknown"
    fault = Fault.CONSUMER


class ChangeConflict(HeadwaterError):
    """The streams were changed by another request in the meantime; this change was not applied."""

    code = "change_conflict"
    fault = Fault.CONSUMER


class KeyRequired(HeadwaterError):
    """The request needs an API key and has none, or its key is unknown, expired or revoked."""

    code = "key_required"
    fault = Fault.CONSUMER


class KeysDamaged(HeadwaterError):
    """The file of API keys, or the entry a request needs, cannot be read; other keys still work."""

    code = "keys_damaged"
    fault = Fault.OPERATOR
    retriable = True


class HostUnknown(HeadwaterError):
    """The request was sent to a host name that this server does not have."""

    code = "host_unknown"
    fault = Fault.CONSUMER


class HeaderRepeated(HeadwaterError):
    """A header that decides how the request is answered occurs more than once."""

    code = "header_repeated"
    fault = Fault.CONSUMER


class ScopeMissing(HeadwaterError):
    """The API key is known, but lacks the permission for this."""

    code = "scope_missing"
    fault = Fault.CONSUMER


class TooManyRequests(HeadwaterError):
    """The requests with this key, or from this address, exceed the configured rate."""

    code = "too_many_requests"
    fault = Fault.CONSUMER
    retriable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after_seconds: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class StreamSchemaMismatch(HeadwaterError):
    """The event's schema title is not the one that its stream declares."""

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
    """The position is no longer (or was never) in the log; `earliest` is the token from which reading can resume."""

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
    """A consumer did not keep up with its bounded buffer and was disconnected; it can resume from its last token."""

    code = "consumer_too_slow"
    fault = Fault.CONSUMER
    retriable = True


class LogUnavailable(HeadwaterError):
    """The log cannot store or read records now; nothing of the failed call was stored."""

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
    """The disk of the log is full; reads continue, and writes resume when there is space again."""

    code = "log_full"
    fault = Fault.OPERATOR


class LogInUse(HeadwaterError):
    """Another process already runs the server of this log, which allows only one; the message names that process."""

    code = "log_in_use"
    fault = Fault.OPERATOR


class AppendIncomplete(LogUnavailable):
    """Some records of one append were stored and some were not, in a log that stores each record separately.

    `failures` says by index which records were not stored, and why; `placements` where the others are.
    """

    code = "append_incomplete"

    def __init__(self, failures: Mapping[int, HeadwaterError], placements: Mapping[int, Any]) -> None:
        first = next(iter(failures.values()))
        super().__init__(f"{len(failures)} of {len(failures) + len(placements)} records were not stored: {first}")
        self.failures = failures
        self.placements = placements
        self.is_away = all(error.is_away for error in failures.values())


class WriterFenced(HeadwaterError):
    """Another process has taken over the group of a transaction; nothing of the transaction was stored."""

    code = "writer_fenced"
    fault = Fault.OPERATOR


class FeatureUnsupported(HeadwaterError):
    """The log does not declare the feature that this needs (`Features`); the hint says what to do instead."""

    code = "feature_unsupported"
    fault = Fault.OPERATOR


class DamagedOffsets(NamedTuple):
    """The offsets of one partition that were lost to damage, both ends included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class LogCorrupt(HeadwaterError):
    """Stored bytes do not match their checksum; the message names topic, partition and offsets.

    `damaged` are the offsets that cannot be read, if only they are affected and later ones can be read.
    """

    code = "log_corrupt"
    fault = Fault.OPERATOR

    def __init__(self, message: str, *, hint: str | None = None, damaged: DamagedOffsets | None = None) -> None:
        super().__init__(message, hint=hint)
        self.damaged = damaged


class CopyRefused(HeadwaterError):
    """Records cannot be copied into a log without losing some of them or mixing them with others."""

    code = "copy_refused"
    fault = Fault.OPERATOR


class JobInvalid(ConfigInvalid):
    """A job file cannot be loaded or describes a job that no runner can run; the message has file and line if known."""

    code = "job_invalid"


class StateUnavailable(HeadwaterError):
    """The state file of a job cannot be used now; nothing of the failed commit was stored."""

    code = "state_unavailable"
    fault = Fault.PLATFORM
    retriable = True


class StateMismatch(HeadwaterError):
    """The state file of a job does not match the job's position in the log."""

    code = "state_mismatch"
    fault = Fault.OPERATOR


class SinkUnavailable(HeadwaterError):
    """The target of a sink cannot be reached; the batch was not written and can be retried.

    `back_off_seconds` is how long the target asks not to be called, at most `BACK_OFF_SECONDS_MAX`; 0 if it does not
    say.
    """

    code = "sink_unavailable"
    fault = Fault.PLATFORM
    retriable = True

    def __init__(self, message: str, *, hint: str | None = None, back_off_seconds: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.back_off_seconds = min(max(0.0, back_off_seconds), BACK_OFF_SECONDS_MAX)


class LookupUnavailable(HeadwaterError):
    """Another service did not answer a job's request now, or refused it for now; the same request may succeed later.

    `back_off_seconds` is how long the service asks not to be called, at most `BACK_OFF_SECONDS_MAX`; 0 if it does not
    say. `status`: of the last answer, None without one. `was_sent`: whether the service may have received the request.
    """

    code = "lookup_unavailable"
    fault = Fault.PLATFORM
    retriable = True

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        back_off_seconds: float = 0.0,
        status: int | None = None,
        was_sent: bool = True,
    ) -> None:
        super().__init__(message, hint=hint)
        self.back_off_seconds = min(max(0.0, back_off_seconds), BACK_OFF_SECONDS_MAX)
        self.status = status
        self.was_sent = was_sent


class LookupNotYet(LookupUnavailable):
    """What a job asked for is so new that the service may not know it yet."""

    code = "lookup_not_yet"


class LookupRefused(HeadwaterError):
    """A request of a job is wrong or not allowed, so that repeating it is useless; `status`: None without an answer."""

    code = "lookup_refused"
    fault = Fault.OPERATOR

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class LookupNotFound(LookupRefused):
    """What a job asked for does not exist."""

    code = "lookup_not_found"


class AnswerInvalid(LookupRefused):
    """The answer of another service cannot be used: it is not JSON, contradicts itself, is empty, or is too large."""

    code = "answer_invalid"
    # The class of the cause in error events.
    error_type: str = "UNEXPECTED_RESPONSE"


class WriteIncomplete(SinkUnavailable):
    """Of the events of one write, some were rejected by the target permanently, or must be written again.

    Both are identified by their index in the write: `rejected` with the reason, `retry` without one. A sink that stores
    its token in the target has then written nothing at all; any other sink has written every event that is in neither.
    """

    code = "write_incomplete"
    # Whether fewer events remain to be written than before; set by the store.
    has_progressed: bool = False

    def __init__(
        self,
        *,
        rejected: Mapping[int, Exception] | None = None,
        retry: Collection[int] = (),
        back_off_seconds: float = 0.0,
        message: str = "",
    ) -> None:
        """`message`: why the target did not accept those at `retry`, a sentence."""
        self.rejected = dict(rejected or {})
        self.retry = tuple(sorted(set(retry) - self.rejected.keys()))
        counted = f"Of a write, {len(self.rejected)} events were rejected, and {len(self.retry)} must be retried."
        reason = message or "; ".join(str(error) for error in list(self.rejected.values())[:1])
        super().__init__(f"{counted} {reason}".rstrip(), back_off_seconds=back_off_seconds)


class ExtraMissing(HeadwaterError):
    """An optional dependency is not installed; the hint names the extra to install."""

    code = "extra_missing"
    fault = Fault.OPERATOR


class QueryInvalid(HeadwaterError):
    """An SQL query cannot be run as it is written."""

    code = "query_invalid"
    fault = Fault.OPERATOR
