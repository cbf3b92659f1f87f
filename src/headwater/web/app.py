"""The route table: every path Headwater answers, on one page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from headwater.errors import HeaderRepeated, HeadwaterError, HostUnknown
from headwater.platform import Platform
from headwater.web import info
from headwater.web.access import STREAM_PATH, WEBHOOKS_PATH, Doors, is_events_path
from headwater.web.asyncapi import AsyncApi
from headwater.web.browser_client import browser_client_routes
from headwater.web.events import Answer, AnswerResponse, EventsEndpoint, send_answer
from headwater.web.http.headers import DefaultHeaders, check_single, make_default_headers
from headwater.web.http.hosts import WHOLE_TARGET, Hosts
from headwater.web.http.places import error_answer, exception_handlers, page_of_error
from headwater.web.http.preflight import Preflights, is_preflight, preflight
from headwater.web.http.route import Route
from headwater.web.http.threads import SharedWork, apart
from headwater.web.jobs.api import JobsApi
from headwater.web.jobs.failures import FailuresApi
from headwater.web.metrics import metrics
from headwater.web.monitoring import Monitoring
from headwater.web.openapi import endpoints as spec
from headwater.web.pages.page import Pages
from headwater.web.pages.tables import TablesPages
from headwater.web.problems import ProblemResponse, request_uri
from headwater.web.schema_server import indexes_of, platform_schema_routes
from headwater.web.schemas.repository_index import RepositoryIndexes
from headwater.web.served.endpoints import ServedTablesApi
from headwater.web.stream import StreamEndpoint
from headwater.web.streamconfigs import PATHS as STREAMCONFIGS_PATHS
from headwater.web.streamconfigs import streamconfigs
from headwater.web.streams_api import StreamsApi
from headwater.web.webhooks import webhook
from headwater.web.workers import Workers

# The methods a preflight permits if all paths get the same response.
ALL_METHODS = frozenset({"GET", "HEAD", "POST"})
READ_METHODS = frozenset({"GET", "HEAD"})
# `/` is the page, or the description of the interface, which is public.
_DESCRIPTION = re.compile(rb"(?:^|&)(?:spec|doc)(?:[=&]|$)")


def create_app(platform: Platform, *, notice: str | None = None) -> Application:
    """The ASGI application of a started platform. `notice` is a line shown on top of the page."""
    pages = Pages(platform, notice)
    streams_api = StreamsApi(platform)
    intake = platform.config.intake
    indexes = indexes_of(platform.config.schemas.base_uris, platform.config.path("."))

    described, explained = apart(spec.spec), apart(spec.doc)

    async def root(request: Request) -> Response:
        if "spec" in request.query_params:
            return await described(request)
        if "doc" in request.query_params:
            return await explained(request)
        return await pages.page(request)

    # Before any routing, Application itself answers:
    # POST /v1/events and /v2/events (EventsEndpoint), GET and HEAD /v2/stream/{streams} (StreamEndpoint).
    ours: list[BaseRoute] = [
        Route("/", root, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/readyz", info.readyz, methods=["GET"]),
        *pages.routes(),
        *Monitoring(platform, notice).routes(),
        *streams_api.control_routes(),
        *JobsApi(platform).routes(),
        *FailuresApi(platform).routes(),
        *TablesPages(platform, notice).routes(),
        Route(f"{WEBHOOKS_PATH}{{name}}", webhook, methods=["POST"]),
    ]
    for_pages: list[BaseRoute] = [
        Route("/_info", info.info, methods=["GET"]),
        Route("/_info/", info.info, methods=["GET"]),
        Route("/_info/name", info.info_part, methods=["GET"]),
        Route("/_info/version", info.info_part, methods=["GET"]),
        Route("/_info/home", info.info_home, methods=["GET"]),
        Route("/robots.txt", info.robots, methods=["GET"]),
        Route("/healthz", info.healthz, methods=["GET"]),
        *streams_api.routes(),
        *AsyncApi(platform).routes(),
        *ServedTablesApi(platform).routes(),
    ]
    for_all: list[BaseRoute] = [
        *(Route(path, streamconfigs, methods=["GET", "POST"]) for path in STREAMCONFIGS_PATHS),
        *browser_client_routes(),
        *platform_schema_routes(indexes),
    ]
    if intake.test_events:
        ours.append(Route("/v1/_test/events", run_test_events, methods=["GET"]))
    if platform.config.streams.enforce:
        for_pages.append(Route("/v1/stream-configs", info.stream_configs, methods=["GET"]))
        for_pages.append(Route("/v1/stream-configs/{names:path}", info.stream_configs, methods=["GET"]))
    stream = Route(f"{STREAM_PATH}{{streams:path}}", streams_api.listing, methods=["GET"])
    # Which pages of other origins may use a path: those in the intake's setting, or all.
    origins = [*((route, intake.cors) for route in [*for_pages, stream]), *((route, "*") for route in for_all)]
    routes = [*ours, *for_pages, *for_all]
    return Application(platform, pages, streams_api, routes=routes, origins=origins, indexes=indexes)


class Application:
    """The ASGI application: the hot paths first, Starlette for the rest."""

    def __init__(
        self,
        platform: Platform,
        pages: Pages,
        streams_api: StreamsApi,
        *,
        routes: Sequence[BaseRoute],
        origins: Sequence[tuple[BaseRoute, str | None]],
        indexes: RepositoryIndexes,
    ) -> None:
        intake = platform.config.intake
        default_headers = make_default_headers(intake.cors, intake.csp)
        public_url = platform.config.web.public_url
        self._standing = default_headers
        self.routes = list(routes)
        self.doors = Doors(platform)
        self.events = EventsEndpoint(platform.intake, intake, default_headers, public_url, doors=self.doors)
        self.stream = StreamEndpoint(platform.hub, default_headers, public_url, keys=platform.keys)
        # The protocol enforces its time limits.
        self.web = platform.config.web
        self.hosts = Hosts(platform.config.web)
        self.pages = pages
        self.streams_api = streams_api
        # Set if this is one of several workers.
        self.workers: Workers | None = None
        rest = Starlette(
            routes=routes,
            exception_handlers=exception_handlers(),
        )
        rest.router.redirect_slashes = False
        rest.state.platform = platform
        rest.state.events = self.events
        rest.state.indexes = indexes
        rest.state.looking = SharedWork()
        # Pages of other origins may read paths with configured origins, the intake, and unknown paths.
        self._closed = {_endpoint(route) for route in routes} - {_endpoint(route) for route, _ in origins}
        self._closed -= {run_test_events, webhook}
        no_cors = make_default_headers(None, intake.csp)
        self._rest = DefaultHeaders(
            Preflights(rest, origins, self._description_asked),
            default_headers,
            lambda scope: no_cors if self._is_closed(scope) else default_headers,
        )
        self._cors = intake.cors
        self._events_other_methods = DefaultHeaders(events_other_methods, default_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            # A request forwarded by another worker was checked by that one.
            is_admitted = self.workers is not None and self.workers.admit(scope)
            if not is_admitted and (error := self._misdirected(scope)) is not None:
                await ProblemResponse(error, method=scope["method"], uri=request_uri(scope))(scope, receive, send)
                return
            if self.doors.reads_with_key:
                send = _not_shared(send)
                if scope["method"] == "OPTIONS" and self._cors is not None and is_preflight(scope["headers"]):
                    await preflight(ALL_METHODS, self._cors, scope["headers"])(scope, receive, send)
                    return
            if (refused := self.doors.refusal(scope)) is not None:
                await send_answer(self._refused(refused, scope), send)
                return
            if is_events_path(path):
                if scope["method"] == "OPTIONS" and self._cors is not None and is_preflight(scope["headers"]):
                    await preflight({"POST"}, self._cors, scope["headers"])(scope, receive, send)
                    return
                answer = self.events if scope["method"] == "POST" else self._events_other_methods
                await answer(scope, receive, send)
                return
            if path.startswith(STREAM_PATH) and path != STREAM_PATH and scope["method"] in ("GET", "HEAD"):
                scope["path_params"] = {"streams": path.removeprefix(STREAM_PATH)}
                await self.stream(scope, receive, send)
                return
            if self.workers is not None and await self.workers.answer(scope, receive, send):
                return
        await self._rest(scope, receive, send)

    def _misdirected(self, scope: Scope) -> HeadwaterError | None:
        """What is wrong with the `Host` of a request, or with repeated headers."""
        try:
            check_single(scope["headers"])
        except HeaderRepeated as error:
            return error
        if WHOLE_TARGET in scope.get("extensions", ()):
            return None
        value = next((value for name, value in scope["headers"] if name == b"host"), None)
        server = scope.get("server")
        try:
            self.hosts.check(value, server[0] if server else None)
        except HostUnknown as error:
            return error
        return None

    def _is_closed(self, scope: Scope) -> bool:
        """Whether a response is for pages of the platform's own origin only."""
        return scope.get("endpoint") in self._closed and not _is_description(scope)

    def _description_asked(self, scope: Scope) -> tuple[frozenset[str], str | None] | None:
        """The response to a preflight for the description."""
        return (READ_METHODS, self._cors) if _is_description(scope) else None

    def _refused(self, error: HeadwaterError, scope: Scope) -> Answer:
        """The same response for every path, whether it exists or not."""
        found = ProblemResponse(error, method=scope["method"], uri=request_uri(scope))
        return Answer(found.status_code, b"", [*self._standing, *found.raw_headers], bytes(found.body))

    def refusal(self, error: HeadwaterError, method: str, uri: str) -> Answer:
        """The response to an invalid HTTP request, in the format of its path."""
        found = error_answer(error, method, uri)
        return Answer(found.status_code, b"", [*self._standing, *found.raw_headers], bytes(found.body))


