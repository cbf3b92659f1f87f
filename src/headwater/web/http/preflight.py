"""Preflights: the requests of a browser before it sends to another origin, answered with the methods of the path."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from headwater.web.http.headers import RawHeaders
from headwater.web.http.route import Route

MAX_AGE_SECONDS = 86_400
# The headers of our clients, of CloudEvents, and of tracing. Any other requested header is added to them.
ALLOWED_HEADERS = (
    *("accept", "authorization", "cache-control", "content-encoding", "content-type", "if-match", "if-none-match"),
    *("last-event-id", "traceparent", "tracestate", "x-request-id", "x-requested-with"),
    *("ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-dataschema", "ce-partitionkey"),
)
ASKED_MAX = 100
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,100}")
_OPTIONS = "OPTIONS"


class Preflights:
    """ASGI middleware that answers `OPTIONS` for the paths of some routes, and passes everything else to `app`.

    `origins`: route → the value of `access-control-allow-origin`, None for a response without it. Other routes are not
    available to pages of other origins. `by_query`: for paths where the query decides, the methods of the requested
    resource, and the origin; None for others.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Iterable[tuple[BaseRoute, str | None]],
        by_query: Callable[[Scope], tuple[Collection[str], str | None] | None] = lambda _: None,
    ) -> None:
        self._by_query = by_query
        self._app = app
        self._origins = [(route, origin) for route, origin in origins if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == _OPTIONS:
            if (asked := self._by_query(scope)) is not None:
                await preflight(*asked, scope["headers"])(scope, receive, send)
                return
            found = [(route, origin) for route, origin in self._origins if route.path_regex.match(scope["path"])]
            if found:
                methods = {method for route, _ in found for method in route.methods or ()}
                await preflight(methods, found[0][1], scope["headers"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


def preflight(methods: Collection[str], origin: str | None, headers: RawHeaders) -> Response:
    """The response for a path with these methods, to a request with these headers."""
    allowed = ", ".join(sorted({*methods, _OPTIONS}))
    answer = {"allow": allowed}
    if origin is not None:
        answer |= {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": allowed,
            "access-control-allow-headers": ", ".join(_allowed(headers)),
            "access-control-max-age": str(MAX_AGE_SECONDS),
        }
    return Response(status_code=204, headers=answer)


def is_preflight(headers: RawHeaders) -> bool:
    """Whether these are the headers of a preflight request."""
    return any(name == b"access-control-request-method" for name, _ in headers)


def _allowed(headers: RawHeaders) -> list[str]:
    asked = [
        word.strip().lower()
        for name, value in headers
        if name == b"access-control-request-headers"
        for word in value.decode("latin-1").split(",")[:ASKED_MAX]
    ]
    return list(dict.fromkeys([*ALLOWED_HEADERS, *filter(_TOKEN.fullmatch, asked)]))
