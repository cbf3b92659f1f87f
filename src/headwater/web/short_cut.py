"""One request on the short cut past ASGI, which looks like one of uvicorn's own."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from headwater.web.events import Answer, EventsEndpoint

_log = logging.getLogger(__name__)


class Connection(Protocol):
    """What a request on the short cut needs of its connection."""

    url: bytes
    headers: list[tuple[bytes, bytes]]
    parser: Any
    client: Any
    loop: Any
    tasks: Any
    transport: Any

    def standing_lines(self) -> bytes:
        """The headers of every response, as sent."""
        ...

    def on_response_complete(self) -> None:
        """Continue with the next request."""


_FAILED = Answer(500, b"", [(b"content-length", b"0")])


class _Nobody:
    """Takes the place of the event that uvicorn's own requests wait for."""

    def set(self) -> None:
        """Does nothing: a request on the short cut does not wait for it."""


class ShortCut:
    """One request. The attributes without underscore are those uvicorn reads and sets."""

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

    def __init__(self, protocol: Connection, endpoint: EventsEndpoint) -> None:
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
        """Write the response, and let the connection continue with its next request."""
        protocol = self._protocol
        self.response_complete = True
        if self.disconnected or protocol.transport.is_closing():
            return
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        protocol.transport.write(b"".join((answer.head, protocol.standing_lines(), end, answer.body)))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()
