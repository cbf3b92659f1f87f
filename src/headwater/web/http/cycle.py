"""One request and its response outside the short cut: uvicorn's cycle, with reason phrases and support for HTTP/1.0."""

from __future__ import annotations

from asyncio import Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# Text that may be sent between two writes of an endless response without a meaning, by prefix of the content type.
_PROBES = ((b"text/event-stream", b":\n"), (b"application/json", b"\n"), (b"application/x-ndjson", b"\n"))


class Cycle(RequestResponseCycle):
    """One request of HTTP/1.1 and its response."""

    # Those of the response, as the application sent them.
    _answered: Any = ()

    async def send(self, message: Any) -> None:
        if self.response_started or self.disconnected:
            await super().send(message)
            return
        self._answered = message.get("headers", ())
        reason = message.get("reason")
        if not reason:
            await super().send(message)
            return
        transport = self.transport
        self.transport = _ReasonTransport(transport, message["status"], reason)  # type: ignore[assignment]
        try:
            await super().send(message)
        finally:
            self.transport = transport

    def probe(self) -> None:
        """Write something without a meaning, which fails if the client no longer reads."""
        nothing = _meaningless(self._answered)
        if not self.response_started or self.response_complete or self.disconnected or not nothing:
            return
        self.transport.write(b"%x\r\n%b\r\n" % (len(nothing), nothing) if self.chunked_encoding else nothing)


class UnchunkedCycle(Cycle):
    """The same for HTTP/1.0, which has no chunked encoding: a response of unknown length ends with its connection."""

    _measured = True

    async def send(self, message: Any) -> None:
        if not self.response_started:
            headers = [
                (name, value)
                for name, value in message.get("headers", ())
                if name.lower() not in (b"connection", b"transfer-encoding")
            ]
            self._measured = any(name.lower() == b"content-length" for name, _ in headers)
            if not self._measured:
                self.chunked_encoding = False
            message = {**message, "headers": headers}
        elif not self._measured:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def _meaningless(headers: Any) -> bytes:
    """What may be written between two parts of a response with these headers; b"" for nothing."""
    given = dict(headers)
    kind = given.get(b"content-type", b"")
    if b"content-length" in given:
        return b""
    return next((nothing for start, nothing in _PROBES if kind.startswith(start)), b"")


class _ReasonTransport:
    """Writes a response head with another status line."""

    def __init__(self, transport: Transport, status: int, reason: bytes) -> None:
        self._transport = transport
        self._line = b"HTTP/1.1 %d %s" % (status, reason.translate(None, b"\r\n"))

    def write(self, head: bytes) -> None:
        self._transport.write(self._line + head[head.index(b"\r\n") :])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
