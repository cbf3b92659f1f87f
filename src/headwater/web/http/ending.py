"""The end of a connection whose request was refused before it was complete: the client can still read the reason."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Protocol, Transport
from collections.abc import Callable

# How long a client that is still sending may take to read why it was refused.
ENDING_SECONDS = 2.0
# How much of what it still sends is read in that time.
ENDING_BYTES_MAX = 1_048_576


class Ending(Protocol):
    """Takes over a connection after its last response: closed immediately, it would be reset, and the response lost."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop, lost: Callable[[Exception | None], None]) -> None:
        self._transport = transport
        self._lost = lost
        if transport.can_write_eof():
            transport.write_eof()
        self._bytes_left = ENDING_BYTES_MAX
        self._timer = loop.call_later(ENDING_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._lost(exc)
