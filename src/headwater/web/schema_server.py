"""The standalone schema service: repositories, pages and the registry API, without a platform."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from headwater.schemas.workspace.working_settings import WorkingSettings
from headwater.streams.stream import Stream
from headwater.streams.visibility import Sight
from headwater.web.http.places import exception_handlers
from headwater.web.http.preflight import Preflights
from headwater.web.http.route import Route
from headwater.web.paths import REPOSITORIES
from headwater.web.protocol import HeadwaterProtocol
from headwater.web.schemas.endpoints import schema_routes, wants_page
from headwater.web.schemas.repository_index import RepositoryIndexes, SchemaVisibility
from headwater.web.sight import seen


def create_schema_app(
    indexes: RepositoryIndexes,
    streams_of: Callable[[], Mapping[str, list[str]]] = dict,
    *,
    hidden: frozenset[str] = frozenset(),
) -> Starlette:
    """The ASGI application over some repositories.

    `streams_of`: title → the streams with that schema now; schemas of the `hidden` titles are omitted.
    """

    async def root(request: Request) -> Response:
        # Registry clients request `/` to test whether the server is available.
        return RedirectResponse(f"{REPOSITORIES}/", 307) if wants_page(request) else JSONResponse({})

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes = schema_routes(indexes, lambda _: SchemaVisibility(streams_of(), hidden))
    app = Starlette(
        routes=[Route("/", root), Route("/healthz", healthz), *routes],
        middleware=[Middleware(Preflights, origins=[(route, "*") for route in routes])],
        exception_handlers=exception_handlers(),
    )
    app.router.redirect_slashes = False
    return app


def indexes_of(base_uris: Sequence[str], root: Path) -> RepositoryIndexes:
    """The repositories of a project's configuration that are directories, each under its directory's name.

    `…/primary/jsonschema` is `primary`. Repositories over HTTP are served by their own servers. A directory that does
    not exist (yet) is omitted.
    """
    places: list[tuple[str, WorkingSettings]] = []
    for base in base_uris:
        path = root / base.removeprefix("file://")
        if not base.startswith(("http://", "https://")) and path.is_dir():
            settings = WorkingSettings(base_path=path.resolve())
            places.append((_free_name(path, [name for name, _ in places]), settings))
    return RepositoryIndexes.of(places)


def platform_schema_routes(indexes: RepositoryIndexes) -> list[BaseRoute]:
    """The same for a platform: its own repositories, and the schemas of its streams."""

    def visibility_of(request: Request) -> SchemaVisibility:
        # Evaluated each time: streams may be declared while the platform runs.
        streams = seen(request)
        return SchemaVisibility(streams_by_title(streams.all()), streams.titles_hidden(), streams.sight is Sight.PUBLIC)

    return schema_routes(indexes, visibility_of)


def name_of(path: Path) -> str:
    """The default name of a served directory."""
    path = path.resolve()
    return path.parent.name if path.name == "jsonschema" and path.parent.name else path.name


def streams_by_title(streams: Iterable[Stream]) -> dict[str, list[str]]:
    """Schema title → the names of its streams, ascending."""
    found: dict[str, list[str]] = {}
    for stream in streams:
        if stream.schema_title:
            found.setdefault(stream.schema_title, []).append(stream.name)
    return {title: sorted(names) for title, names in found.items()}


@contextlib.asynccontextmanager
async def serving_schemas(app: Starlette, host: str, port: int) -> AsyncIterator[str]:
    """Serve for the duration of a `with` block; yields the address. `port` 0 uses a free one."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=HeadwaterProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    try:
        while not server.started:
            if running.done():
                raise RuntimeError("The server stopped before it was ready.") from running.exception()
            await asyncio.sleep(0.01)
        given_host, given_port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://[{given_host}]:{given_port}" if ":" in given_host else f"http://{given_host}:{given_port}"
    finally:
        server.should_exit = True
        await running


def _free_name(path: Path, taken: Sequence[str]) -> str:
    name = name_of(path)
    number = 2
    while name in taken or name == "all":
        name, number = f"{name_of(path)}-{number}", number + 1
    return name
