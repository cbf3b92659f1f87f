"""Runs long work in threads, few at a time, and shares the result between identical concurrent requests.

How this works: an endpoint that is a plain function is such work (see `Route`). A computing thread yields the
interpreter to the event loop after some milliseconds; with many threads, the loop would wait for each in turn. So there
are few threads, and other work queues. Requests that have the same response, because path, query and relevant headers
are equal, wait for one result together, even from different clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, TypeVar

import anyio.lowlevel
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from headwater.futures import retrieve
from headwater.garbage import uncollected

THREADS_MAX = 2
# The headers an endpoint may read, apart from the path and the query.
_HEADERS = ("accept", "authorization", "host", "if-none-match")

Result = TypeVar("Result")

_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("limiter")


async def in_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """The result of `work`, run in a thread as soon as one is free."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS_MAX)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(uncollected, work, *arguments, limiter=limiter)


class SharedWork:
    """Work that runs once for all callers that ask for it while it runs. Belongs to one event loop."""

    def __init__(self) -> None:
        self._doing: dict[Hashable, asyncio.Task[Any]] = {}

    async def of(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """The result of `work`, run in a thread; or of the work that is already running with this key."""
        return await self.awaited(key, lambda: in_thread(work))

    async def awaited(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The same for work that is a coroutine."""
        doing = self._doing.get(key)
        if doing is None:
            doing = self._doing[key] = asyncio.ensure_future(work())
            doing.add_done_callback(lambda done: self._done(key, done))
        # A cancelled caller leaves the work to the others.
        result: Result = await asyncio.shield(doing)
        return result

    def _done(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        del self._doing[key]
        # All callers may be gone.
        retrieve(done)


def apart(endpoint: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that is a plain function, called in a thread, and once for requests with the same response."""
    shared = SharedWork()

    async def answer(request: Request) -> Response:
        headers = tuple(request.headers.get(name) for name in _HEADERS)
        place = (request.method, request.scope["path"], request.scope["query_string"], request.scope.get("root_path"))
        address = request.client.host if request.client else ""
        return await shared.of((*place, address, headers), lambda: endpoint(request))

    return answer
