"""Limits the number of long-lived responses, in total and per address; each seat is returned when its response ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from headwater.config import ConsumptionConfig
from headwater.consumption.connection_limits import ConnectionLimits
from headwater.consumption.hub import stall_seconds_max
from headwater.web.http.headers import client_address
from headwater.web.http.stalls import unless_stalled

# The key, in the `extensions` of a scope, of a coroutine function: it returns when the client stops sending.
ENDED_EXTENSION = "headwater.ended"


class Seats:
    """The seats of one kind of endpoint. `consumption` has the header of a trusted proxy with the client's address, and
    how long a client may stall."""

    def __init__(self, seats_max: int, per_address_max: int, consumption: ConsumptionConfig) -> None:
        self._admission = ConnectionLimits(seats_max, per_address_max)
        self._address_header = consumption.client_address_header
        self._stall_seconds_max = stall_seconds_max(consumption.heartbeat_seconds)

    @property
    def taken(self) -> int:
        """How many seats are taken now."""
        return self._admission.connections

    def take(self, request: Request) -> Callable[[], None]:
        """Take a seat; the returned function returns it. Raises TooManyConnections."""
        peer = request.client.host if request.client else None
        address = client_address(request.scope["headers"], peer, self._address_header)
        self._admission.enter(address)
        return lambda: self._admission.leave(address)

    def answer(self, request: Request, events: AsyncIterator[bytes], headers: Mapping[str, str]) -> Response:
        """A response of server-sent events that has a seat until it ends. Raises TooManyConnections."""
        leave = self.take(request)
        answer = _SeatedResponse(events, media_type="text/event-stream", headers=dict(headers))
        answer.leave, answer.stall_seconds_max = leave, self._stall_seconds_max
        return answer


class _SeatedResponse(StreamingResponse):
    """A stream that returns its seat when it ends, even if it never started.

    It ends when the client disconnects or stalls, and leaves no reference cycle.
    """

    leave: Callable[[], None]
    stall_seconds_max: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self.stream_response(unless_stalled(send, scope, self.stall_seconds_max)))
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
    """Wait until the client has disconnected or, if the server can detect it, has closed its sending side.

    Such a client may have disconnected completely, which only a response would show: so do not keep it waiting.
    """
    wait = (scope.get("extensions") or {}).get(ENDED_EXTENSION)
    if wait is not None:
        await wait()
        return
    await _until_gone(receive)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
