"""Seats of long-lived answers: so many in all, and so many for each address, given back however the answer ends."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from headwater.consumption.admission import Admission


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
        address = request.client.host if request.client else ""
        if self._address_header is not None:
            address = request.headers.get(self._address_header, "").strip() or address
        self._admission.enter(address)
        return lambda: self._admission.leave(address)


class SeatedResponse(StreamingResponse):
    """A stream that gives its seat back when it ends, also where it never began."""

    leave: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.leave()
