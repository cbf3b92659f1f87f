"""How the intake answers otherwise than EventGate, over HTTP: the first rule that applies to a request says it all."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from deviations.rule import Answered, Deviation, Record, messages_of

STATUS, WHOLE = frozenset(("status",)), frozenset(("status", "reason", "body"))
MOCK_STREAM = re.compile(r"__throw_\w+__")
OWN_SENTENCES = re.compile(r"Failed loading schema at |Field\(s\) .* were missing|Event of schema|.* is not configured")
JSON_TYPES = ("application/json", "text/plain")
# What the platform serves where EventGate has nothing.
OWN_PATHS = (
    *("/metrics", "/healthz", "/readyz", "/static", "/clients", "/schemas", "/subjects", "/config", "/mode"),
    *("/repositories", "/asyncapi", "/asyncapi.json", "/monitoring", "/w/api.php", "/api.php", "/v2/stream"),
    *("/v1/streams", "/v1/stream-changes", "/v1/completeness", "/v1/canaries", "/v1/reconciliation"),
)
INTAKES = ("/v1/events", "/v2/events")
# Those of every answer.
STANDING_HEADERS = (
    "access-control-allow-origin",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-allow-methods",
    "x-xss-protection",
    "x-content-type-options",
    "x-frame-options",
    "content-security-policy",
)


def schema_uris(record: Record) -> list[str]:
    """The schema URIs that events name; those of another field than `$schema` count where a service reads it."""
    found = []
    for event in record.events:
        meta = event.get("meta")
        for value in (event.get("$schema"), meta.get("schema_uri") if isinstance(meta, Mapping) else None):
            if isinstance(value, str):
                found.append(value)
                break
    return found


def is_absolute(uri: str) -> bool:
    return "://" in uri or uri.startswith(("//", "file:"))


def climbs(uri: str) -> bool:
    return ".." in re.split(r"[/\\]|%2[fF]", uri.replace("%2e", ".").replace("%2E", "."))


def has_no_stream(event: Mapping[str, Any]) -> bool:
    meta = event.get("meta")
    return not isinstance(meta, Mapping) or not meta.get("stream")


def has_impossible_day(event: Mapping[str, Any]) -> bool:
    """Whether a time of the event is on a day of no calendar, which JavaScript takes for one of the next month."""
    meta = event.get("meta")
    for text in (event.get("dt"), meta.get("dt") if isinstance(meta, Mapping) else None):
        found = re.match(r"(\d{4})-(\d\d)-(\d\d)T", text) if isinstance(text, str) else None
        if found and 1 <= int(found[2]) <= 12 and int(found[3]) <= 31:
            try:
                datetime.date(int(found[1]), int(found[2]), int(found[3]))
            except ValueError:
                return True
    return False


def is_json_type(record: Record) -> bool:
    media_type = record.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type in JSON_TYPES or media_type.startswith("application/cloudevents")


def is_refused(_: Record, ours: Answered) -> bool:
    return ours.status in (400, 207)


def is_status(*statuses: int) -> Any:
    return lambda _, ours: ours.status in statuses


def names_mock_stream(record: Record) -> bool:
    return any(
        isinstance(event.get("meta"), Mapping) and MOCK_STREAM.fullmatch(str(event["meta"].get("stream")))
        for event in record.events
    )


def tells_internals(record: Record) -> bool:
    """Whether the original gives the text of an error inside it, instead of one of its own sentences."""
    return any(not OWN_SENTENCES.match(text) for text in record.messages)


RULES = (
    Deviation(
        "a request that needs no body (a GET, an unknown path) has one that is not JSON",
        "500",
        "the response without the body",
        "A body is only read if it is needed.",
        frozenset(("status", "reason", "body", "headers", "type")),
        lambda record: record.title == "SyntaxError" and (record.method == "GET" or record.path not in INTAKES),
        is_status(200, 301, 302, 404),
    ),
    Deviation(
        "the percent-encoding of the path is invalid",
        "500",
        "404, with the headers of every response",
        "An unknown path is a 404, whatever its spelling.",
        frozenset(("status", "reason", "body", "headers", "type")),
        lambda record: record.title == "URIError",
        is_status(404),
    ),
    Deviation(
        "`/_info` and below",
        "the name and version of EventGate",
        "those of Headwater",
        "The service identifies itself as Headwater.",
        frozenset(("body",)),
        lambda record: record.path.startswith("/_info") and record.status < 400,
        lambda record, ours: ours.status == record.status,
    ),
    Deviation(
        "`GET /` without `?spec` or `?doc`",
        "404",
        "200, the page, not for pages of other origins",
        "`/?spec` and `/?doc` are as recorded.",
        frozenset(("status", "reason", "body", "headers", "type")),
        lambda record: record.path == "/" and record.status == 404 and not {"spec", "doc"} & record.query.keys(),
        is_status(200),
    ),
    Deviation(
        "`/v2/events`",
        "404",
        "the intake",
        "The newer native interface has its own path.",
        frozenset(("status", "reason", "body", "headers", "type")),
        lambda record: record.path.startswith("/v2/events") and record.status == 404,
        lambda _, ours: ours.status < 500,
    ),
    Deviation(
        "another path that the platform serves (`/metrics`, `/static/…`, `/schemas`, …)",
        "404, a page",
        "the resource, or a 404 in the format of the path; without CORS headers if it is the platform's own",
        "The platform is more than an intake.",
        frozenset(("status", "reason", "body", "headers", "type")),
        lambda record: record.status == 404 and record.path.startswith(OWN_PATHS),
        lambda _, ours: ours.status < 500,
    ),
    Deviation(
        "an event for one of the streams at which the mock producer of the recording fails",
        "simulated failures",
        "the event is stored",
        "The log is real; the effects of its failures are tested with real ones (see below).",
        WHOLE,
        names_mock_stream,
        is_status(201, 202, 207),
    ),
    Deviation(
        "malformed JSON, or a body that is neither an object nor an array",
        "500",
        "400, a problem document whose `detail` describes the error; events that can be separated are stored",
        "It is the producer's fault.",
        WHOLE,
        lambda record: record.title == "SyntaxError",
        is_refused,
    ),
    Deviation(
        "a body with damaged compression",
        "500",
        "400",
        "It is the producer's fault.",
        WHOLE,
        lambda record: (
            record.status == 500
            and record.headers.get("content-encoding", "").lower() in ("gzip", "deflate", "x-gzip")
            and not record.refusals("error")
        ),
        is_status(400),
    ),
    Deviation(
        "a body over the limit",
        "500",
        "413, a problem document",
        "It is the producer's fault.",
        WHOLE,
        lambda record: record.title == "PayloadTooLargeError",
        is_status(413),
    ),
    Deviation(
        "an unsupported charset or content encoding",
        "500",
        "415, a problem document",
        "It is the producer's fault.",
        WHOLE,
        lambda record: record.title == "UnsupportedMediaTypeError",
        is_status(415),
    ),
    Deviation(
        "a body whose content type is not JSON, or missing",
        '400, "Request body was empty."',
        "415, a problem document",
        "The body is not empty.",
        WHOLE,
        lambda record: (
            record.path in INTAKES and bool(record.text) and record.status == 400 and not is_json_type(record)
        ),
        is_status(415),
    ),
    Deviation(
        "`hasty` with a false value (`false`, `0`, `no`, `off`)",
        '202, "hastily received"',
        "as without it",
        "`hasty` is a boolean.",
        WHOLE,
        lambda record: record.query.get("hasty", [""])[0].lower() in ("false", "0", "no", "off"),
        lambda _, ours: ours.status in (200, 201, 207, 400),
    ),
    Deviation(
        "a schema URI that is absolute or names a host or file, including a metaschema",
        "it is fetched from there",
        "400, a specific error; nothing is fetched",
        "An event must not determine where its schema comes from.",
        WHOLE,
        lambda record: any(is_absolute(uri) for uri in schema_uris(record)),
        lambda record, ours: (
            is_refused(record, ours) and any("absolute" in text or "host" in text for text in messages_of(ours))
        ),
    ),
    Deviation(
        "`..` in a schema URI",
        "files outside the repository are read",
        "400, an error",
        "No file outside a repository may be read.",
        WHOLE,
        lambda record: any(climbs(uri) for uri in schema_uris(record)),
        is_refused,
    ),
    Deviation(
        "a fragment (`#/…`) in a schema URI",
        "validated against that part of the schema",
        "400, an error",
        "A part of a schema is not a schema of events.",
        WHOLE,
        lambda record: any(uri.partition("#")[2] for uri in schema_uris(record)),
        is_refused,
    ),
    Deviation(
        "an event without a stream, if the service does not require one",
        "201",
        "400, an error",
        "Every event needs a stream, which selects its topic in the log.",
        WHOLE,
        lambda record: (
            record.status in (200, 201, 202, 207)
            and record.service == "default"
            and any(has_no_stream(event) for event in record.events)
        ),
        is_refused,
    ),
    Deviation(
        "the URI of an existing schema without its leading slash",
        "500 if the base URI has no trailing slash",
        "the schema is used",
        "A leading slash is optional with any base URI: `test/0.0.2` is `/test/0.0.2`.",
        WHOLE,
        lambda record: (
            bool(record.refusals("error"))
            and any(not uri.startswith("/") and f"/{uri}" in record.stored for uri in schema_uris(record))
        ),
        is_status(201, 202, 207, 400),
    ),
    Deviation(
        "a schema that is insecure only through a `$ref`",
        "the event is invalid",
        "400, an error",
        "An insecure schema is a fault of the schema, not of the event.",
        WHOLE,
        lambda record: any(
            str(violation.get("dataPath", "")).startswith(".properties[")
            for one in record.refusals("invalid")
            for violation in (one.get("context") or {}).get("errors") or ()
        ),
        is_refused,
    ),
    Deviation(
        "two schemas with the same `$id`",
        "500 for the one that is used second",
        "both work",
        "A schema is identified by its requested URI.",
        WHOLE,
        lambda record: any("already exists" in text for text in record.messages),
        is_status(201, 202, 207),
    ),
    Deviation(
        "an existing schema that cannot be used (insecure, unknown format, not YAML, invalid)",
        "500, with the text of an internal error, sometimes with paths of the server",
        "400, an error that describes the fault of the schema",
        "The producer chose the schema and needs the reason.",
        frozenset(("status", "body")),
        lambda record: (
            record.status in (500, 207)
            and (
                tells_internals(record)
                or any(
                    f"at {uri}" in text
                    for uri in schema_uris(record)
                    if uri in record.stored
                    for text in record.messages
                )
            )
        ),
        is_refused,
    ),
    Deviation(
        "no event of the request is accepted, and at least one for another fault of its producer",
        "500",
        "400, with the same lists",
        "A producer's fault is never 500, which means that a retry may succeed.",
        STATUS,
        lambda record: record.status == 500 and bool(record.refusals("error")),
        is_status(400),
    ),
)
