"""How the intake on Kafka answers otherwise than EventGate with its Kafka producers; the first rule that applies."""

from __future__ import annotations

import re
from typing import Any

from deviations.eventgate import (
    WHOLE,
    has_impossible_day,
    is_absolute,
    is_refused,
    is_status,
    schema_uris,
)
from deviations.rule import Deviation, Record

BAD_NAME = re.compile(r"[^\w.:/$^+*?()\[\]\\|-]")


def streams(record: Record) -> list[Any]:
    return [meta.get("stream") for event in record.events if isinstance(meta := event.get("meta"), dict)]


def says(record: Record, pattern: str) -> bool:
    return any(re.search(pattern, text) for text in record.messages)


def refuses_as_recorded(record: Record, ours: Any) -> bool:
    """The same number of events refused, in the same lists, and never as our fault."""
    counts = [len((ours.body or {}).get(kind, ())) for kind in ("invalid", "error")]
    return ours.status in (400, 207) and counts == [len(record.refusals(kind)) for kind in ("invalid", "error")]


RULES = (
    Deviation(
        "`/_info` and below",
        "the name and version of EventGate",
        "those of Headwater",
        "The service identifies itself as Headwater.",
        frozenset(("body",)),
        lambda record: record.path.startswith("/_info"),
        lambda record, ours: ours.status == record.status,
    ),
    Deviation(
        "the brokers are unavailable",
        "500",
        "503 with `Retry-After`, which pages of other origins may read; the message has a hint",
        "It is the server's fault, and a retry may succeed.",
        frozenset(("status", "reason", "body", "headers")),
        lambda record: says(record, "timed out|transport failure|brokers? .*down"),
        is_status(503),
    ),
    Deviation(
        "an event over the limit of its topic, or of `intake.event_bytes_max`",
        "500, with the broker's error",
        "400 with that limit, before it is sent to a broker; the other events of the request are stored",
        "It is the producer's fault.",
        frozenset(("status", "body")),
        lambda record: says(record, "too large"),
        refuses_as_recorded,
    ),
    Deviation(
        "an event for a stream of error events",
        "201, or its violations if it is invalid",
        "400, an error, unless the stream file says `producers: {external: true}`",
        "Error events trigger alerts and replays, so clients must not forge them.",
        WHOLE,
        lambda record: any(str(name).endswith(".error.validation") for name in streams(record)),
        is_refused,
    ),
    Deviation(
        "an event whose stream is empty, or not a valid topic name",
        "201 or 500, depending on the broker",
        "400, an error",
        "A topic is only created for a valid stream name.",
        WHOLE,
        lambda record: any(name == "" or BAD_NAME.search(str(name)) for name in streams(record)),
        is_refused,
    ),
    Deviation(
        "a day that does not exist (30 February)",
        "201; JavaScript converts it to another day",
        "400, the event is invalid",
        "It is not a day (see [schema validation](schema-validation.md)).",
        WHOLE,
        lambda record: any(has_impossible_day(event) for event in record.events),
        is_refused,
    ),
    Deviation(
        "an event without a schema or a stream",
        "500 for the whole request",
        "the event is an error, the others are stored",
        "One invalid event does not fail the whole request.",
        WHOLE,
        lambda record: record.status == 500 and not isinstance(record.answer, dict) and bool(record.events),
        is_refused,
    ),
    Deviation(
        "a stream that is not declared, or whose declaration or schema has no title; a schema URI that is absolute",
        "500",
        "400, an error whose message says what is missing",
        "It is the producer's fault, who needs to know what to do.",
        frozenset(("status", "body")),
        lambda record: (
            (
                says(record, "not a configured stream|not have a configured|not found in object")
                or any(is_absolute(uri) for uri in schema_uris(record))
            )
            and bool(record.refusals("error"))
        ),
        refuses_as_recorded,
    ),
    Deviation(
        "no event of the request is accepted, and at least one for another fault of its producer",
        "500",
        "400, with the same lists",
        "A producer's fault is never 500.",
        frozenset(("status",)),
        lambda record: record.status == 500 and bool(record.refusals("error")),
        is_status(400),
    ),
)
