"""GET /v1/served/…: rows of the tables that a project serves, as its files say: in pages, by key, and counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from headwater.errors import FilterInvalid, HeadwaterError, JobInvalid
from headwater.event import encode_json
from headwater.platform import Platform
from headwater.served_tables.asked import LINES_FORMAT, Asked, asked_of
from headwater.served_tables.audit import Access
from headwater.served_tables.declared import PATH, ServedTable
from headwater.served_tables.reading import ServedReader
from headwater.streams.projection import etag_of
from headwater.web.http.route import Route
from headwater.web.http.threads import in_thread
from headwater.web.problems import request_uri, status_of
from headwater.web.served.permission import NotPermitted, Permission, permission, visible
from headwater.web.sight import address_of

JSON, NDJSON = "application/json", "application/x-ndjson"
# What the audit keeps of a request.
REQUEST_CHARS_MAX = 2_000
NO_CONTENT = 304


class Body(NamedTuple):
    """The content of a response, how many rows it has, and the query of the page after it."""

    data: bytes
    rows: int
    media_type: str = JSON
    next_query: str | None = None


class ServedTablesApi:
    """The endpoints, over one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[BaseRoute]:
        return [
            Route(PATH, self.listing, methods=["GET"]),
            Route(f"{PATH}/{{name}}", self.rows, methods=["GET"]),
            Route(f"{PATH}/{{name}}/counts", self.counts, methods=["GET"]),
            Route(f"{PATH}/{{name}}/rows/{{key:path}}", self.row, methods=["GET"]),
        ]

    async def listing(self, request: Request) -> Response:
        """The tables that the client may know of."""
        listed = encode_json({"tables": [_described(one) for one in visible(request)]})
        return Response(listed, headers={"content-type": JSON, "cache-control": "no-store"})

    async def rows(self, request: Request) -> Response:
        """Rows of a table, a page of them."""
        return await self._answer(request, lambda served, reader: self._page(request, served, reader))

    async def counts(self, request: Request) -> Response:
        """How many rows fit, and how many different values they have."""

        def counted(served: ServedTable, reader: ServedReader) -> Body:
            return Body(encode_json(reader.counts(self._asked(request, served))), 0)

        return await self._answer(request, counted)

    async def row(self, request: Request) -> Response:
        """The row of a key, whose parts are those of the path."""
        parts = _parts_of_key(request)

        def found(served: ServedTable, reader: ServedReader) -> Body:
            if request.query_params:
                raise FilterInvalid("A request for one row has no parameters.")
            return Body(reader.row(parts), 1)

        return await self._answer(request, found)

    def _asked(self, request: Request, served: ServedTable) -> Asked:
        type_of = self._platform.served.type_of(served)
        return asked_of(served, request.query_params.multi_items(), type_of)

    def _page(self, request: Request, served: ServedTable, reader: ServedReader) -> Body:
        asked = self._asked(request, served)
        page = reader.page(asked)
        after = asked.after(page.place)
        others = [(name, text) for name, text in request.query_params.multi_items() if name != "after"]
        query = None if after is None else "&".join(f"{quote(n)}={quote(t)}" for n, t in [*others, ("after", after)])
        if (asked.format or _accepted(request)) == LINES_FORMAT:
            return Body(b"".join(row + b"\n" for row in page.rows), len(page.rows), NDJSON, query)
        data = b'{"rows":[' + b",".join(page.rows) + b'],"next":' + encode_json(after) + b"}"
        return Body(data, len(page.rows), JSON, query)

    async def _answer(self, request: Request, work: Callable[[ServedTable, ServedReader], Body]) -> Response:
        """What `work` finds, in a thread, if the client may read the table; each such request may be audited."""
        allowed = permission(request, request.path_params["name"])
        if isinstance(allowed, NotPermitted):
            await self._audit(request, allowed.served, allowed.key, status_of(allowed.error), 0)
            raise allowed.error
        served, key = allowed.served, allowed.key
        try:
            body = await in_thread(_reading, lambda: work(served, self._reader(served)))
        except HeadwaterError as error:
            if key is not None:
                await self._audit(request, served, key, status_of(error), 0)
            raise
        if key is not None:
            await self._audit(request, served, key, 200, body.rows)
        return _response(request, allowed, body)

    def _reader(self, served: ServedTable) -> ServedReader:
        rows = self._platform.materialized(served.table.name).named(served.table)
        return ServedReader(served, rows, self._platform.served.type_of(served))

    async def _audit(self, request: Request, served: ServedTable, key: str, status: int, rows: int) -> None:
        asked = request_uri(request.scope)[:REQUEST_CHARS_MAX]
        await self._platform.audit.write(served, Access(asked, key, address_of(request), status, rows))


def _reading(work: Callable[[], Body]) -> Body:
    """The result of reading. Raises FilterInvalid for a key of another form than that of the table."""
    try:
        return work()
    except JobInvalid as error:
        raise FilterInvalid(error.detail) from None


def _response(request: Request, allowed: Permission, body: Body) -> Response:
    etag = etag_of(body.data)
    headers = {"etag": etag, "cache-control": _cache_control(allowed), "vary": "accept, authorization"}
    if body.next_query is not None:
        headers["link"] = f'<{request.scope["path"].rpartition("/")[2]}?{body.next_query}>; rel="next"'
    held = request.headers.get("if-none-match")
    if held is not None and etag in [mark.strip().removeprefix("W/") for mark in held.split(",")]:
        return Response(status_code=NO_CONTENT, headers=headers)
    return Response(body.data, headers={**headers, "content-type": body.media_type})


def _cache_control(allowed: Permission) -> str:
    if allowed.served.is_restricted:
        return "no-store"
    seconds = allowed.served.options.cache_seconds
    return f"{'public' if allowed.is_public else 'private'}, {f'max-age={seconds}' if seconds else 'no-cache'}"


def _accepted(request: Request) -> str:
    """The format that the client wants, by `Accept`: lines only if it says so."""
    kinds = [one.partition(";")[0].strip().lower() for one in request.headers.get("accept", "").split(",")]
    return LINES_FORMAT if NDJSON in kinds and JSON not in kinds else "json"


def _parts_of_key(request: Request) -> list[str]:
    """The parts of the key in a path, in which a slash that belongs to a part is written as %2F."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    # Behind the name of the table, which has no slash.
    written = raw.decode("latin-1").removeprefix(f"{PATH}/").split("/", 2)[2]
    return [unquote(part) for part in written.split("/")]


def _described(served: ServedTable) -> dict[str, Any]:
    options = served.options
    described: Mapping[str, Any] = {
        "name": served.name,
        "summary": served.summary,
        "url": served.path,
        "row_url": f"{served.path}/rows/{'/'.join(f'{{{name}}}' for name in served.key)}",
        "key": list(served.key),
        "equals": list(served.equals),
        "ranges": list(options.ranges),
        "required": list(options.required),
        "order": options.order,
        "rows_max": options.rows_max,
        "roles": list(options.roles),
    }
    return dict(described)
