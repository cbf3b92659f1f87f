"""Serves a platform over HTTP until it is stopped: uvicorn with our protocol, drained before the log closes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable, Sequence

import uvicorn

from headwater.platform import Platform
from headwater.web.app import Application, create_app
from headwater.web.metrics import metrics_text
from headwater.web.protocol import HeadwaterProtocol
from headwater.web.workers import WorkerPlace, Workers

KEEP_ALIVE_SECONDS = 75
SHUTDOWN_SECONDS_MAX = 10
# A thousand clients may connect at the same moment.
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server, which signals when it is ready, and ends open feeds and streams, which would delay its stop."""

    def __init__(self, config: uvicorn.Config, app: Application) -> None:
        super().__init__(config)
        self.application = app
        self.on_started: Callable[[str], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.on_started:
            self.on_started(address_of(self))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.application.pages.close()
        self.application.streams_api.close()
        await self.application.stream.close()
        await super().shutdown(sockets)
        if self.application.workers is not None:
            await self.application.workers.close()


def server_of(platform: Platform, *, notice: str | None = None) -> Server:
    """A server for a started platform, on the configured address."""
    app = create_app(platform, notice=notice)
    config = uvicorn.Config(
        app,
        host=platform.config.web.host,
        port=platform.config.web.port,
        http=HeadwaterProtocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        # The client's address is determined where it is used (http.client_ip, limits), each by its own rule.
        proxy_headers=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
        backlog=BACKLOG,
    )
    return Server(config, app)


@contextlib.asynccontextmanager
async def serving(
    platform: Platform,
    *,
    notice: str | None = None,
    place: WorkerPlace | None = None,
    sockets: Sequence[socket.socket] = (),
) -> AsyncIterator[str]:
    """Serve a started platform for the duration of a `with` block; yields the address.

    `place`: as one of several workers. `sockets`: listening sockets to use instead of the configured address. Raises
    ConfigInvalid if the secret of a webhook is not there.
    """
    await asyncio.to_thread(platform.pushed.prepare)
    server = server_of(platform, notice=notice)
    if place is not None:
        server.application.workers = Workers(
            place, functools.partial(metrics_text, platform), platform.config.consumption
        )
    # The caller of the block handles signals.
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    # The waiting task may have been cancelled by then.
    server.on_started = lambda served: None if address.done() else address.set_result(served)
    listening = list(place.sockets) if place is not None else list(sockets)
    running = asyncio.create_task(server._serve(listening or None))
    # A server that stops before it is ready ends the wait, too.
    running.add_done_callback(lambda _: address.done() or address.cancel())
    try:
        try:
            served_at = await address
        except asyncio.CancelledError:
            if not running.done():
                raise
            raise RuntimeError("The server stopped before it was ready.") from running.exception()
        yield served_at
    finally:
        server.should_exit = True
        await running


def address_of(server: uvicorn.Server) -> str:
    """`http://host:port` of a server that has started, with its actual port."""
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
