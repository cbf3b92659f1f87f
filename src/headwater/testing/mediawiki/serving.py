"""Serves a stand-in over HTTP/1.1 on the loopback address, down to resets and bodies that end too early.

How this works: httptools parses, and an answer is known as soon as its request has arrived; it is written at once, or
by a timer. No framework can reset a connection or end one in the middle of a body, which real servers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import urllib.parse
from collections import deque
from collections.abc import AsyncIterator, Iterator

import httptools

from headwater.testing.in_thread import open_in_thread
from headwater.testing.mediawiki import control
from headwater.testing.mediawiki.exchange import Answer, Request, html_error, phrase
from headwater.testing.mediawiki.stand_in import MediaWikiStandIn

_logger = logging.getLogger(__name__)
HEAD_BYTES_MAX = 262_144
HOST = "127.0.0.1"
# Requests that a client sends ahead of their answers, on one connection.
AHEAD_MAX = 1_000
# Close with a reset: linger, for no time.
_RESET = struct.pack("ii", 1, 0)
_NEVER_WITH_A_BODY = (204, 304)


@contextlib.asynccontextmanager
async def serving(stand_in: MediaWikiStandIn, port: int = 0) -> AsyncIterator[str]:
    """Serve on a port of the loopback address (0: a free one) in the running event loop; gives the base URL.

    When the block is left, open connections are aborted.

    :raises OSError: the port is taken.
    """
    open_ones: set[_Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(stand_in, open_ones), HOST, port, backlog=1_024)
    try:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in list(open_ones):
            connection.abort()
        await server.wait_closed()


@contextlib.contextmanager
def serving_in_thread(stand_in: MediaWikiStandIn, port: int = 0) -> Iterator[str]:
    """`serving` from a thread with an event loop of its own, for tests that are not asynchronous.

    :raises OSError: the port is taken.
    """
    with open_in_thread(lambda: serving(stand_in, port), "mediawiki-stand-in") as address:
        yield address


class _Connection(asyncio.Protocol):
    """One connection: requests are answered one after the other, in order."""

    def __init__(self, stand_in: MediaWikiStandIn, open_ones: set[_Connection]) -> None:
        self._stand_in = stand_in
        self._open_ones = open_ones
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_answering = False
        # Requests to the control plane are not among those in flight.
        self._is_counted = False
        self._begin()

    def _begin(self) -> None:
        self._url = bytearray()
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head_bytes = 0
        self._too_large = 0

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._open_ones) >= self._stand_in.settings.connections_max:
            self._reset()
            return
        self._open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        self._transport = None
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._finish()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request was answered as if it had not asked for another protocol.
            self._close()
        except httptools.HttpParserError:
            self._refuse(400)

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        if self._has_room_for(url):
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_room_for(name + value):
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def _has_room_for(self, data: bytes) -> bool:
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._too_large = 431
        return not self._too_large

    def on_body(self, data: bytes) -> None:
        # What is too large is read to its end and not kept: a client that still sends would not see the refusal.
        if self._too_large:
            return
        if len(self._body) + len(data) > self._stand_in.settings.request_bytes_max:
            self._too_large = 413
            return
        self._body += data

    def on_message_complete(self) -> None:
        if self._too_large or len(self._waiting) >= AHEAD_MAX:
            self._refuse(self._too_large or 503)
            return
        url = httptools.parse_url(bytes(self._url))
        path = urllib.parse.unquote((url.path or b"/").decode("latin-1"))
        query = (url.query or b"").decode("latin-1")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, query, self._headers, bytes(self._body))
        self._waiting.append((request, self._parser.should_keep_alive()))
        self._next()

    # Answering.

    def _next(self) -> None:
        while self._waiting and not self._is_answering and self._transport is not None:
            request, keeps = self._waiting.popleft()
            self._is_answering = True
            answer = self._answer(request)
            if answer.delay_seconds > 0:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(answer.delay_seconds, self._send_late, request, answer, keeps)
            else:
                self._send(request, answer, keeps)

    def _answer(self, request: Request) -> Answer:
        is_control = request.path.startswith(control.PREFIX)
        self._is_counted = not is_control
        try:
            return control.answer(self._stand_in, request) if is_control else self._stand_in.answer(request)
        except Exception:
            # The parser, in whose callback this is, would make a 400 of it.
            _logger.exception("The stand-in could not answer %s %s.", request.method, request.path)
            return html_error(500, "The stand-in could not answer: see its log.")

    def _finish(self) -> None:
        if self._is_answering and self._is_counted:
            self._stand_in.finished()
        self._is_answering = self._is_counted = False

    def _send_late(self, request: Request, answer: Answer, keeps: bool) -> None:
        self._send(request, answer, keeps)
        self._next()

    def _send(self, request: Request, answer: Answer, keeps: bool) -> None:
        transport = self._transport
        self._timer = None
        self._finish()
        if transport is None:
            return
        if answer.reset:
            self._reset()
            return
        is_cut = answer.body_bytes_sent is not None
        body = b"" if request.method == "HEAD" else answer.body[: answer.body_bytes_sent]
        transport.write(_head(answer, keeps) + body)
        if is_cut or not keeps:
            self._close()

    def _refuse(self, status: int) -> None:
        """Answer that the request cannot be read, and listen no further."""
        if self._transport is not None and not self._is_answering:
            answer = html_error(status)
            self._transport.write(_head(answer, keeps=False) + answer.body)
        self._close()

    def _close(self) -> None:
        self._waiting.clear()
        if self._transport is not None:
            self._transport.close()

    def _reset(self) -> None:
        transport = self._transport
        if transport is not None:
            raw = transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()

    def abort(self) -> None:
        """Drop the connection, and whatever is still to be sent on it."""
        if self._transport is not None:
            self._transport.abort()


def _head(answer: Answer, keeps: bool) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {phrase(answer.status)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.status not in _NEVER_WITH_A_BODY:
        lines.append(f"Content-Length: {len(answer.body)}")
    if not keeps:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
