"""GET /?spec and /?doc: the HTTP interface described in OpenAPI 3, and as a page for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import headwater
from headwater.catalog.asyncapi import exportable
from headwater.served_tables.declared import ServedTable
from headwater.streams.seen import SeenStreams
from headwater.streams.visibility import Sight
from headwater.web.info import DESCRIPTION, JsonResponse
from headwater.web.openapi import events as spec_events
from headwater.web.openapi import failures as spec_failures
from headwater.web.openapi import jobs as spec_jobs
from headwater.web.openapi import monitoring as spec_monitoring
from headwater.web.openapi import registry as spec_registry
from headwater.web.openapi import schemas as spec_schemas
from headwater.web.openapi import served_tables as spec_served
from headwater.web.openapi import service_info as spec_service
from headwater.web.openapi import streams as spec_streams
from headwater.web.openapi import tables as spec_tables
from headwater.web.openapi.examples import with_amples
from headwater.web.openapi.page import render
from headwater.web.openapi.parts import API_KEY
from headwater.web.openapi.value_schemas import Node
from headwater.web.pages.page import PAGE_HEADERS
from headwater.web.problems import request_uri
from headwater.web.schemas.repository_index import RepositoryIndexes
from headwater.web.served.permission import visible
from headwater.web.sight import seen

# In the order of the page.
TAGS = {
    spec_events.TAG: "Send events, and read them as they happen.",
    spec_streams.TAG: "The declared streams, as each audience sees them, once or live.",
    spec_streams.CHANGES_TAG: "Rules that override the stream files at run time, with their history.",
    spec_streams.LEGACY_TAG: "The same streams for clients of MediaWiki's and EventGate's interfaces.",
    spec_tables.TAG: "Materialized tables: the newest row of each key of a stream.",
    spec_served.TAG: "Rows of the tables that the project serves, by parameters and by key.",
    spec_jobs.TAG: "How the jobs of the platform are; pause, resume, reset and rewind them.",
    spec_failures.TAG: "Events that jobs could not process: their causes, and how to have them processed again.",
    spec_monitoring.TAG: "Whether events arrive, whether hours are complete, and whether the counts agree.",
    spec_schemas.TAG: "The schema repositories: directories, versions, search.",
    spec_registry.TAG: "The schemas for clients of Confluent's schema registry.",
    spec_service.DESCRIPTIONS_TAG: "The streams as AsyncAPI, and the producer for web pages.",
    spec_service.TAG: "Identity, health and metrics of the service.",
}

# Endpoints that the document omits: "METHOD path", as in the route table, or a method of all paths.
LEFT_OUT = {
    "HEAD": "The response to GET, without the content.",
    "OPTIONS": "Sent by browsers before a request to another origin.",
    "GET /_info/": "The same as /_info.",
    "GET /monitoring": "A page for people; /v1/canaries has the same data.",
    "GET /tables": "A page for people; /v1/tables has the same data.",
    "GET /tables/{name}": "A page for people; /v1/tables/{name} has the same data.",
    "GET /static/{name}": "Styles and scripts of the pages.",
    "GET /schemas/": "The same as /schemas.",
    "GET /repositories/-/static/{name}": "Styles of the schema pages.",
    "GET /v1/_page/feed": "Updates the page at /; the format is internal.",
    "GET /v1/_page/state": "The same data, once.",
    "GET /v1/_page/tables": "The tables on the page at /.",
}

_API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "hwk_…",
    "description": "Some operations need an API key, sent as `Authorization: Bearer …`. Create one with `headwater "
    "keys create` and one or more of the scopes `streams:read`, `streams:write`, `streams:kill`, `events:read` and "
    "`events:write`; `x-scope` names the required scope. With any key, private streams are listed, too; with "
    "`events:read`, also their events.",
}


def specification(
    platform: Any,
    streams: SeenStreams | None = None,
    indexes: RepositoryIndexes | None = None,
    served: Sequence[ServedTable] = (),
) -> dict[str, Any]:
    """The OpenAPI document of a platform, with the names of these streams; None: of the public ones. `served`: the
    tables that have operations of their own.

    Examples use public streams, and the schemas of `indexes`.
    """
    config = platform.config
    public = platform.seen(Sight.PUBLIC)
    names = [stream.name for stream in (streams or public).all()]
    typed = [spec_served.Typed(one, platform.served.type_of(one)) for one in served]
    paths: dict[str, Node] = {
        **spec_events.paths(names, has_test_events=bool(config.intake.test_events)),
        **spec_streams.paths(has_legacy=config.streams.enforce),
        **spec_tables.paths(),
        **spec_served.paths(typed),
        **spec_jobs.paths(),
        **spec_failures.paths(),
        **spec_monitoring.paths(),
        **spec_schemas.paths(),
        **spec_registry.paths(),
        **spec_service.paths(),
    }
    rooms = (
        spec_events,
        spec_streams,
        spec_tables,
        spec_jobs,
        spec_failures,
        spec_monitoring,
        spec_schemas,
        spec_registry,
        spec_service,
    )
    schemas: dict[str, Node] = {name: schema for room in rooms for name, schema in room.schemas().items()}
    schemas |= spec_served.schemas(typed)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": config.intake.service_name,
            "version": headwater.__version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": with_amples(
            paths,
            [stream.name for stream in public.all()],
            [stream.name for stream in exportable(public.all(), public.visibility)],
            indexes.without(public.titles_hidden()) if indexes is not None else None,
            [name for name in platform.materialized.names() if public.visibility.reads_table(name, Sight.PUBLIC)],
            served=[one.name for one in served if not (one.is_restricted or one.options.required)],
        ),
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": {API_KEY: _API_KEY}},
    }


def spec(request: Request) -> Response:
    """The document."""
    state = request.app.state
    return JsonResponse(specification(state.platform, seen(request), state.indexes, visible(request)))


def doc(request: Request) -> Response:
    """The specification as a page for people; it has no assets of its own, so nothing is served under `path`."""
    asset = request.query_params.get("path")
    if asset is not None:
        uri = request_uri(request.scope)
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
    return HTMLResponse(
        render(specification(platform, seen(request), served=visible(request)), LEFT_OUT), headers=PAGE_HEADERS
    )
