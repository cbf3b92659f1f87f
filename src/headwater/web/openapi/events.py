"""The OpenAPI description of events: sending them, and reading them as they happen."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.web.openapi.parts import (
    EVENT_STREAM,
    JSON,
    ONE_LINE,
    PROBLEM,
    TEXT,
    answer,
    content,
    header,
    operation,
    path,
    problems,
    query,
    unending,
)
from headwater.web.openapi.value_schemas import Node, anything, array_of, boolean, integer, one_of, record, ref, text

TAG = "Events"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"
REPORTS = "application/reports+json"
NDJSON = "application/x-ndjson"
IDS = ("token", "legacy")
# The number of streams listed in the description: a list of thousands would not help.
NAMED_MAX = 50

_CLOUD_HEADERS = {
    "ce-id": "becomes `meta.id`",
    "ce-source": "becomes `meta.uri`",
    "ce-type": "names the stream if nothing else does",
    "ce-subject": "the stream, if `meta.stream` is absent",
    "ce-time": "becomes `dt`",
    "ce-dataschema": "becomes `$schema`",
}


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    return {
        "event": {
            "type": "object",
            "minProperties": 1,
            "description": "An event: `$schema`, `meta.stream`, and the fields of its schema.",
        },
        "cloud_event": _cloud_event(),
        "not_accepted": record(
            {
                "status": one_of(("invalid", "error")),
                "event": {"description": "The event when it was refused, with automatic fields and defaults."},
                "context": anything("`errors` and `errorsText`, or `message`."),
            }
        ),
        "outcome": record(
            {
                "invalid": array_of(ref("not_accepted"), "Events that do not conform to their schema."),
                "error": array_of(ref("not_accepted"), "Events that were not accepted for another reason."),
            },
            optional=("error",),
        ),
        "dry_run": record({"dry_run": boolean(), "events": array_of(_explained(), "One for each event, in order.")}),
        "refused_stream": record(
            {
                "status": integer("The HTTP status."),
                "type": text("`not_found`, `invalid_timestamp`, `bad_request`, `too_many_requests`."),
                "title": text(),
                "detail": text(),
                "method": text(),
                "uri": text(),
            }
        ),
        "refused_position": record(
            {
                "message": text(),
                "origin": one_of(("KafkaSSE",)),
                "name": one_of(("InvalidAssignmentError", "TopicNotAvailableError", "ConfigurationError")),
                "statusCode": integer("The HTTP status."),
            }
        ),
    }


def paths(streams: Sequence[str], *, has_test_events: bool) -> dict[str, Node]:
    """Path → operations."""
    found = {
        "/v1/events": {"post": _post("postEvents", "Send events")},
        "/v2/events": {"post": _post("postEventsV2", "Send events (the same under the newer path)")},
        "/v1/webhooks/{name}": {"post": _webhook()},
        "/v2/stream/{streams}": {"get": _stream(streams)},
    }
    if has_test_events:
        tested = operation("testEvents", TAG, "Run the configured test events", _outcomes(), parameters=[_hasty()])
        found["/v1/_test/events"] = {"get": tested}
    return found


def _post(operation_id: str, summary: str) -> Node:
    events: Node = {"oneOf": [ref("event"), {"type": "array", "items": ref("event"), "minItems": 1}]}
    dry_run = query("dry_run", "Report what would happen and where the events would go; store nothing.", boolean())
    version = header(
        "ce-specversion", "`1.0`: the body is the data of one CloudEvent in binary form.", one_of(("1.0",))
    )
    attributes = [
        header(name, f"Attribute of a CloudEvent in binary form: {description}.")
        for name, description in _CLOUD_HEADERS.items()
    ]
    body = {
        **dict.fromkeys((JSON, TEXT, REPORTS), events),
        CLOUD_EVENT: ref("cloud_event"),
        CLOUD_EVENTS: array_of(ref("cloud_event")),
    }
    return operation(
        operation_id,
        TAG,
        summary,
        {**_outcomes(), "200": answer("What would happen (dry_run)", {JSON: ref("dry_run")})},
        description="One event or an array of them, as JSON or as CloudEvents 1.0. The response follows when they are "
        "durable. `Content-Encoding` may be `gzip` or `deflate`; the charset UTF-8, UTF-16 or UTF-32. The path is not "
        "case-sensitive and may end with a slash.",
        parameters=[_hasty(), dry_run, version, *attributes],
        requestBody={"required": True, "content": content(body)},
    )


def _webhook() -> Node:
    body = {"description": "JSON, as the service writes it; the source says where its events are."}
    refused = {"401": "Not signed as the source demands, or too old", "404": "There is no webhook of this name"}
    return operation(
        "postToWebhook",
        TAG,
        "Send what a service reports",
        {**{code: one for code, one in _outcomes().items() if code != "202"}, **problems(refused)},
        description="The events of a source with `connector: webhook`. The signature of the request is checked by the "
        "rules of the source; the response follows when the events are durable. `Content-Encoding` may be `gzip` or "
        "`deflate`.",
        parameters=[path("name", "The name of the source.")],
        requestBody={"required": True, "content": content({JSON: body})},
    )


def _hasty() -> Node:
    return query("hasty", "Respond before the events are validated and stored.", boolean())


def _outcomes() -> dict[str, Node]:
    both = {JSON: ref("outcome"), PROBLEM: ref("problem")}
    later = {"retry-after": "Seconds to wait."}
    return {
        "201": answer("All events are durable"),
        "202": answer("Received, not validated or stored yet (`hasty`)"),
        "207": answer("Some events are durable, the others are listed", {JSON: ref("outcome")}),
        "400": answer("No event was accepted, or the body is not JSON, or is empty (then without content)", both),
        **problems(
            {
                "413": "The body, or the number of events, is over the limit",
                "415": "Not JSON, or an unsupported charset or content encoding",
            }
        ),
        "503": answer("Valid, but not stored: retry after Retry-After", both, later),
        "507": answer("The disk is full; nothing was stored", both, later),
    }


def _explained() -> Node:
    return record(
        {
            "verdict": one_of(("accepted", "refused")),
            "stream": text("The stream that the event names.", nullable=True),
            "event": {"description": "The event as it would be stored, or when it was refused."},
            "topic": text("The topic it would be stored in.", nullable=True),
            "key": text("The key of its record.", nullable=True),
            "filled": anything("The fields that would be added, with their values."),
            "code": text("Why it is refused: one of the error codes."),
            "reason": text("The reason in a sentence."),
            "violations": array_of(
                record({"pointer": text(), "keyword": text(), "schema_pointer": text(), "message": text()})
            ),
        },
        optional=("topic", "key", "filled", "code", "reason", "violations"),
    )


def _cloud_event() -> Node:
    return record(
        {
            "specversion": one_of(("1.0",)),
            "id": text("`meta.id`", minLength=1),
            "source": text("`meta.uri`", minLength=1),
            "type": text("The title of the schema, or the producer's own name for the type.", minLength=1),
            "subject": text("The stream, if `data.meta.stream` is absent."),
            "time": text("`dt`"),
            "dataschema": text("The URL of the schema: `$schema`."),
            "datacontenttype": text("`application/json`"),
            "data": anything("The event."),
            "data_base64": text("The event in base64, instead of `data`."),
        },
        optional=("subject", "time", "dataschema", "datacontenttype", "data", "data_base64"),
    )


def _stream(names: Sequence[str]) -> Node:
    given = ", ".join(names[:NAMED_MAX]) + (" …" if len(names) > NAMED_MAX else "")
    streams = text(f"One of, or several separated by commas: {given}", minLength=1, pattern=ONE_LINE)
    resume = "Start after this `id` of an event; for clients that cannot set the header `Last-Event-ID`."
    lines = text("An empty line, then one event per line; empty lines are heartbeats.")
    delivered = {
        EVENT_STREAM: text("`:ok`, then server-sent events: `message`, `position-lost`, `error`, and comments."),
        JSON: lines,
        NDJSON: lines,
    }
    refused = {JSON: {"anyOf": [ref("refused_stream"), ref("refused_position")]}, PROBLEM: ref("problem")}
    described = operation(
        "stream",
        TAG,
        "Events as they happen, as server-sent events or NDJSON",
        {
            "200": answer("Events, until the client disconnects", delivered),
            "400": answer("No such stream, or an invalid position, time or filter", refused),
            "404": answer("The position is of topics that these streams do not have", {JSON: ref("refused_position")}),
            "429": answer("Too many connections", {JSON: ref("refused_stream")}, {"retry-after": "Seconds to wait."}),
            "500": answer("None of the topics exists", {JSON: ref("refused_position")}),
            **problems({"415": "Unknown `format`", "503": "The log cannot be read now"}),
        },
        description="The response does not end by itself. It starts at `Last-Event-ID`, else at `since`, else now. "
        "It is NDJSON instead of server-sent events if `Accept` begins with `application/json`, "
        f"`application/x-ndjson` or `{CLOUD_EVENT}`. `HEAD` answers with the headers.",
        parameters=[
            path("streams", "Stream names, separated by commas.", streams),
            query("since", "Start at this time (ISO 8601, RFC 2822 or epoch) instead of now, by the time of receipt."),
            header("Last-Event-ID", "Start after this `id` of an event. Browsers send it when they reconnect."),
            query("last_event_id", resume),
            query("lastEventId", resume),
            query(
                "positions",
                "Also send positions without an event, in blocks without data, which some readers treat as messages.",
                boolean(),
            ),
            query("id", "The format of ids: `legacy` is the JSON array of EventStreams.", one_of(IDS)),
            query(
                "heartbeat",
                "Seconds of silence after which a comment is sent, within the configured limits.",
                {"type": "number", "minimum": 0, "maximum": 999_999_999},
            ),
            query("filter", 'Only events for which this expression is true, such as `wiki == "enwiki" and not bot`.'),
            query("canaries", "Include canary events.", boolean()),
            query("format", "`cloudevents`: each event as a CloudEvent 1.0.", one_of(("cloudevents",))),
        ],
    )
    # It never ends, so tools that try out every path must skip it.
    return unending(described)