def _not_shared(send: Send) -> Send:
    """`send` for responses to clients with a key: shared caches must not store them."""

    async def privately(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                (name, value.replace(b"public", b"private") if name == b"cache-control" else value)
                for name, value in message.get("headers", ())
            ]
        await send(message)

    return privately


def _is_description(scope: Scope) -> bool:
    """Whether a request is for the description of the interface, which shares its path with the page."""
    return scope["path"] == "/" and _DESCRIPTION.search(scope["query_string"]) is not None


def _endpoint(route: BaseRoute) -> Any:
    return getattr(route, "endpoint", route)


async def run_test_events(request: Request) -> Response:
    """GET /v1/_test/events: as if the configured test events were posted."""
    events: EventsEndpoint = request.app.state.events
    peer = request.client.host if request.client else None
    query = request.scope["query_string"]
    return AnswerResponse(await events.answer_test_events(query, request.scope["headers"], peer))


async def events_other_methods(scope: Scope, receive: Receive, send: Send) -> None:
    """OPTIONS answers POST, except for a preflight; other methods are unknown routes. Both as in EventGate."""
    if scope["method"] == "OPTIONS":
        response: Response = HTMLResponse("POST", headers={"allow": "POST"})
    else:
        response = page_of_error(404, scope["method"], scope["path"])
    await response(scope, receive, send)
