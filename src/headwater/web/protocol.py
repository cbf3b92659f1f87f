"""uvicorn's HTTP/1.1 protocol with EventGate's reason phrases, and a short cut for the intake's hot path.

How this works: ASGI has no field for a reason phrase, so `http.response.start` may carry `reason`, which only this
class honours. The short cut takes the plainest requests past ASGI: POST of JSON to /v1/events or /v2/events, with a
content-length within the limit, no query, no encoding, and nothing else under way on the connection. They need no
scope, no message dictionaries and, where all goes well, no task: what the parser hands over goes straight to the
endpoint, and the answer is written when the log has the events. Everything else goes uvicorn's own way. A request on
the short cut looks like a request to uvicorn, as long as it lasts: pipelined requests queue behind it, a shutdown waits
for it, and a lost connection marks it.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Transport
from collections.abc import Coroutine
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from headwater.web.cloudevents import BINARY_MARK
from headwater.web.events import Answer, EventsEndpoint

_PATHS = frozenset({b"/v1/events", b"/v2/events"})
# A request that has one of these is not plain.
_UNUSUAL = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", BINARY_MARK})
_log = logging.getLogger(__name__)


class HeadwaterProtocol(HttpToolsProtocol):
    """One connection."""

    _standing: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        endpoint = getattr(config.loaded_app, "events", None)
        plain = isinstance(endpoint, EventsEndpoint) and self.limit_concurrency is None and not self.root_path
        self._endpoint: EventsEndpoint | None = endpoint if plain else None
        # The request the parser is in, where that one takes the short cut.
        self._short_cut: _ShortCut | None = None
        # When the last answer was given; None while a request is coming in or being answered.
        self._idle_since: float | None = None

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        endpoint = self._endpoint
        if endpoint is not None and self.url in _PATHS and self._is_plain(endpoint.config.request_bytes_max):
            self._short_cut = _ShortCut(self, endpoint)
            self.cycle = self._short_cut  # type: ignore[assignment]
            return
        self._short_cut = None
        before = self.cycle
        self._make_scope()
        super().on_headers_complete()
        if self.cycle is not before and self.cycle is not None:
            # The class is named inside uvicorn's method, and nothing of the cycle has run yet.
            self.cycle.__class__ = _Cycle
            # How the stream endpoint drops a client whose buffers are full, without waiting for it.
            extensions: dict[str, Any] = {"headwater.abort": self.transport.abort}
            self.scope["extensions"] = extensions

    def on_body(self, body: bytes) -> None:
        if self._short_cut is not None:
            self._short_cut.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._short_cut is not None:
            self._short_cut.run()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _unset_keepalive_if_required(self) -> None:
        # One timer per connection that looks when it fires costs less than one per request that is cancelled.
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None or self.transport.is_closing():
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)

    def standing_lines(self) -> bytes:
        """The headers uvicorn gives to every answer, as they stand on the wire; the list is a new one every second."""
        headers = self.server_state.default_headers
        known, lines = HeadwaterProtocol._standing
        if known is not headers:
            lines = b"".join([part for name, value in headers for part in (name, b": ", value, b"\r\n")])
            HeadwaterProtocol._standing = (headers, lines)
        return lines

    def _make_scope(self) -> None:
        """What uvicorn makes of every request at its first byte, and the short cut does without."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.headers.extend(headers)
        self.url, self.expect_100_continue = url, expect

    def _is_plain(self, bytes_max: int) -> bool:
        """Whether the request whose headers have just ended may take the short cut."""
        cycle = self.cycle
        if (cycle is not None and not cycle.response_complete) or self.pipeline:
            return False
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return False
        length, is_json = None, False
        for name, value in self.headers:
            if name == b"content-type":
                is_json = value == b"application/json"
            elif name == b"content-length":
                length = value
            elif name in _UNUSUAL:
                return False
        return is_json and length is not None and length.isdigit() and 0 < int(length) <= bytes_max


class _Nobody:
    """Stands where uvicorn expects the event its own requests wait for."""

    def set(self) -> None:
        """Nobody waits."""


class _ShortCut:
    """One request on the short cut. The attributes without underscore are those uvicorn reads and sets."""

    __slots__ = (
        "_endpoint",
        "_headers",
        "_protocol",
        "_uri",
        "disconnected",
        "keep_alive",
        "parts",
        "response_complete",
    )

    message_event = _Nobody()

    def __init__(self, protocol: HeadwaterProtocol, endpoint: EventsEndpoint) -> None:
        self._protocol = protocol
        self._endpoint = endpoint
        self._uri = protocol.url
        self._headers = protocol.headers
        self.keep_alive: bool = protocol.parser.should_keep_alive()
        self.parts: list[bytes] = []
        self.disconnected = False
        self.response_complete = False

    def run(self) -> None:
        """Answer the request, whose body is complete."""
        protocol = self._protocol
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts = []
        peer = protocol.client[0] if protocol.client else None
        try:
            coroutine = self._endpoint.answer_at_once(self._headers, body, peer, self._uri, self.respond)
        except Exception:
            _log.exception("a request could not be answered")
            self.respond(_FAILED)
            return
        if coroutine is not None:
            task = protocol.loop.create_task(self._finish(coroutine))
            protocol.tasks.add(task)
            task.add_done_callback(protocol.tasks.discard)

    async def _finish(self, coroutine: Coroutine[Any, Any, Answer]) -> None:
        try:
            answer = await coroutine
        except Exception:
            _log.exception("a request could not be answered")
            answer = _FAILED
        self.respond(answer)

    def respond(self, answer: Answer) -> None:
        """Write the answer, and let the connection go on to its next request."""
        protocol = self._protocol
        self.response_complete = True
        if self.disconnected or protocol.transport.is_closing():
            return
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        protocol.transport.write(b"".join((answer.head, protocol.standing_lines(), end, answer.body)))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


_FAILED = Answer(500, b"", [(b"content-length", b"0")])


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
