"""Error events: for every refused event, an event that shows its producer's team what was refused and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headwater.errors import EventInvalid, SchemaInvalid, SchemaNotFound, SchemaUnavailable, StreamUnknown
from headwater.event import encode_json
from headwater.intake.outcome import Refused
from headwater.schemas.schema import Schema
from headwater.schemas.validation.validator import CompiledSchema, Validator, legacy_errors_text
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

RAW_EVENT_BYTES_MAX = 65_536
UNKNOWN = "unknown"
# Replaces an event whose stream has fewer readers than the stream of error events.
WITHHELD = ""
WITHHELD_MESSAGE = "The event is not shown: its stream is not public."

# Tried in this order when the project declares the error stream itself; the newest form first.
SCHEMA_URIS = ("/error/2.1.0", "/error/1.0.0")

_TIME = {"type": "string", "format": "date-time", "maxLength": 128}
_TEXT = {"type": "string"}

_COUNT = {"type": "integer", "minimum": 0}

# Where the event is that failed, and how it is processed again.
_FAILURE: dict[str, Any] = {
    "type": "object",
    "description": "Where the event is that failed, and what is needed to process it again.",
    "properties": {
        "group": {**_TEXT, "description": "Identifies all errors of this cause."},
        "step": {**_TEXT, "description": "The step of the job that failed."},
        "exception": {**_TEXT, "description": "The class of the exception."},
        "attempt": {"type": "integer", "minimum": 1, "description": "One more for each time it was redriven."},
        "attempts": {"type": "integer", "minimum": 1, "description": "How often it was tried before it was given up."},
        "first_failed_at": {**_TIME, "description": "When the first attempt failed."},
        "event_id": {**_TEXT, "description": "meta.id of the event that failed."},
        "key": {**_TEXT, "description": "The JSON of the key that the step keeps state by."},
        "topic": {**_TEXT, "description": "The topic in which the event is."},
        "partition": {**_COUNT, "description": "Its partition there."},
        "offset": {**_COUNT, "description": "Its offset there."},
        "kept": {
            "enum": ["text", "base64", "stored", "log", "none"],
            "description": "Where its bytes are: in raw_event, in raw_base64, stored separately, only in its topic, or"
            " nowhere, because a timer failed.",
        },
        "raw_bytes": {**_COUNT, "description": "How many bytes the event has."},
        "raw_base64": {**_TEXT, "description": "The event, if it is not UTF-8."},
    },
}

BUILT_IN_SCHEMA: dict[str, Any] = {
    "title": "error",
    "description": "An event that an intake refused, with the reason.",
    "$id": "/error/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "additionalProperties": False,
    "required": ["$schema", "meta", "dt", "emitter_id", "message"],
    "properties": {
        "$schema": {**_TEXT, "description": "Which schema this error event follows."},
        "meta": {
            "type": "object",
            "required": ["stream"],
            "properties": {
                "stream": {**_TEXT, "minLength": 1, "description": "The stream of error events."},
                "id": {**_TEXT, "description": "Identifies this error event."},
                "dt": {**_TIME, "description": "When the intake took this error event."},
                "uri": {**_TEXT, "description": "meta.uri of the refused event, or 'unknown'."},
                "domain": {**_TEXT, "description": "meta.domain of the refused event, or 'unknown'."},
                "request_id": {**_TEXT, "description": "meta.request_id of the refused event, or 'unknown'."},
            },
        },
        "dt": {**_TIME, "description": "When the event was refused."},
        "emitter_id": {**_TEXT, "description": "The service that refused it."},
        "error_type": {**_TEXT, "description": "The kind of error, such as EventInvalid."},
        "errored_schema_uri": {**_TEXT, "description": "The schema the refused event named, or 'unknown'."},
        "errored_stream_name": {**_TEXT, "description": "The stream the refused event named, or 'unknown'."},
        "message": {**_TEXT, "description": "Why it was refused, for people."},
        "raw_event": {**_TEXT, "description": f"The refused event as received, up to {RAW_EVENT_BYTES_MAX} bytes."},
    },
}

# What jobs write; it allows no more than the published version of the same name does.
JOB_SCHEMA: dict[str, Any] = {
    "title": "error",
    "description": "An event that a job could not process, with the reason and the event itself.",
    "$id": "/error/2.1.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "additionalProperties": False,
    "required": ["$schema", "meta", "dt", "emitter_id", "message"],
    "properties": {
        "$schema": {**_TEXT, "description": "Which schema this error event follows."},
        "meta": {
            "type": "object",
            "required": ["stream"],
            "properties": {
                "stream": {**_TEXT, "minLength": 1, "description": "The stream of error events."},
                "id": {**_TEXT, "description": "Identifies this error event."},
                "dt": {**_TIME, "description": "When this error event was stored."},
                "uri": {**_TEXT, "format": "uri-reference", "maxLength": 8192, "description": "meta.uri of the event."},
                "domain": {**_TEXT, "minLength": 1, "description": "meta.domain of the event that failed."},
                "request_id": {**_TEXT, "description": "meta.request_id of the event that failed."},
                "failure": _FAILURE,
            },
        },
        "dt": {**_TIME, "description": "When processing failed."},
        "emitter_id": {**_TEXT, "description": "The job."},
        "error_type": {**_TEXT, "description": "The class of the cause, such as INVALID_INPUT or HANDLER_ERROR."},
        "errored_schema_uri": {**_TEXT, "description": "The schema that the event names, or 'unknown'."},
        "errored_stream_name": {**_TEXT, "description": "The stream that the event was read from, or 'unknown'."},
        "message": {**_TEXT, "description": "The step that failed, and what it raised."},
        "raw_event": {**_TEXT, "description": "The event as it was read; `meta.failure.kept` says if it is whole."},
        "stack": {**_TEXT, "description": "Where it was raised; absent if too many failed for the same cause."},
        "triggered_by": {**_TEXT, "description": "What caused the event, as a list of `<topic>:<uri>`."},
    },
}


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """The stream of error events and the schema they follow: the project's own where it declares them.

    `of_jobs`: the schema of the error events of jobs.
    """

    stream: Stream
    compiled: CompiledSchema
    of_jobs: CompiledSchema

    def known(self, uri: str) -> CompiledSchema | None:
        """The schema with this URI; None if it is none of them."""
        return next((own for own in (self.compiled, self.of_jobs) if own.schema.uri == uri), None)


class _OneSchema:
    """A repository of one built-in schema only."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def get(self, uri: str) -> Schema:
        if uri != self._document["$id"]:
            raise SchemaNotFound(f"No schema at {uri}.")
        return Schema(uri=uri, document=self._document, title="error", dialect=self._document["$schema"])

    def uris(self) -> Iterable[str]:
        return (self._document["$id"],)

    def close(self) -> None:
        """Nothing was opened."""


