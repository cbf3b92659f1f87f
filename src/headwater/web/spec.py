"""GET /?spec and /?doc: the HTTP interface described in OpenAPI 3, and as a page for people."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import headwater
from headwater.web.info import DESCRIPTION, JsonResponse
from headwater.web.pages import PAGE_HEADERS

JSON = "application/json"
PROBLEM = "application/problem+json"
_TEMPLATES = Environment(
    loader=PackageLoader("headwater.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)

_problem_schema: dict[str, Any] = {
    "type": "object",
    "required": ["status", "type", "title", "detail", "method", "uri"],
    "properties": {
        "status": {"type": "integer", "description": "The HTTP status."},
        "type": {"type": "string", "description": "A stable code; docs/reference/errors.md lists them."},
        "title": {"type": "string"},
        "detail": {"type": "string", "description": "What went wrong with this request."},
        "hint": {"type": "string", "description": "What to do about it."},
        "method": {"type": "string"},
        "uri": {"type": "string"},
    },
}
_not_accepted = {
    "type": "object",
    "required": ["status", "event", "context"],
    "properties": {
        "status": {"type": "string", "enum": ["invalid", "error"]},
        "event": {"description": "The event as it stood, automatic fields and defaults filled in."},
        "context": {"type": "object", "description": "`errors` and `errorsText`, or `message`."},
    },
}
_outcome_schema: dict[str, Any] = {
    "type": "object",
    "required": ["invalid"],
    "properties": {
        "invalid": {"type": "array", "items": _not_accepted, "description": "Events that break their schema."},
        "error": {"type": "array", "items": _not_accepted, "description": "Events not accepted for another reason."},
    },
}
_dry_run_schema: dict[str, Any] = {
    "type": "object",
    "required": ["dry_run", "events"],
    "properties": {
        "dry_run": {"type": "boolean"},
        "events": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["verdict"],
                "properties": {"verdict": {"type": "string", "enum": ["accepted", "refused"]}},
            },
        },
    },
}


def specification(platform: Any) -> dict[str, Any]:
    """The OpenAPI document of a platform."""
    config = platform.config
    paths: dict[str, Any] = {
        "/v1/events": {"post": _post_events("Take events", "postEvents")},
        "/v2/events": {"post": _post_events("Take events (the same under the newer path)", "postEventsV2")},
        "/v2/stream/{streams}": {"get": _stream([stream.name for stream in platform.streams.all()])},
        "/": {"get": _root()},
        "/_info": {"get": _get("Name, version, description and home of the service", "info")},
        "/_info/name": {"get": _get("The service's name", "infoName")},
        "/_info/version": {"get": _get("The service's version", "infoVersion")},
        "/robots.txt": {"get": _get("What crawlers may do: nothing", "robots", "text/plain")},
        "/healthz": {"get": _get("Whether the process lives", "healthz")},
        "/readyz": {"get": _get("Whether requests can be served", "readyz", also={"503": "Not now"})},
        "/metrics": {"get": _get("Counters for Prometheus", "metrics", "text/plain")},
    }
    paths["/w/api.php"] = {"get": _streamconfigs()}
    if config.intake.test_events:
        operation = _get("Run the configured test events", "testEvents")
        operation["responses"] = _events_responses()
        operation["parameters"] = [_query("hasty", "Answer before the events are judged and stored.")]
        paths["/v1/_test/events"] = {"get": operation}
    if config.streams.enforce:
        paths["/v1/stream-configs"] = {"get": _get("Settings of all streams, by name", "streamConfigs")}
        some = _get("Settings of some streams; unknown names are left out", "someStreamConfigs")
        named = {"type": "string", "pattern": "^[A-Za-z0-9._,|-]+$"}
        some["parameters"] = [_path("names", "Stream names, separated by commas or |.", named)]
        some["responses"]["404"] = {"description": "No such path", "content": {"text/html": {"schema": {}}}}
        paths["/v1/stream-configs/{names}"] = {"get": some}
    return {
        "openapi": "3.0.3",
        "info": {
            "title": config.intake.service_name,
            "version": headwater.__version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": {"problem": _problem_schema, "outcome": _outcome_schema, "dry_run": _dry_run_schema}},
    }


async def spec(request: Request) -> Response:
    return JsonResponse(specification(request.app.state.platform))


async def doc(request: Request) -> Response:
    """The specification as a page for people; without assets of its own, so nothing is served under `path`."""
    asset = request.query_params.get("path")
    if asset is not None:
        uri = f"{request.url.path}?{request.url.query}"
        problem = {
            "status": 404,
            "type": "not_found",
            "title": "File not found",
            "detail": f"{asset} could not be found.",
            "method": request.method,
            "uri": uri,
        }
        return JsonResponse(problem, status_code=404)
    platform = request.app.state.platform
    content = _TEMPLATES.get_template("api.html").render(
        title=platform.config.intake.service_name,
        version=headwater.__version__,
        description=DESCRIPTION,
        paths=specification(platform)["paths"],
    )
    return HTMLResponse(content, headers=PAGE_HEADERS)


def _post_events(summary: str, operation_id: str) -> dict[str, Any]:
    event = {
        "type": "object",
        "minProperties": 1,
        "description": "An event: `$schema`, `meta.stream`, and what its schema asks for.",
    }
    body = {"oneOf": [event, {"type": "array", "items": event, "minItems": 1}]}
    return {
        "summary": summary,
        "operationId": operation_id,
        "parameters": [
            _query("hasty", "Answer before the events are judged and stored."),
            _query("dry_run", "Say what would happen and where the events would go; store nothing."),
        ],
        "requestBody": {"required": True, "content": {JSON: {"schema": body}, "text/plain": {"schema": body}}},
        "responses": {**_events_responses(), "200": _response("What would happen (dry_run)", JSON, "dry_run")},
    }


def _events_responses() -> dict[str, Any]:
    refused = _response(
        "No event was accepted, or the body is not JSON, or is empty (then without content)", JSON, "outcome"
    )
    refused["content"][PROBLEM] = {"schema": {"$ref": "#/components/schemas/problem"}}
    ours = {"description": "Valid, and not stored: send it again after Retry-After"}
    both = {JSON: {"schema": {"$ref": "#/components/schemas/outcome"}}, PROBLEM: _problem_content()}
    return {
        "201": {"description": "All events are durable"},
        "202": {"description": "Received hastily, not judged yet"},
        "207": _response("Some events are durable, the others are listed", JSON, "outcome"),
        "400": refused,
        "413": _response("The body, or the number of events, is over the limit", PROBLEM, "problem"),
        "415": _response("Not JSON, or an unknown charset or content encoding", PROBLEM, "problem"),
        "503": {**ours, "content": both},
        "507": {"description": "The disk is full; nothing was stored", "content": both},
    }


def _stream(names: list[str]) -> dict[str, Any]:
    streams = {"type": "string", "description": f"One of, or several separated by commas: {', '.join(names)}"}
    operation = _get("Events as they happen, as server-sent events or NDJSON", "stream", "text/event-stream")
    operation["parameters"] = [
        _path("streams", "Stream names, separated by commas.", streams),
        {
            "name": "since",
            "in": "query",
            "description": "Start at this time (ISO 8601 or epoch) instead of now.",
            "schema": {"type": "string"},
        },
    ]
    for status, description in (("400", "Bad request"), ("404", "No such stream"), ("429", "Too many connections")):
        operation["responses"][status] = _response(description, PROBLEM, "problem")
    # It never ends, so tools that try out every path must leave it alone.
    operation["x-monitor"] = False
    return operation


def _root() -> dict[str, Any]:
    operation = _get("The page; with ?spec this document, with ?doc the same for people", "root", "text/html")
    operation["responses"]["200"]["content"][JSON] = {"schema": {"type": "object"}}
    operation["x-amples"] = [
        {"title": "spec from root", "request": {"query": {"spec": True}}, "response": {"status": 200}},
        {"title": "doc from root", "request": {"query": {"doc": True}}, "response": {"status": 200}},
    ]
    return operation


def _get(summary: str, operation_id: str, media_type: str = JSON, also: dict[str, str] | None = None) -> dict[str, Any]:
    schema = {"type": "object"} if media_type == JSON else {"type": "string"}
    responses: dict[str, Any] = {"200": {"description": "Success", "content": {media_type: {"schema": schema}}}}
    for status, description in (also or {}).items():
        responses[status] = {"description": description, "content": {media_type: {"schema": schema}}}
    return {"summary": summary, "operationId": operation_id, "responses": responses}


def _streamconfigs() -> dict[str, Any]:
    operation = _get("Stream configuration as MediaWiki's API answers it", "streamconfigs")
    content = operation["responses"]["200"]["content"]
    content |= {media: {"schema": {"type": "string"}} for media in ("text/html", "text/javascript")}
    several = "several separated by |"
    described = {
        "action": "`streamconfigs`.",
        "streams": f"Names, {several}; all where it is absent.",
        "constraints": f"Settings the streams must have, such as `sample[unit]=session`; {several}.",
        "format": "`json`, for errors: they are pages otherwise. They are answered with 200 too.",
        "formatversion": "`2` or `latest`.",
        "callback": "The name of a JavaScript function to call with the answer.",
    }
    operation["parameters"] = [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in described.items()
    ]
    operation["parameters"][0] |= {"required": True, "schema": {"type": "string", "enum": ["streamconfigs"]}}
    return operation


def _response(description: str, media_type: str, schema: str) -> dict[str, Any]:
    content = {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _problem_content() -> dict[str, Any]:
    return {"schema": {"$ref": "#/components/schemas/problem"}}


def _query(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "boolean"}}


def _path(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}
