"""The route table: every path Headwater answers, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from headwater.errors import HeadwaterError
from headwater.platform import Platform
from headwater.web import info, spec
from headwater.web.asyncapi import AsyncApi
from headwater.web.browser_client import browser_client_routes
from headwater.web.events import EventsEndpoint, send_answer
from headwater.web.headers import StandingHeaders, standing_headers
from headwater.web.metrics import metrics
from headwater.web.monitoring import Monitoring
from headwater.web.pages import Pages
from headwater.web.problems import ProblemResponse, request_uri
from headwater.web.schema_service import platform_schema_routes
from headwater.web.stream import StreamEndpoint
from headwater.web.streamconfigs import PATHS as STREAMCONFIGS_PATHS
from headwater.web.streamconfigs import streamconfigs
from headwater.web.streams_api import StreamsApi
from headwater.web.workers import Workers

EVENTS_PATHS = frozenset({"/v1/events", "/v2/events"})
STREAM_PATH = "/v2/stream/"


def create_app(platform: Platform, *, notice: str | None = None) -> Application:
    """The ASGI application of a started platform. `notice` is a line shown on top of the page."""
    pages = Pages(platform, notice)
    streams_api = StreamsApi(platform)
    intake = platform.config.intake

    async def root(request: Request) -> Response:
        if "spec" in request.query_params:
            return await spec.spec(request)
        if "doc" in request.query_params:
            return await spec.doc(request)
        return await pages.page(request)

    routes: list[BaseRoute] = [
        Route("/", root, methods=["GET"]),
        # Before any routing, Application itself answers:
        # POST /v1/events and /v2/events (EventsEndpoint), GET and HEAD /v2/stream/{streams} (StreamEndpoint).
        Route("/_info", info.info, methods=["GET"]),
        Route("/_info/", info.info, methods=["GET"]),
        Route("/_info/name", info.info_part, methods=["GET"]),
        Route("/_info/version", info.info_part, methods=["GET"]),
        Route("/_info/home", info.info_home, methods=["GET"]),
        Route("/robots.txt", info.robots, methods=["GET"]),
        Route("/healthz", info.healthz, methods=["GET"]),
        Route("/readyz", info.readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        *(Route(path, streamconfigs, methods=["GET", "POST"]) for path in STREAMCONFIGS_PATHS),
        *streams_api.routes(),
        *pages.routes(),
        *Monitoring(platform, notice).routes(),
        *browser_client_routes(),
        *AsyncApi(platform).routes(),
        *platform_schema_routes(platform),
    ]
    if intake.test_events:
        routes.append(Route("/v1/_test/events", run_test_events, methods=["GET"]))
    if platform.config.streams.enforce:
        routes.append(Route("/v1/stream-configs", info.stream_configs, methods=["GET"]))
        routes.append(Route("/v1/stream-configs/{names:path}", info.stream_configs, methods=["GET"]))
    return Application(platform, pages, streams_api, routes)


class Application:
    """The ASGI application: what is called thousands of times a second first, Starlette for the rest."""

    def __init__(self, platform: Platform, pages: Pages, streams_api: StreamsApi, routes: list[BaseRoute]) -> None:
        intake = platform.config.intake
        standing = standing_headers(intake.cors, intake.csp)
        public_url = platform.config.web.public_url
        self.events = EventsEndpoint(platform.intake, intake, standing, public_url)
        self.stream = StreamEndpoint(platform.hub, standing, public_url)
        self.pages = pages
        self.streams_api = streams_api
        # Set where this is one of several workers.
        self.workers: Workers | None = None
        rest = Starlette(
            routes=routes,
            exception_handlers={HTTPException: not_found_page, HeadwaterError: problem},  # type: ignore[dict-item]
        )
        rest.router.redirect_slashes = False
        rest.state.platform = platform
        rest.state.events = self.events
        self._rest = StandingHeaders(rest, standing)
        self._events_other_methods = StandingHeaders(events_other_methods, standing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if path in EVENTS_PATHS or path.rstrip("/").lower() in EVENTS_PATHS:
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


async def run_test_events(scope_request: Request) -> Response:
    """GET /v1/_test/events: as if the configured test events had been posted."""
    return _TestEvents(scope_request)


class _TestEvents(Response):
    """Written as an ASGI application, since a reason phrase has no place in a Starlette response."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        events: EventsEndpoint = self._request.app.state.events
        client = scope.get("client")
        answer = await events.answer_test_events(scope["query_string"], scope["headers"], client[0] if client else None)
        await send_answer(answer, send)


async def events_other_methods(scope: Scope, receive: Receive, send: Send) -> None:
    """OPTIONS says POST; anything else is no route, as in EventGate."""
    if scope["method"] == "OPTIONS":
        response: Response = HTMLResponse("POST", headers={"allow": "POST"})
    else:
        response = _page_of_error(404, scope["method"], scope["path"])
    await response(scope, receive, send)


async def not_found_page(request: Request, error: HTTPException) -> Response:
    """The framework's own errors as pages in EventGate's form. A wrong method is an unknown route there."""
    status = 404 if error.status_code == 405 and request.url.path == "/v1/_test/events" else error.status_code
    return _page_of_error(status, request.method, request.url.path, error.headers)


async def problem(request: Request, error: HeadwaterError) -> Response:
    return ProblemResponse(error, method=request.method, uri=request_uri(request.scope))


def _page_of_error(status: int, method: str, path: str, headers: Mapping[str, str] | None = None) -> Response:
    sentence = escape(f"Cannot {method} {path}")
    # Part of such a page whatever is configured, as in EventGate's framework.
    own = {"content-security-policy": "default-src 'none'", "x-content-type-options": "nosniff"}
    return HTMLResponse(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
        f"<body>\n<pre>{sentence}</pre>\n</body>\n</html>\n",
        status_code=status,
        headers={**own, **(headers or {})},
    )
