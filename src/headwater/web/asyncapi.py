"""GET /asyncapi.json and /asyncapi/{stream}.json: the current streams as AsyncAPI 3."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from headwater.catalog.asyncapi import Place, exportable, stream_document, whole_document
from headwater.catalog.payloads import payloads
from headwater.catalog.place import place_of
from headwater.declaration import suggestion
from headwater.errors import StreamUnknown
from headwater.event import json_bytes
from headwater.platform import Platform
from headwater.streams.projection import etag_of
from headwater.streams.visibility import Sight
from headwater.web.http.route import Route
from headwater.web.http.threads import SharedWork, in_thread
from headwater.web.sight import address_of

AUDIENCES = ("public", "internal")
MEDIA_TYPE = "application/vnd.aai.asyncapi+json;version=3.0.0"
# The complete document takes a while to generate; this many are cached, by base URL.
REMEMBERED_MAX = 4


class AsyncApi:
    """The documents of one platform. `?audience=internal` needs a key, and includes topics, producers and consumers."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._whole: dict[tuple[str, bool], tuple[int, bytes]] = {}
        self._making = asyncio.Lock()
        self._one = SharedWork()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/asyncapi.json", self.whole, methods=["GET"]),
            Route("/asyncapi/{name:path}.json", self.one, methods=["GET"]),
        ]

    async def whole(self, request: Request) -> Response:
        """All streams that are not private, in one document."""
        place = self._place(request)
        version, key = self._platform.control.version, (place.url, place.is_internal)
        async with self._making:
            made, body = self._whole.get(key, (-1, b""))
            if made != version:
                body = await in_thread(self._make_whole, place)
                while len(self._whole) >= REMEMBERED_MAX:
                    self._whole.pop(next(iter(self._whole)))
                self._whole[key] = (version, body)
        return _answer(request, body, place)

    async def one(self, request: Request) -> Response:
        """One stream, or a member of a family. 404 if it does not exist or may not be shown."""
        streams = self._platform.seen(Sight.PUBLIC)
        stream = streams.get(request.path_params["name"])
        if not exportable([stream], streams.visibility):
            raise StreamUnknown(f"{stream.name} has no AsyncAPI document: it is not public.")
        place = self._place(request)

        def make() -> bytes:
            found = payloads([stream.schema_title or ""], self._platform.schemas.repository)
            return json_bytes(stream_document(stream, found.get(stream.schema_title or ""), place))

        key = (stream.name, place.url, place.is_internal, self._platform.control.version)
        return _answer(request, await self._one.of(key, make), place)

    def _make_whole(self, place: Place) -> bytes:
        seen = self._platform.seen(Sight.PUBLIC)
        streams = exportable(seen.entries(), seen.visibility)
        titles = [stream.schema_title for stream in streams if stream.schema_title]
        return json_bytes(whole_document(streams, payloads(titles, self._platform.schemas.repository), place))

    def _place(self, request: Request) -> Place:
        audience = request.query_params.get("audience", "public")
        if audience not in AUDIENCES:
            raise StreamUnknown(f"Unknown audience {audience!r}.", hint=suggestion(audience, AUDIENCES))
        is_internal = audience == "internal"
        if is_internal:
            self._platform.keys.check(request.headers.get("authorization"), "streams:read", address_of(request))
        settings: Callable[..., Any] = self._platform.topic_settings
        config = self._platform.config
        url = config.web.public_url or str(request.base_url)
        return place_of(config, settings, url=url, is_internal=is_internal)


def _answer(request: Request, body: bytes, place: Place) -> Response:
    etag = etag_of(body)
    cached = "private, no-cache" if place.is_internal else "public, max-age=60"
    headers = {"etag": etag, "cache-control": cached, "vary": "host"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=MEDIA_TYPE)
