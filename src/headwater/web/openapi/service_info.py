"""The OpenAPI description of the service itself: identity, health, descriptions and clients."""

from __future__ import annotations

from headwater.web import asyncapi
from headwater.web.openapi.parts import HTML, JSON, TEXT, answer, header, needing_key, operation, path, problems, query
from headwater.web.openapi.value_schemas import Node, anything, array_of, integer, one_of, record, ref, text

TAG = "The service"
DESCRIPTIONS_TAG = "Descriptions and clients"


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    facts = {"name": text(), "version": text(), "description": text(), "home": text("URL of the documentation.")}
    return {
        "facts": record(facts),
        "readiness": record(
            {
                "status": one_of(
                    ("ok", "degraded"), "Degraded: some jobs or topics have errors; everything else is served."
                ),
                "topics": integer("Number of topics in the log."),
                "jobs": array_of(
                    record(
                        {"name": text(), "reason": text(), "errors": array_of(ref("errorGroup"), "By cause.")},
                        optional=("errors",),
                    ),
                    "The failing jobs.",
                ),
                "log": array_of(text(), "What the log cannot do for some topics."),
            },
            optional=("topics", "jobs", "log"),
        ),
        "errorGroup": record(
            {
                "group": text("Identifies the cause."),
                "error_type": text("The class of the cause."),
                "count": integer("How many events failed since the server started."),
                "first": text("When the first one failed."),
                "last": text("When the last one failed."),
                "message": text("Of the last one."),
                "redrive": text("The command that lets the job process them again.", nullable=True),
                "details": text("The path of the last of them, if the client may read it.", nullable=True),
            }
        ),
        "unreadiness": record(
            {"status": one_of(("unavailable",)), "reason": text("The kind of error.")}, optional=("reason",)
        ),
        "asyncapi": record(
            {
                "asyncapi": one_of(("3.0.0",)),
                "info": record({"title": text(), "version": text()}),
                "channels": anything("The server on which events are sent and read."),
                "operations": anything("The operations."),
                "components": anything("Messages and schemas."),
            }
        ),
        "problem": _problem(),
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    alive = record({"status": one_of(("ok",))})
    ready = {**_get("readyz", "Whether requests can be served", {JSON: ref("readiness")})}
    ready["responses"]["503"] = answer("Not at the moment", {JSON: ref("unreadiness")})
    home = operation(
        "infoHome", TAG, "Redirect to the documentation", {"301": answer("Moved", headers={"location": "Where."})}
    )
    found = {
        "/": _root(),
        "/_info": _get("info", "Name, version, description and home of the service", {JSON: ref("facts")}),
        "/_info/name": _get("infoName", "The service's name", {JSON: record({"name": text()})}),
        "/_info/version": _get("infoVersion", "The service's version", {JSON: record({"version": text()})}),
        "/_info/home": home,
        "/robots.txt": _get("robots", "Rules for crawlers: nothing is allowed", {TEXT: text()}),
        "/healthz": _get("healthz", "Whether the process is alive", {JSON: alive}),
        "/readyz": ready,
        "/metrics": _get("metrics", "Metrics for Prometheus", {TEXT: text()}),
        "/asyncapi.json": _asyncapi("asyncapi", "The streams as AsyncAPI 3", []),
        "/asyncapi/{name}.json": _asyncapi("asyncapiStream", "One stream as AsyncAPI 3", [path("name", "The stream.")]),
        "/clients/{name}": _client(),
    }
    return {address: {"get": described} for address, described in found.items()}


def _root() -> Node:
    summary = "The page; with ?spec this document, with ?doc the document as a page"
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
            "304": answer("Not modified"),
            **problems({"404": "Unknown stream or audience"}),
        },
        description="Without private streams. `internal` adds topics, producers and consumers, and needs a key.",
        parameters=[
            *parameters,
            query("audience", "The audience.", audience),
            header("If-None-Match", "The ETag of the client's copy."),
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
            "304": answer("Not modified"),
            "404": answer("Unknown file"),
        },
        parameters=[
            path("name", "The file.", one_of(("headwater.js", "headwater.d.ts"))),
            header("If-None-Match", "The ETag of the client's copy."),
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
