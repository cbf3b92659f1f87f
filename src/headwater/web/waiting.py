"""The responses of a server while its log is not available yet: alive, not ready, and when to retry."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headwater.config import Config
from headwater.errors import LogUnavailable
from headwater.web.http.headers import DefaultHeaders, make_default_headers
from headwater.web.info import JsonResponse, healthz
from headwater.web.problems import ProblemResponse, problem_headers, request_uri

SHUTDOWN_SECONDS_MAX = 2


@contextlib.asynccontextmanager
async def waiting(config: Config, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Answer on `sockets`, for the duration of a `with` block, that the log is unavailable."""
    # This is public, so the addresses of the brokers are only in the server's own log.
    error = LogUnavailable(
        "The server has started and is waiting for its log, which is unavailable.",
        hint="Retry later.",
        retry_after_seconds=config.intake.retry_after_seconds,
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        path = scope["path"].rstrip("/")
        if path == "/healthz":
            response: Response = await healthz(request)
        elif path == "/readyz":
            said = {"status": "unavailable", "reason": type(error).__name__, "detail": error.message}
            response = JsonResponse(said, status_code=503, headers=problem_headers(error))
        else:
            response = ProblemResponse(error, method=request.method, uri=request_uri(scope))
        await response(scope, receive, send)

    app = DefaultHeaders(answer, make_default_headers(config.intake.cors, config.intake.csp))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
        )
    )
    # Closing a server closes its sockets, but the given ones are still needed.
    running = asyncio.create_task(server._serve([one.dup() for one in sockets]))
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(running, return_exceptions=True)
