"""Work that takes long is done in threads, few at a time, and shared by all who ask for the same meanwhile.

How this works: an endpoint that is a plain function is such work (see `Route`). A thread that computes lets the event
loop have the interpreter again after some milliseconds; with many of them the loop would wait for one after the other.
So there are few, and the others wait. Requests that would be given the same answer, which are those of one sender or
of many with the same path, query and headers that matter, wait for one answer together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, TypeVar

import anyio.lowlevel
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from headwater.garbage import uncollected

THREADS_MAX = 2
# What an endpoint may look at besides the path and the query.
_HEADERS = ("accept", "authorization", "host", "if-none-match")

Result = TypeVar("Result")

_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("limiter")


async def in_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """What `work` gives, made in a thread when there is one free."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS_MAX)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(uncollected, work, *arguments, limiter=limiter)


class SharedWork:
    """Work that is done once for all who ask for it while it is being done. Belongs to one event loop."""

    def __init__(self) -> None:
        self._doing: dict[Hashable, asyncio.Task[Any]] = {}

    async def of(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """What `work` gives, made in a thread; or what the same work gives that was begun with this key before."""
        return await self.awaited(key, lambda: in_thread(work))

    async def awaited(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The same for work that is a coroutine."""
        doing = self._doing.get(key)
        if doing is None:
            doing = self._doing[key] = asyncio.ensure_future(work())
            doing.add_done_callback(lambda done: self._done(key, done))
        # Whoever goes away leaves it to the others.
        result: Result = await asyncio.shield(doing)
        return result

    def _done(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        del self._doing[key]
        if not done.cancelled():
            # Somebody may have asked and gone away; an error is not said to be lost then.
            done.exception()


def apart(endpoint: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that is a plain function, called in a thread, and once for requests that get the same answer."""
    shared = SharedWork()

    async def answer(request: Request) -> Response:
        headers = tuple(request.headers.get(name) for name in _HEADERS)
        place = (request.method, request.scope["path"], request.scope["query_string"], request.scope.get("root_path"))
        address = request.client.host if request.client else ""
        return await shared.of((*place, address, headers), lambda: endpoint(request))

    return answer
