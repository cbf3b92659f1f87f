"""Seats of long-lived answers: so many in all, and so many for each address, given back however the answer ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from headwater.consumption.admission import Admission
from headwater.web.http.headers import client_address

# The key, in the `extensions` of a scope, of a coroutine function: it ends when the client sends nothing more.
ENDED_EXTENSION = "headwater.ended"


class Seats:
    """Those of one kind of endpoint. `address_header`: where a trusted proxy puts the client's address."""

    def __init__(self, seats_max: int, per_address_max: int, address_header: str | None) -> None:
        self._admission = Admission(seats_max, per_address_max)
        self._address_header = address_header

    @property
    def taken(self) -> int:
        """How many are taken now."""
        return self._admission.connections

    def take(self, request: Request) -> Callable[[], None]:
        """Take a seat; the function gives it back. Raises TooManyConnections."""
        peer = request.client.host if request.client else None
        address = client_address(request.scope["headers"], peer, self._address_header)
        self._admission.enter(address)
        return lambda: self._admission.leave(address)


class SeatedResponse(StreamingResponse):
    """A stream that gives its seat back when it ends, also where it never began.

    It ends when the client has gone, and leaves no cycle of references behind.
    """

    leave: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self.stream_response(send))
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
            self.leave()
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error


async def until_ended(scope: Scope, receive: Receive) -> None:
    """Wait until the client has gone or, where the server knows of that, sends nothing more.

    Who has closed its half of the connection may have gone altogether. Only an answer shows it, so there is no use in
    having it wait for one.
    """
    wait = (scope.get("extensions") or {}).get(ENDED_EXTENSION)
    if wait is not None:
        await wait()
        return
    await _until_gone(receive)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
