"""The page at `/`: rendered once, then updated by one event feed; it loads nothing from other servers."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from headwater import __version__
from headwater.errors import HeadwaterError, KeyRequired
from headwater.event import json_bytes
from headwater.platform import Platform
from headwater.schemas.schema import Schema
from headwater.streams.stream import Stream
from headwater.times import ms_of, utc_seconds
from headwater.web.http.route import Route
from headwater.web.http.seats import Seats
from headwater.web.http.threads import SharedWork
from headwater.web.jobs.views import jobs_in_trouble
from headwater.web.pages.examples import example_events
from headwater.web.pages.feed import STREAMS_MAX, PageFeed
from headwater.web.sight import seen

SINCE_HOURS = 1

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "referrer-policy": "same-origin",
    "cache-control": "no-cache",
}

# The complete list of served files: a request's path is looked up here and never becomes a path on disk.
_STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "api.css": "text/css; charset=utf-8",
    "monitoring.css": "text/css; charset=utf-8",
    "monitoring.js": "text/javascript; charset=utf-8",
    "headwater.svg": "image/svg+xml",
}


class Pages:
    """The page of one platform. `notice` is a line at the top, such as that the data is synthetic."""

    def __init__(self, platform: Platform, notice: str | None = None) -> None:
        self._platform = platform
        self._notice = notice
        self._feed = PageFeed(
            platform.log,
            platform.intake.recent,
            platform.read_tables,
            jobs_in_trouble=lambda seen: jobs_in_trouble(platform, seen),
            canaries_kept=platform.monitor.canaries_kept,
        )
        limits = platform.config.web
        self._seats = Seats(limits.viewers_max, limits.viewers_per_address_max, platform.config.consumption)
        self._closing = False
        self._static = {name: files("headwater.web").joinpath("static", name).read_bytes() for name in _STATIC}
        environment = Environment(
            loader=PackageLoader("headwater.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        environment.filters["count"] = lambda number: f"{number:,}"
        environment.filters["rate"] = lambda rate: f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate else "0"
        environment.filters["breakable"] = breakable
        environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
        self._template = environment.get_template("page.html")
        self._schemas: Mapping[str, Schema] | None = None
        self._examples = SharedWork()

    def routes(self) -> list[BaseRoute]:
        """The page's own routes except `/`, which the application routes to `page` unless `?spec` is requested."""
        return [
            Route("/static/{name}", self.static, methods=["GET"]),
            Route("/v1/_page/feed", self.feed, methods=["GET"]),
            Route("/v1/_page/state", self.state, methods=["GET"]),
            Route("/v1/_page/tables", self.tables, methods=["GET"]),
        ]

    def close(self) -> None:
        """End the open feeds, so that the server can stop."""
        self._closing = True

    async def page(self, request: Request) -> Response:
        seeing = seen(request)
        streams = seeing.all()
        examples = await self._examples.of(seeing.sight, lambda: self._examples_of(streams))
        content = self._template.render(
            title=self._platform.config.intake.service_name,
            version=__version__,
            notice=self._notice,
            state=await self._feed.state(seeing),
            streams_left_off=max(0, len(streams) - STREAMS_MAX),
            tables=await self._feed.tables(seeing),
            examples=examples,
            first_example=_pretty(next(iter(examples.values()))["valid"]) if examples else "{}",
            since=utc_seconds(ms_of(time.time()) - SINCE_HOURS * 3_600_000),
        )
        return HTMLResponse(content, headers=PAGE_HEADERS)

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(404)
        # A new release uses another ?v=, so a cached file never needs to be revalidated.
        age = "public, max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
        headers = {"content-type": _STATIC[name], "cache-control": age}
        return Response(self._static[name], headers=headers)

    async def state(self, request: Request) -> Response:
        return JSONResponse(await self._feed.state(seen(request)))

    async def tables(self, request: Request) -> Response:
        return JSONResponse(await self._feed.tables(seen(request)))

    async def feed(self, request: Request) -> Response:
        seen(request)
        headers = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
        return self._seats.answer(request, self._messages(request), headers)

    async def _messages(self, request: Request) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n"
        # Evaluated each time: streams change, and keys are revoked.
        seeing = functools.partial(seen, request, again=True)
        with contextlib.suppress(KeyRequired):
            async for message in self._feed.messages(seeing, ended=lambda: self._closing):
                yield message

    def _examples_of(self, streams: Sequence[Stream]) -> dict[str, Any]:
        return example_events(streams, self._platform.schemas, self._schemas_by_title())

    def _schemas_by_title(self) -> Mapping[str, Schema]:
        """The latest schema of each title, determined once: schemas do not change while a platform runs."""
        if self._schemas is None:
            self._schemas = newest_schemas(self._platform)
        return self._schemas


def newest_schemas(platform: Platform) -> dict[str, Schema]:
    """Title → the schema with the highest version among those that the repositories list."""
    newest: dict[str, tuple[tuple[int, ...], Schema]] = {}
    for uri in platform.schemas.repository.uris():
        version = _version(uri)
        if version is None:
            continue
        try:
            schema = platform.schemas.repository.get(uri)
        except HeadwaterError:
            continue
        if schema.title and version > newest.get(schema.title, ((), schema))[0]:
            newest[schema.title] = (version, schema)
    return {title: schema for title, (_, schema) in newest.items()}


def _version(uri: str) -> tuple[int, ...] | None:
    parts = uri.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".json").split(".")
    return tuple(int(part) for part in parts) if len(parts) == 3 and all(p.isdigit() for p in parts) else None


def breakable(name: str) -> Markup:
    """A long dotted name with possible line breaks after dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def _pretty(value: Any) -> str:

    return json_bytes(value, indented=True).decode()