def built_in(name: str, streams: StreamRegistry, validator: Validator) -> BuiltIn:
    """What error events follow: the declared stream and its schema, else the ones that come with Headwater."""
    try:
        stream = streams.get(name)
    except StreamUnknown:
        stream = Stream(name=name, schema_title="error", deduplicate=False, summary="Events the intake refused.")
        return BuiltIn(stream, _compiled(BUILT_IN_SCHEMA), _compiled(JOB_SCHEMA))
    for uri in SCHEMA_URIS:
        try:
            compiled = validator.compile(uri)
        except (SchemaNotFound, SchemaInvalid, SchemaUnavailable):
            continue
        return BuiltIn(stream, compiled, compiled)
    return BuiltIn(stream, _compiled(BUILT_IN_SCHEMA), _compiled(JOB_SCHEMA))


def _compiled(document: Mapping[str, Any]) -> CompiledSchema:
    return Validator(_OneSchema(document)).compile(document["$id"])


def error_event(
    refused: Refused, form: BuiltIn, emitter: str, now: str, raw: bytes | None = None, *, withheld: bool = False
) -> dict[str, Any]:
    """The error event about `refused`; `raw` is the event as received, if it is still available.

    `withheld`: nothing of the event is included, since the stream of error events has more readers than its own.
    """
    if withheld:
        refused, raw = replace(refused, event_value=None, stream_name=None, schema_uri=None), WITHHELD.encode()
    meta = refused.event_value.get("meta") if isinstance(refused.event_value, dict) else None
    copied = meta if isinstance(meta, dict) else {}
    declares = form.compiled.schema.declares
    value = {
        "$schema": form.compiled.schema.uri,
        "meta": {
            "stream": form.stream.name,
            "dt": now,
            **{name: _text_or_unknown(copied.get(name)) for name in ("uri", "domain", "request_id")},
        },
        "dt": now,
        "emitter_id": emitter,
        "error_type": type(refused.reason).__name__,
        "errored_schema_uri": _text_or_unknown(refused.schema_uri),
        "errored_stream_name": _text_or_unknown(refused.stream_name),
        "message": WITHHELD_MESSAGE if withheld else message_of(refused),
        "raw_event": _raw_text(refused.event_value, raw),
    }
    return {name: part for name, part in value.items() if name == "$schema" or declares(name)}


def message_of(refused: Refused) -> str:
    """The sentence about the refusal that EventGate's clients know."""
    if isinstance(refused.reason, EventInvalid) and refused.legacy_errors is not None:
        return legacy_errors_text(refused.legacy_errors)
    return refused.reason.message


def _text_or_unknown(value: Any) -> str:
    return value[:2048] if isinstance(value, str) and value else UNKNOWN


def _raw_text(value: Any, raw: bytes | None) -> str:
    encoded = raw if raw is not None else encode_json(value)
    text = encoded[:RAW_EVENT_BYTES_MAX].decode("utf-8", "replace")
    if len(encoded) > RAW_EVENT_BYTES_MAX:
        text += f"… ({len(encoded)} bytes in all)"
    return text
