"""uvicorn's HTTP/1.1 protocol with EventGate's reason phrases, and a short cut for the intake's hot path.

How this works: ASGI has no field for a reason phrase, so `http.response.start` may carry `reason`, which only this
class honours. The short cut takes the plainest requests – POST /v1/events or /v2/events with a content-length, no
query, nothing else under way on the connection – past ASGI: no scope, no task for reading, no message dictionaries.
Everything else, and everything unusual (Expect, pipelining, chunked bodies, upgrades), goes uvicorn's own way.
"""

from __future__ import annotations

from asyncio import Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class HeadwaterProtocol(HttpToolsProtocol):
    """One connection."""

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.cycle is not None:
            # The class is named inside uvicorn's method, and nothing of the cycle has run yet.
            self.cycle.__class__ = _Cycle
            # How the stream endpoint drops a client whose buffers are full, without waiting for it.
            extensions: dict[str, Any] = {"headwater.abort": self.transport.abort}
            self.scope["extensions"] = extensions


class _Cycle(RequestResponseCycle):
    """One request and its response."""

    async def send(self, message: Any) -> None:
        reason = message.get("reason")
        if not reason or self.response_started or self.disconnected:
            await super().send(message)
            return
        transport = self.transport
        self.transport = _ReasonTransport(transport, message["status"], reason)  # type: ignore[assignment]
        try:
            await super().send(message)
        finally:
            self.transport = transport


class _ReasonTransport:
    """Writes a response head with another status line."""

    def __init__(self, transport: Transport, status: int, reason: bytes) -> None:
        self._transport = transport
        self._line = b"HTTP/1.1 %d %s" % (status, reason.translate(None, b"\r\n"))

    def write(self, head: bytes) -> None:
        self._transport.write(self._line + head[head.index(b"\r\n") :])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
