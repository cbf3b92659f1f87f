"""The response to a request in EventGate's format: its status, its reason phrase, its `invalid` and `error` lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from headwater.errors import (
    EventInvalid,
    EventMalformed,
    HeadwaterError,
    LogFull,
    SchemaNotFound,
    StreamSchemaMismatch,
    StreamUnknown,
)
from headwater.event import decode_event, encode_json, json_bytes
from headwater.intake.outcome import Failed, Receipt, Refused
from headwater.schemas.validation.validator import legacy_errors_text

# The lists of a response: the function that formats an entry, and the items.
Lists = Mapping[str, tuple[Callable[[Any], dict[str, Any]], Sequence[Any]]]
TOO_DEEP = "(nested too deeply to be shown)"


class LegacyAnswer(NamedTuple):
    """`retry_after_seconds` is set if the fault is ours and the same request may succeed later.

    `lists`: the content of the body, None if there is none.
    """

    status: int
    reason: str
    lists: Lists | None = None
    retry_after_seconds: int | None = None

    @property
    def body(self) -> bytes:
        """The complete body."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes]:
        """The body in parts, each at most one event and its errors."""
        if self.lists is None:
            return
        before = b"{"
        for name, (entry_of, made_of) in self.lists.items():
            yield before + json_bytes(name) + b":["
            comma = b""
            for one in made_of:
                yield comma + _encoded(entry_of(one))
                comma = b","
            before = b"],"
        yield b"]}"


def legacy_answer(receipt: Receipt, retry_after_seconds: int) -> LegacyAnswer:
    """EventGate's response, except for our own rules: a producer's fault is 400, ours is 503 or 507, never 500."""
    count = receipt.count
    if not receipt.refused and not receipt.failed:
        return LegacyAnswer(201, f"All {count} out of {count} events were accepted.")
    invalid = [one for _, one in receipt.refused if isinstance(one.reason, EventInvalid)]
    if len(invalid) == count:
        reason = f"{count} out of {count} events were invalid and not accepted."
        return LegacyAnswer(400, reason, {"invalid": (_invalid, invalid)})
    errors: list[tuple[int, Refused | Failed]] = [
        entry for entry in receipt.refused if not isinstance(entry[1].reason, EventInvalid)
    ]
    errors += receipt.failed
    errors.sort(key=lambda entry: entry[0])
    lists: Lists = {"invalid": (_invalid, invalid), "error": (_error, [one for _, one in errors])}
    parts = f"({len(invalid)} invalid and {len(errors)} errored)."
    wrong = len(invalid) + len(errors)
    if receipt.accepted:
        reason = f"{receipt.accepted} out of {count} events were accepted, but {wrong} failed {parts}"
        return LegacyAnswer(207, reason, lists, retry_after_seconds if receipt.failed else None)
    reason = f"{wrong} out of {count} events had failures and were not accepted. {parts}"
    if receipt.failed:
        return LegacyAnswer(_status_of(receipt.failed[0][1].reason), reason, lists, retry_after_seconds)
    return LegacyAnswer(400, reason, lists)


def legacy_message(refused: Refused) -> str:
    """EventGate's message about an event that it could not validate."""
    reason = refused.reason
    if isinstance(reason, SchemaNotFound):
        return f"Failed loading schema at {refused.schema_uri}"
    if isinstance(reason, (StreamUnknown, StreamSchemaMismatch)):
        why = f"{refused.stream_name} is not configured." if isinstance(reason, StreamUnknown) else reason.message
        return f"{_description(refused)} is not allowed in stream; {why}"
    return reason.message


def _description(refused: Refused) -> str:
    meta = refused.event_value.get("meta") if isinstance(refused.event_value, dict) else None
    event_id = meta.get("id") if isinstance(meta, dict) else None
    named = f" {event_id}" if isinstance(event_id, str) else ""
    return (
        f"event{named} of schema at {refused.schema_uri or 'unknown'} "
        f"destined to stream {refused.stream_name or 'unknown'}"
    )


def _status_of(reason: HeadwaterError) -> int:
    return 507 if isinstance(reason, LogFull) else 503


def _invalid(refused: Refused) -> dict[str, Any]:
    errors = refused.legacy_errors or []
    context = {"errors": errors, "errorsText": legacy_errors_text(errors)}
    return {"status": "invalid", "event": refused.event_value, "context": context}


def _error(one: Refused | Failed) -> dict[str, Any]:
    if isinstance(one, Failed):
        return {"status": "error", "event": _as_received(one.encoded), "context": {"message": str(one.reason)}}
    return {"status": "error", "event": one.event_value, "context": {"message": legacy_message(one)}}


def _as_received(encoded: bytes) -> Any:
    try:
        return orjson.Fragment(decode_event(encoded)[1])
    except EventMalformed:
        return encoded.decode("utf-8", "replace")


def _encoded(entry: dict[str, Any]) -> bytes:
    try:
        return encode_json(entry)
    except (TypeError, RecursionError):
        return orjson.dumps(entry | {"event": shown(entry["event"])})


def shown(event: Any) -> Any:
    """The event; a sentence instead if it could be parsed but is nested too deeply to be written again."""
    try:
        return orjson.Fragment(encode_json(event))
    except (TypeError, RecursionError):
        return event if isinstance(event, orjson.Fragment) else TOO_DEEP
