"""How streams are answered otherwise than by EventStreams; every rule that applies to a request counts."""

from __future__ import annotations

import json
from typing import Any

from deviations.rule import Deviation, Record

PAGES = ("/v2/ui", "/rc")


def is_stream(record: Record) -> bool:
    """Whether the recording shows a stream that continued until its client disconnected."""
    return record.status == 200 and "stream_ended" in record.raw["response"]


def is_sse(record: Record) -> bool:
    return is_stream(record) and str(record.answer).startswith(":ok")


def error(record: Record) -> dict[str, Any]:
    """The error KafkaSSE answered with before a stream began; empty where it is none."""
    try:
        value = json.loads(record.answer)
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) and value.get("origin") == "KafkaSSE" else {}


def resumes_at_offset(record: Record) -> bool:
    return '"offset"' in record.headers.get("last-event-id", "")


def always(_: Record, __: Any) -> bool:
    return True


def is_status(*statuses: int) -> Any:
    return lambda _, ours: ours.status in statuses


RULES = (
    Deviation(
        "the start of a stream over SSE",
        "`:ok`",
        "`:ok`, then the delay before a reconnect, without an empty line",
        "Lenient readers treat anything before an empty line as a message.",
        frozenset(("opening",)),
        is_sse,
        is_status(200),
    ),
    Deviation(
        "an event over SSE has an `id`",
        "an array of positions, by time where there is only one topic",
        "a compact token, or the array if the client resumed with one, requested it (`?id=legacy`) or it is configured "
        "(`consumption.event_ids`), always with exact offsets and the identity of the log; both are accepted, quoted "
        "or not, also without the identity",
        "Many events share a time, so resuming there would repeat or miss some; the offset of a log that was replaced "
        "belongs to another event.",
        frozenset(("ids",)),
        is_sse,
        is_status(200),
    ),
    Deviation(
        "events of a stream, over SSE or as lines of JSON",
        "including canary events; keys as bytes",
        "canary events only on request; keys as text",
        "Canary events are only of interest to monitoring.",
        frozenset(("canaries", "keys")),
        is_stream,
        is_status(200),
    ),
    Deviation(
        "a client resumes at an offset that the log does not have",
        "it silently starts at the end",
        "the same, after an event `position-lost` that reports the gap",
        "Nothing is skipped silently.",
        frozenset(("notice",)),
        resumes_at_offset,
        is_status(200, 400, 404),
    ),
    Deviation(
        "`since` with a time",
        "nothing followed: the broker of the recording could not look up times",
        "the events since then",
        "`since` works.",
        frozenset(("events", "ids", "opening")),
        lambda record: bool(record.query.get("since", [""])[0]),
        lambda record, ours: ours.status == record.status,
    ),
    Deviation(
        "a stream whose topics do not exist yet",
        "500",
        "200; topics of declared streams are created when the platform starts",
        "If they still do not exist, the response is as recorded.",
        frozenset(("status", "reason", "body", "headers")),
        lambda record: error(record).get("name") == "ConfigurationError",
        is_status(200),
    ),
    Deviation(
        "a declared stream without `topics`",
        "400",
        "200: its topic has the name of the stream",
        "A stream declaration need not contain defaults.",
        frozenset(("status", "reason", "body", "headers")),
        lambda record: record.status == 400 and record.path.endswith("/no.topics"),
        is_status(200),
    ),
    Deviation(
        "a `Last-Event-ID` that is not JSON",
        "400, with the message of its JSON parser",
        "400, with the message of ours; a token, or a quoted array, is accepted",
        "The message about invalid JSON is the parser's.",
        frozenset(("reason", "body", "headers")),
        lambda record: error(record).get("originalName") == "SyntaxError",
        is_status(400),
    ),
    Deviation(
        "an error before a stream begins",
        "JSON sent in chunks, without a content type",
        "the same body with `content-type` and `content-length`",
        "The type and the length of the body are known.",
        frozenset(("headers",)),
        lambda record: bool(error(record)),
        always,
    ),
    Deviation(
        "`HEAD` on a stream",
        "never answered",
        "the status and headers of a `GET`",
        "HTTP requires it.",
        frozenset(("answer",)),
        lambda record: record.method == "HEAD",
        is_status(200),
    ),
    Deviation(
        "`GET /`",
        "303, to the documentation or a page of its own",
        "200, the page",
        "There is one page.",
        frozenset(("status", "reason", "body", "headers")),
        lambda record: record.path == "/",
        is_status(200),
    ),
    Deviation(
        "`/rc`, `/v2/ui` and below",
        "a redirect, a page",
        "404",
        "The path of the predecessor is not supported, and there is only one page, at `/`.",
        frozenset(("status", "reason", "body", "headers")),
        lambda record: record.path.startswith(PAGES),
        is_status(404),
    ),
    Deviation(
        "`/_info` and below",
        "the name and version of EventStreams",
        "those of Headwater",
        "The service identifies itself as Headwater.",
        frozenset(("body",)),
        lambda record: record.path.startswith("/_info"),
        lambda record, ours: ours.status == record.status,
    ),
)
# Headers that differ in every response that is otherwise the same: name → what differs, and why.
HEADERS = {
    "content-security-policy": ("value", "One policy for the whole service: the intake's, which is stricter."),
    "x-content-security-policy": ("absent", "No browser has used it for ten years."),
    "x-webkit-csp": ("absent", "No browser has used it for ten years."),
    "connection": ("absent", "Only sent on streams; elsewhere `keep-alive` is the default of HTTP/1.1."),
}
