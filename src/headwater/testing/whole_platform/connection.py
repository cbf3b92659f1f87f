"""A connection for the requests of campaign clients, at little cost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

HEAD_BYTES_MAX = 65_536


class ConnectionEnded(Exception):
    """The server was unreachable, disconnected, or did not answer in time: it is unknown whether the request was
    processed.
    """


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request."""

    status: int
    body: bytes


class Connection:
    """Requests one after the other to one server, with an API key if one is given; a transport error is a
    ConnectionEnded.
    """

    def __init__(self, host: str, port: int, seconds_max: float = 10.0, *, key: str | None = None) -> None:
        self._host, self._port = host, port
        self._headers = "" if key is None else f"Authorization: Bearer {key}\r\n"
        self._seconds_max = seconds_max
        self._reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request, and wait for the whole response."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Length: {len(body)}\r\n"
        content = self._headers + ("Content-Type: application/json\r\n\r\n" if body else "\r\n")
        try:
            async with asyncio.timeout(self._seconds_max):
                await self.send((head + content).encode() + body)
                return await self._answer()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError) as error:
            self.abort()
            raise ConnectionEnded(f"{type(error).__name__}: {error}") from error

    async def send(self, data: bytes) -> None:
        """Send bytes as they are. Raises OSError."""
        if self.writer is None:
            self._reader, self.writer = await asyncio.open_connection(self._host, self._port, limit=HEAD_BYTES_MAX)
        self.writer.write(data)
        await self.writer.drain()

    async def received(self, bytes_max: int = HEAD_BYTES_MAX) -> bytes:
        """What the server sends next; empty if it has disconnected. Raises OSError."""
        assert self._reader is not None
        return await self._reader.read(bytes_max)

    def abort(self) -> None:
        """Disconnect at once, like a killed process."""
        if self.writer is not None:
            self.writer.transport.abort()
        self._reader = self.writer = None

    async def _answer(self) -> Answer:
        assert self._reader is not None
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
        body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        if b"close" in headers.get(b"connection", b""):
            self.abort()
        return Answer(status, body)
