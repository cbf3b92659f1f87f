"""A connection between two processes of one platform on one machine: calls with answers, and notices, both ways.

How this works: the two ends share a stream socket (`socket.socketpair()`). A message is one frame: its length, what it
is, the number of the call, the name of the method and the payload, which only the method understands. Frames arrive
in the order in which they were sent, and handlers are called in that order. An error of the family crosses as what it
is (`crossing_errors`). When one end closes, or its process ends, every call under way at the other end
raises LogUnavailable, so that nobody waits for a process that is gone. Messages of any size are received in pieces
between which the event loop does other work; a sender of much divides it into several messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from functools import partial
from typing import cast

from headwater.errors import EventTooLarge, HeadwaterError, LogUnavailable
from headwater.process_link.crossing_errors import decode_error, encode_error

# What an append may have (APPEND_BYTES_MAX of the log), and its envelope: a longer frame can only be a fault.
FRAME_BYTES_MAX = 285_212_672
# Calls of the other end that are being handled at once.
CALLS_MAX = 10_000
# While more than this waits to be sent, `call` waits.
SEND_BUFFER_BYTES_MAX = 1_048_576
RECEIVE_BYTES = 524_288
CLOSE_SECONDS_MAX = 1.0

_LENGTH = struct.Struct("!I")
# Kind, number of the call, length of the method's name.
_HEAD = struct.Struct("!BIB")
_SIZE_BEFORE_METHOD = _LENGTH.size + _HEAD.size

# The answer's payload; None is an empty one.
Answer = bytes | None
Handler = Callable[[bytes], Answer | Awaitable[Answer]]

_log = logging.getLogger(__name__)


class _Kind(IntEnum):
    CALL = 0
    ANSWER = 1
    ERROR = 2
    NOTICE = 3


class Link:
    """One end. Belongs to the event loop that called `start`.

    `peer` says who is at the other end, for messages: "the writing process". `closed` is done when either end has
    closed the link; it never has an exception.
    """

    def __init__(
        self, sock: socket.socket, handlers: Mapping[str, Handler] | None = None, *, peer: str = "the other process"
    ) -> None:
        self.peer = peer
        self._sock = sock
        self._served = _Served(self, handlers or {})
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Future[None] | None = None
        # The transport has released the socket, which may be later.
        self._released = asyncio.Event()
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._at_end: list[Callable[[], None]] = []
        self._writable = asyncio.Event()
        self._writable.set()

    def handle(self, method: str, handler: Handler) -> None:
        """Let `handler` answer the calls of `method`, and receive its notices; before `start`."""
        self._served.handlers[method] = handler

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` at once when the link is closed; before `start`."""
        self._at_end.append(callback)

    async def start(self) -> None:
        """Begin to receive. The link owns the socket from here on."""
        loop = asyncio.get_running_loop()
        self._closed = loop.create_future()
        self._sock.setblocking(False)
        # With the usual 200 KB, two processes would take turns within one message.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES_MAX)
        await loop.create_unix_connection(lambda: _Frames(self), sock=self._sock)

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done when the link is closed. Wait for it with `asyncio.wait` or `shield`, which do not cancel it."""
        if self._closed is None:
            raise RuntimeError("the link has not been started")
        return self._closed

    @property
    def is_open(self) -> bool:
        transport = self._transport
        return transport is not None and not self.closed.done() and not transport.is_closing()

    @property
    def queued_bytes(self) -> int:
        """What is still to be sent."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    async def call(self, method: str, payload: bytes = b"") -> bytes:
        """The answer of the other end; waits while much is being sent. Raises its error, or LogUnavailable."""
        await self._writable.wait()
        return await self.send(method, payload)

    def send(self, method: str, payload: bytes = b"") -> asyncio.Future[bytes]:
        """`call` that does not wait: the frame is queued behind those before it. The caller limits how much that is.

        Raises LogUnavailable if the link is closed, EventTooLarge.
        """
        transport = self._opened()
        self._number = (self._number + 1) & 0xFFFF_FFFF
        number = self._number
        _write(transport, _Kind.CALL, number, method, payload)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        return future

    def notify(self, method: str, payload: bytes = b"") -> None:
        """Send a message that has no answer; it is discarded if the link is closed. Raises EventTooLarge."""
        if self.is_open:
            _write(self._opened(), _Kind.NOTICE, 0, method, payload)

    async def close(self) -> None:
        """Send what is queued, within CLOSE_SECONDS_MAX, and close; idempotent."""
        if self._transport is None:
            self._sock.close()
            return
        self._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self._released.wait()
        self.abort()
        await self._released.wait()

    def abort(self) -> None:
        """Close at once: nothing more is sent, and nothing that has arrived is handled."""
        if self._transport is not None:
            self._transport.abort()
            self._end()

    def _opened(self) -> asyncio.Transport:
        if self._transport is None or not self.is_open:
            raise self._ended()
        return self._transport

    def _ended(self) -> LogUnavailable:
        peer = self.peer[:1].upper() + self.peer[1:]
        return LogUnavailable(f"{peer} has ended, or has closed the connection to this one.")

    # What the protocol reports.

    def connection_made(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(SEND_BUFFER_BYTES_MAX)
        self._transport = transport

    def connection_lost(self) -> None:
        self._released.set()
        self._end()

    def _end(self) -> None:
        if self.closed.done():
            return
        self.closed.set_result(None)
        self._writable.set()
        calls, self._calls = self._calls, {}
        for future in calls.values():
            if not future.done():
                future.set_exception(self._ended())
                # Who no longer waits for the answer need not be told.
                future.exception()
        self._served.cancel()
        for callback in self._at_end:
            callback()

    def set_writable(self, is_writable: bool) -> None:
        if is_writable:
            self._writable.set()
        else:
            self._writable.clear()

    def received(self, kind: int, number: int, method: str, payload: bytes) -> None:
        """One frame has arrived."""
        if kind in (_Kind.CALL, _Kind.NOTICE):
            self._served.serve(kind, number, method, payload)
            return
        # One whose caller was cancelled is answered all the same.
        future = self._calls.pop(number, None)
        if future is not None and not future.done():
            if kind == _Kind.ANSWER:
                future.set_result(payload)
            else:
                future.set_exception(decode_error(payload))

    def answer(self, kind: _Kind, number: int, payload: bytes) -> None:
        """Answer a call; discarded if the link is closed. Raises EventTooLarge."""
        if self.is_open:
            with contextlib.suppress(LogUnavailable):
                _write(self._opened(), kind, number, "", payload)


class _Served:
    """The calls and notices of the other end."""

    def __init__(self, link: Link, handlers: Mapping[str, Handler]) -> None:
        self.handlers = dict(handlers)
        self._link = link
        self._running: set[asyncio.Future[Answer]] = set()

    def cancel(self) -> None:
        for running in tuple(self._running):
            running.cancel()

    def serve(self, kind: int, number: int, method: str, payload: bytes) -> None:
        try:
            answer = self._handled(method, payload)
        except Exception as error:
            self._refuse(kind, number, method, error)
            return
        if isinstance(answer, asyncio.Future):
            self._running.add(answer)
            answer.add_done_callback(partial(self._ended, kind, number, method))
        else:
            self._answer(kind, number, method, answer)

    def _handled(self, method: str, payload: bytes) -> Answer | asyncio.Future[Answer]:
        handler = self.handlers.get(method)
        if handler is None:
            raise HeadwaterError(f"This end of the link has no method {method!r}.")
        if len(self._running) >= CALLS_MAX:
            raise LogUnavailable(f"{CALLS_MAX:,} calls are being handled.", hint="Try again, more slowly.")
        answer = handler(payload)
        return answer if isinstance(answer, bytes) or answer is None else asyncio.ensure_future(answer)

    def _ended(self, kind: int, number: int, method: str, running: asyncio.Future[Answer]) -> None:
        self._running.discard(running)
        if running.cancelled():
            self._refuse(kind, number, method, LogUnavailable(f"{method!r} was cancelled."))
        elif (error := running.exception()) is not None:
            self._refuse(kind, number, method, error)
        else:
            self._answer(kind, number, method, running.result())

    def _answer(self, kind: int, number: int, method: str, payload: Answer) -> None:
        if kind == _Kind.CALL:
            try:
                self._link.answer(_Kind.ANSWER, number, payload or b"")
            except HeadwaterError as error:
                self._refuse(kind, number, method, error)

    def _refuse(self, kind: int, number: int, method: str, error: BaseException) -> None:
        if not isinstance(error, HeadwaterError) or (kind == _Kind.NOTICE and self._link.is_open):
            _log.error("%s of %s failed", method, self._link.peer, exc_info=error)
        if kind == _Kind.CALL:
            self._link.answer(_Kind.ERROR, number, encode_error(error))


def _write(transport: asyncio.Transport, kind: int, number: int, method: str, payload: bytes) -> None:
    name = method.encode()
    length = _HEAD.size + len(name) + len(payload)
    if length > FRAME_BYTES_MAX:
        raise EventTooLarge(f"A message of {length} bytes is over the limit of {FRAME_BYTES_MAX} between processes.")
    head = _LENGTH.pack(length) + _HEAD.pack(kind, number, len(name)) + name
    transport.write(head + payload)


class _Frames(asyncio.BufferedProtocol):
    """Divides what arrives into frames. Everything is received into one buffer, which grows for a larger frame."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._buffer = bytearray(RECEIVE_BYTES)
        self._filled = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is no subclass.
        self._link.connection_made(cast("asyncio.Transport", transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.connection_lost()

    def pause_writing(self) -> None:
        self._link.set_writable(False)

    def resume_writing(self) -> None:
        self._link.set_writable(True)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        start, end = 0, self._filled
        needed = _LENGTH.size
        with memoryview(self._buffer) as view:
            while end - start >= _LENGTH.size:
                length = _LENGTH.unpack_from(view, start)[0]
                if not _HEAD.size <= length <= FRAME_BYTES_MAX:
                    _log.error("%s sent a frame of %d bytes: the link is closed", self._link.peer, length)
                    self._link.abort()
                    return
                needed = _LENGTH.size + length
                if end - start < needed:
                    break
                kind, number, name_length = _HEAD.unpack_from(view, start + _LENGTH.size)
                body = start + _SIZE_BEFORE_METHOD + name_length
                method = str(view[start + _SIZE_BEFORE_METHOD : body], "utf-8", "replace")
                self._link.received(kind, number, method, bytes(view[body : start + needed]))
                if not self._link.is_open:
                    # A handler has closed it: what came after is not handled.
                    return
                start += needed
                needed = _LENGTH.size
        self._keep(start, end, needed)

    def _keep(self, start: int, end: int, needed: int) -> None:
        """Move what is left of a frame to the beginning of a buffer in which all of it has room."""
        self._filled = end - start
        size = max(RECEIVE_BYTES, needed)
        if size != len(self._buffer):
            buffer = bytearray(size)
            buffer[: self._filled] = self._buffer[start:end]
            self._buffer = buffer
        elif start and self._filled:
            self._buffer[: self._filled] = self._buffer[start:end]
