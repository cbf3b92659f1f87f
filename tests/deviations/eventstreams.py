"""How streams are answered otherwise than by EventStreams; every rule that applies to a request counts."""

from __future__ import annotations

import json
from typing import Any

from deviations.rule import Deviation, Record

PAGES = ("/v2/ui", "/rc")


def is_stream(record: Record) -> bool:
    """Whether the recording shows a stream that went on until its client left."""
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
        "a stream over SSE begins",
        "`:ok`",
        "`:ok`, then how long to wait before connecting again, and no empty line",
        "Lenient readers take whatever an empty line ends for a message.",
        frozenset(("opening",)),
        is_sse,
        is_status(200),
    ),
    Deviation(
        "an event over SSE has an `id`",
        "an array of positions, by time where there is only one topic",
        "a compact token, or the array form where the client resumed with one, asked for it (`?id=legacy`) or it is "
        "configured (`consumption.event_ids`), always with exact offsets and what tells the log from others; both are "
        "taken back, quoted or not, also without the latter",
        "A time is shared by many events, so that resuming there repeats some or misses some; the offset of a log that "
        "was replaced means another event.",
        frozenset(("ids",)),
        is_sse,
        is_status(200),
    ),
    Deviation(
        "events of a stream, over SSE or as lines of JSON",
        "canary events among them; keys as bytes",
        "no canary events unless they are asked for; keys as text",
        "Canary events are for those who watch the platform.",
        frozenset(("canaries", "keys")),
        is_stream,
        is_status(200),
    ),
    Deviation(
        "a client resumes at an offset that the log does not have",
        "it begins at the end without a word",
        "the same, after an event `position-lost` that says what happened",
        "Nothing is skipped in silence.",
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
        "200; topics of declared streams are made when the platform starts",
        "Where they do not exist all the same, the answer is as recorded.",
        frozenset(("status", "reason", "body", "headers")),
        lambda record: error(record).get("name") == "ConfigurationError",
        is_status(200),
    ),
    Deviation(
        "a declared stream without `topics`",
        "400",
        "200: it lives in the topic of its own name",
        "A declaration of a stream need not name what can be known.",
        frozenset(("status", "reason", "body", "headers")),
        lambda record: record.status == 400 and record.path.endswith("/no.topics"),
        is_status(200),
    ),
    Deviation(
        "a `Last-Event-ID` that is not JSON",
        "400, in the words of the JSON parser",
        "400, in the words of ours; a token of ours, or an array in quotes, is taken",
        "The sentence about what is wrong with the JSON is the parser's.",
        frozenset(("reason", "body", "headers")),
        lambda record: error(record).get("originalName") == "SyntaxError",
        is_status(400),
    ),
    Deviation(
        "an error before a stream begins",
        "JSON sent in chunks, without a content type",
        "the same body with `content-type` and `content-length`",
        "A JSON body says so, and its length is known.",
        frozenset(("headers",)),
        lambda record: bool(error(record)),
        always,
    ),
    Deviation(
        "`HEAD` on a stream",
        "never answered",
        "the status and headers of a `GET`",
        "HTTP asks for it.",
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
        "The predecessor's path is not kept, and there is one page, at `/`.",
        frozenset(("status", "reason", "body", "headers")),
        lambda record: record.path.startswith(PAGES),
        is_status(404),
    ),
    Deviation(
        "`/_info` and below",
        "the name and version of EventStreams",
        "those of Headwater",
        "We are not EventStreams, and say so.",
        frozenset(("body",)),
        lambda record: record.path.startswith("/_info"),
        lambda record, ours: ours.status == record.status,
    ),
)
# Headers that differ on every answer, which is otherwise the same: name → what differs, and why.
HEADERS = {
    "content-security-policy": ("value", "One policy for the whole service, which is the intake's stricter one."),
    "x-content-security-policy": ("absent", "No browser has read it for ten years."),
    "x-webkit-csp": ("absent", "No browser has read it for ten years."),
    "connection": ("absent", "Sent on streams only; elsewhere `keep-alive` is what HTTP/1.1 means without it."),
}
