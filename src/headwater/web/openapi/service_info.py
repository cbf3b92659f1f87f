"""What the OpenAPI document says of the service itself: who it is, how it is, its descriptions and its clients."""

from __future__ import annotations

from headwater.web import asyncapi
from headwater.web.openapi.parts import HTML, JSON, TEXT, answer, header, needing_key, operation, path, problems, query
from headwater.web.openapi.value_schemas import Node, anything, array_of, integer, one_of, record, ref, text

TAG = "The service"
DESCRIPTIONS_TAG = "Descriptions and clients"


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    facts = {"name": text(), "version": text(), "description": text(), "home": text("Where the documentation is.")}
    return {
        "facts": record(facts),
        "readiness": record(
            {
                "status": one_of(
                    ("ok", "degraded"), "Degraded: jobs or some topics are in trouble; all else is served."
                ),
                "topics": integer("How many topics the log has."),
                "jobs": array_of(record({"name": text(), "reason": text()}), "The jobs in trouble."),
                "log": array_of(text(), "What the log cannot do for some topics."),
            },
            optional=("jobs", "log"),
        ),
        "unreadiness": record({"status": one_of(("unavailable",)), "reason": text("The kind of error.")}),
        "asyncapi": record(
            {
                "asyncapi": one_of(("3.0.0",)),
                "info": record({"title": text(), "version": text()}),
                "channels": anything("Where events are sent and read."),
                "operations": anything("Who does what there."),
                "components": anything("Messages and schemas."),
            }
        ),
        "problem": _problem(),
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    alive = record({"status": one_of(("ok",))})
    ready = {**_get("readyz", "Whether requests can be served", {JSON: ref("readiness")})}
    ready["responses"]["503"] = answer("Not now", {JSON: ref("unreadiness")})
    home = operation("infoHome", TAG, "To the documentation", {"301": answer("Moved", headers={"location": "Where."})})
    found = {
        "/": _root(),
        "/_info": _get("info", "Name, version, description and home of the service", {JSON: ref("facts")}),
        "/_info/name": _get("infoName", "The service's name", {JSON: record({"name": text()})}),
        "/_info/version": _get("infoVersion", "The service's version", {JSON: record({"version": text()})}),
        "/_info/home": home,
        "/robots.txt": _get("robots", "What crawlers may do: nothing", {TEXT: text()}),
        "/healthz": _get("healthz", "Whether the process lives", {JSON: alive}),
        "/readyz": ready,
        "/metrics": _get("metrics", "Counters for Prometheus", {TEXT: text()}),
        "/asyncapi.json": _asyncapi("asyncapi", "The streams as AsyncAPI 3", []),
        "/asyncapi/{name}.json": _asyncapi("asyncapiStream", "One stream as AsyncAPI 3", [path("name", "The stream.")]),
        "/clients/{name}": _client(),
    }
    return {address: {"get": described} for address, described in found.items()}


def _root() -> Node:
    summary = "The page; with ?spec this document, with ?doc the same for people"
    described = _get("root", summary, {HTML: text()})
    described["responses"]["200"]["content"][JSON] = {"schema": {"type": "object"}}
    described["x-amples"] = [
        {"title": "spec from root", "request": {"query": {"spec": True}}, "response": {"status": 200}},
        {"title": "doc from root", "request": {"query": {"doc": True}}, "response": {"status": 200}},
    ]
    return described


def _get(operation_id: str, summary: str, schemas: dict[str, Node]) -> Node:
    return operation(operation_id, TAG, summary, {"200": answer("Success", schemas)})


def _asyncapi(operation_id: str, summary: str, parameters: list[Node]) -> Node:
    audience = {**one_of(asyncapi.AUDIENCES), "default": "public"}
    described = operation(
        operation_id,
        DESCRIPTIONS_TAG,
        summary,
        {
            "200": answer("The document", {asyncapi.MEDIA_TYPE.partition(";")[0]: ref("asyncapi")}),
            "304": answer("The client has this already"),
            **problems({"404": "There is no such stream or audience"}),
        },
        description="Without private streams. `internal` also names topics, producers and consumers, and needs a key.",
        parameters=[
            *parameters,
            query("audience", "Who asks.", audience),
            header("If-None-Match", "The ETag of what the client has."),
        ],
    )
    return needing_key(described, "streams:read", always=False)


def _client() -> Node:
    return operation(
        "browserClient",
        DESCRIPTIONS_TAG,
        "The producer for web pages",
        {
            "200": answer("The file", {"text/javascript": text(), TEXT: text("The types, for TypeScript.")}),
            "304": answer("The client has this already"),
            "404": answer("There is no such file"),
        },
        parameters=[
            path("name", "The file.", one_of(("headwater.js", "headwater.d.ts"))),
            header("If-None-Match", "The ETag of what the client has."),
        ],
    )


def _problem() -> Node:
    return record(
        {
            "status": integer("The HTTP status."),
            "type": text("A stable code; docs/reference/errors.md lists them."),
            "title": text(),
            "detail": text("What went wrong with this request."),
            "hint": text("What to do about it."),
            "method": text(),
            "uri": text(),
        },
        optional=("hint",),
    )
