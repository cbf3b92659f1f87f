"""Serves streams on a free port for tests, with a client that sees every byte and can disconnect after any of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from headwater.consumption.hub import StreamHub
from headwater.web.protocol import HeadwaterProtocol
from headwater.web.stream import StreamEndpoint


class Frame(NamedTuple):
    """One complete SSE block: its fields, and its comment if it had one."""

    event: str
    id: str | None
    data: str | None
    comment: str | None = None

    def value(self) -> Any:
        return orjson.loads(self.data or "null")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextlib.asynccontextmanager
async def serving_streams(hub: StreamHub) -> AsyncIterator[int]:
    """Serve `/v2/stream/…` of `hub` on a free port of the loopback address; yields the port."""
    app = Starlette(routes=[Route("/v2/stream/{streams:path}", StreamEndpoint(hub), methods=["GET", "HEAD"])])
    config = uvicorn.Config(
        app, port=0, http=HeadwaterProtocol, ws="none", lifespan="off", log_level="warning", access_log=False
    )
    server = _Server(config)
    running = asyncio.create_task(server._serve())
    await asyncio.wait([running, asyncio.create_task(server.listening.wait())], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        await hub.close()
        server.should_exit = True
        await running


@dataclass
class RawAnswer:
    """The response: status line, headers, and the body's bytes so far, without their chunk frames."""

    status: int
    reason: str
    headers: Mapping[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    raw: bytearray = field(default_factory=bytearray)
    ended: bool = False

    @property
    def body(self) -> bytes:
        """The bytes of the body received so far; including those of an incomplete chunk."""
        if self.headers.get("transfer-encoding") != "chunked":
            return bytes(self.raw)
        return b"".join(_chunks(bytes(self.raw)))

    def frames(self) -> list[Frame]:
        """The complete SSE blocks received so far."""
        blocks = self.body.decode("utf-8", "replace").split("\n\n")[:-1]
        return [_frame(block) for block in blocks]

    def last_id(self) -> str | None:
        """The last event id a browser would now have."""
        return next((frame.id for frame in reversed(self.frames()) if frame.id is not None), None)

    async def receive(self, *, bytes_max: int = 65_536, seconds: float = 5.0) -> bool:
        """Receive some more bytes; False at the end, or if nothing arrived in time."""
        try:
            data = await asyncio.wait_for(self.reader.read(bytes_max), seconds)
        except (TimeoutError, ConnectionError):
            return False
        self.raw += data
        length = self.headers.get("content-length")
        is_whole = self.raw.endswith(b"0\r\n\r\n") if length is None else len(self.raw) >= int(length)
        self.ended = self.ended or not data or is_whole
        return bool(data)

    async def until(self, text: bytes, *, seconds: float = 5.0) -> bool:
        """Receive until the body contains `text`."""
        while text not in self.body:
            if self.ended or not await self.receive(seconds=seconds):
                return False
        return True

    async def to_end(self, *, seconds: float = 10.0) -> None:
        """Receive until the server ends the response."""
        while not self.ended and await self.receive(seconds=seconds):
            pass

    def hang_up(self) -> None:
        """Drop the connection at once."""
        self.writer.transport.abort()


async def request(
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    receive_buffer_bytes: int | None = None,
) -> RawAnswer:
    """Send a request and read the head of its response. With a small receive buffer a slow reader blocks sooner."""
    connection = socket.socket()
    connection.setblocking(False)
    if receive_buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=receive_buffer_bytes or 65_536)
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    _, status, *reason = head[0].split(" ", 2)
    pairs = (line.partition(":") for line in head[1:] if line)
    found = {name.lower(): value.strip() for name, _, value in pairs}
    return RawAnswer(int(status), reason[0] if reason else "", found, reader, writer, ended=method == "HEAD")


def _chunks(raw: bytes) -> Iterator[bytes]:
    at = 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        size = int(raw[at:end], 16)
        yield raw[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def _frame(block: str) -> Frame:
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    data = "\n".join(fields["data"]) if "data" in fields else None
    comment = fields[""][0] if "" in fields else None
    return Frame(fields.get("event", ["message"])[-1], fields["id"][-1] if "id" in fields else None, data, comment)
