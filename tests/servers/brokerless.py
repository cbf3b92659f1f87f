"""A Kafka broker behind a proxy that can make it answer as a fenced broker does: that its cluster has no brokers.

How this works: the proxy passes all messages on, and replaces the brokers in each Metadata response: by itself, or
by none. Whether a client loses its brokers for good by that depends on which of its threads is faster, so a test
repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

METADATA = 3
# From this version on, lengths are variable and headers have tags.
FLEXIBLE_VERSION = 9


class BrokerlessProxy:
    """One broker, at `bootstrap`. Belongs to one event loop."""

    def __init__(self, broker: str) -> None:
        self.is_fenced = False
        self.port = 0
        self.fenced_answers = 0
        host, port = broker.rsplit(":", 1)
        self._broker = (host, int(port))
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it, the broker or the proxy ends the connection."""
        self._writers.add(writer)
        versions: dict[int, int] = {}
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            from_broker, to_broker = await asyncio.open_connection(*self._broker)
            self._writers.add(to_broker)
            ways = [self._requests(reader, to_broker, versions), self._responses(from_broker, writer, versions)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                to_broker.close()
                self._writers.discard(to_broker)
        writer.close()
        self._writers.discard(writer)

    def end(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, versions: dict[int, int]
    ) -> None:
        while True:
            message = await _message(reader)
            kind, version, number = struct.unpack_from(">hhi", message)
            if kind == METADATA:
                versions[number] = version
            await _send(writer, message)

    async def _responses(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, versions: dict[int, int]
    ) -> None:
        while True:
            message = await _message(reader)
            version = versions.pop(*struct.unpack_from(">i", message), None)
            if version is None:
                await _send(writer, message)
                continue
            is_fenced = self.is_fenced
            await _send(writer, self._with_brokers(message, version, is_fenced=is_fenced))
            if is_fenced:
                self.fenced_answers += 1
                return

    def _with_brokers(self, message: bytes, version: int, *, is_fenced: bool) -> bytes:
        """The response with this proxy as each broker, or with none."""
        reader = _Fields(message, flexible=version >= FLEXIBLE_VERSION)
        reader.skip(4)
        reader.skip_tags()
        reader.skip(4 if version >= FLEXIBLE_VERSION - 6 else 0)
        start = reader.at
        brokers = []
        for _ in range(reader.count()):
            begin = reader.at
            reader.skip(4)
            reader.skip_text()
            end = reader.at
            reader.skip(4)
            rest = reader.at
            reader.skip_text()
            reader.skip_tags()
            brokers.append(message[begin:end] + struct.pack(">i", self.port) + message[rest : reader.at])
        shown = [] if is_fenced else brokers
        return message[:start] + reader.count_of(len(shown)) + b"".join(shown) + message[reader.at :]


class _Fields:
    """Reads one message field by field, in Kafka's encoding."""

    def __init__(self, message: bytes, *, flexible: bool) -> None:
        self.at = 0
        self._message = message
        self._flexible = flexible

    def skip(self, count: int) -> None:
        self.at += count

    def skip_text(self) -> None:
        if self._flexible:
            self.skip(max(0, self._number() - 1))
        else:
            (length,) = struct.unpack_from(">h", self._message, self.at)
            self.skip(2 + max(0, length))

    def skip_tags(self) -> None:
        if self._flexible:
            for _ in range(self._number()):
                self._number()
                self.skip(self._number())

    def count(self) -> int:
        if self._flexible:
            return self._number() - 1
        (count,) = struct.unpack_from(">i", self._message, self.at)
        self.skip(4)
        return int(count)

    def count_of(self, number: int) -> bytes:
        assert number < 127
        return bytes([number + 1]) if self._flexible else struct.pack(">i", number)

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._message[self.at]
            self.at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number


async def _message(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


async def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(struct.pack(">i", len(message)) + message)
    await writer.drain()


@contextlib.asynccontextmanager
async def brokerless_proxy(broker: str) -> AsyncIterator[BrokerlessProxy]:
    """A proxy for `broker`, `HOST:PORT`, that runs in this event loop."""
    proxy = BrokerlessProxy(broker)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.end()
        await server.wait_closed()
