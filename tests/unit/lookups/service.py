"""A small HTTP service for tests: a function answers each request, and what was asked is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from headwater.lookups import Lookups, open_lookups
from headwater.settings import LookupsConfig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(slots=True)
class Asked:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Service:
    """What was asked so far, and the address."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    in_flight: int = 0
    in_flight_max: int = 0


# The bytes of an answer, or None to close the connection without one.
Answering = Callable[[Asked], Awaitable[bytes | None]]


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """An answer; `_` in the name of a header is `-`."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ", 2)
    return Asked(method, target, headers, body)


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[Service]:
    """A service on a free port of the loopback address."""
    service = Service()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while (asked := await _read(reader)) is not None:
                service.asked.append(asked)
                service.in_flight += 1
                service.in_flight_max = max(service.in_flight, service.in_flight_max)
                try:
                    made = await answering(asked)
                finally:
                    service.in_flight -= 1
                if made is None:
                    return
                writer.write(made)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def asking(answering: Answering, **settings: object) -> AsyncIterator[tuple[Lookups, Service]]:
    """Lookups with short pauses, and a service to ask."""
    given = {"retry_first_seconds": 0.01, "total_seconds_max": 5.0, "read_seconds_max": 0.5, **settings}
    async with (
        serving(answering) as service,
        open_lookups(LookupsConfig(**given)) as lookups,  # type: ignore[arg-type]
    ):
        yield lookups, service
