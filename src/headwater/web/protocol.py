"""uvicorn's HTTP/1.1 protocol with EventGate's reason phrases, and a short cut for the intake's hot path.

How this works: ASGI has no field for a reason phrase, so `http.response.start` may contain `reason`, which only this
class uses. The short cut takes the simplest requests past ASGI: POST of JSON to /v1/events or /v2/events, with a
content-length within the limit, no query, no encoding, and no other request in progress on the connection. They need no
scope, no message dictionaries and, normally, no task: the parser's output goes straight to the endpoint, and the
response is written when the log has the events. Everything else takes uvicorn's normal path. To uvicorn, a request on
the short cut looks like one of its own: pipelined requests queue behind it, a shutdown waits for it, and a lost
connection marks it.

Other requirements of HTTP are met here, too. An offer of another protocol (`Upgrade`) is declined: the parser would
treat what follows such a request as that protocol, so the request is passed to a new parser without the offer. A client
that has sent its request and closes its sending side still gets the response; if that is endless, something without a
meaning is written from time to time, since only a write detects that the client has gone. One timer per connection,
which checks when it fires, enforces the limits on how long requests and pauses may take.

Requests that arrive before an earlier one is answered wait: those parsed together with it in the pipeline, and the rest
as bytes, up to a limit. The connection is still read meanwhile, since only reading detects a disconnect, and an endless
response would otherwise continue without a client.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, BaseTransport, Event, TimerHandle
from typing import Any, ClassVar

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import is_ssl
from uvicorn.server import ServerState

from headwater.config import WebConfig
from headwater.errors import EventMalformed, HeadersTooLarge, HeadwaterError, RequestTooSlow
from headwater.web.cloudevents import BINARY_MARK
from headwater.web.events import EventsEndpoint
from headwater.web.http.cycle import Cycle, UnchunkedCycle
from headwater.web.http.ending import Ending
from headwater.web.http.hosts import WHOLE_TARGET
from headwater.web.http.seats import ENDED_EXTENSION
from headwater.web.http.stalls import ABORT_EXTENSION
from headwater.web.short_cut import ShortCut

_PATHS = frozenset({b"/v1/events", b"/v2/events"})
# A request with one of these headers does not take the short cut.
_UNUSUAL = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", BINARY_MARK})
# The headers that offer another protocol.
_OFFER = frozenset({b"upgrade", b"http2-settings"})
# How often to test whether a client that has closed its sending side still reads.
PROBE_SECONDS = 1.0
# How much of the URL the response to a refused request repeats.
SHOWN_URL_BYTES_MAX = 2_048
# How much the parser gets at once if more has arrived: what is parsed behind an open request cannot be unread.
SLICE_BYTES = 4_096
# How much unparsed data may wait for earlier responses before reading stops.
HELD_BYTES_MAX = 65_536
# The parts of a request that the parser can be in.
_NOTHING, _HEADERS, _BODY = range(3)
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
        limits = getattr(config.loaded_app, "web", None) or WebConfig()
        hosts = getattr(config.loaded_app, "hosts", None)
        # Values of `Host` that need no second check; None: no value needs one.
        self._known_hosts: set[bytes] | None = hosts.known if hosts is not None and hosts.is_checked else None
        self._seconds_max = {_HEADERS: limits.headers_seconds_max, _BODY: limits.body_seconds_max}
        self._headers_max, self._headers_bytes_max = limits.headers_max, limits.headers_bytes_max
        # Bytes of the last read, and bytes since a message, or part of its body, arrived in an earlier read.
        self._read_bytes = self._open_bytes = 0
        self._trailers: list[tuple[bytes, bytes]] = []
        self._refusal: HeadwaterError | None = None
        self._phase = _NOTHING
        # Since when the parser waits for the rest of that, if it does.
        self._phase_since: float | None = None
        self._probing: TimerHandle | None = None
        # The request the parser is in, if it takes the short cut.
        self._short_cut: ShortCut | None = None
        # Received data that is not parsed until earlier requests are answered.
        self._held = bytearray()
        self._is_full = False
        # The request that is being answered, if others wait behind it.
        self._served: Any = None
        # Whether the client has closed its sending side, and the event by which its pending requests learn of that.
        self._is_ended = False
        self._ended: Event | None = None
        # When the last response was sent; None while a request is being received or answered.
        self._idle_since: float | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._idle_since = self.loop.time()
        self._set_timer(self._idle_since + self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        if self._held or self.pipeline:
            self._hold(data)
        elif len(data) <= SLICE_BYTES:
            self._feed(data)
        else:
            self._feed_in_slices(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has closed its sending side. True: the connection stays open, for a response in progress."""
        self._is_ended = True
        if self._ended is not None:
            self._ended.set()
        cycle = self.cycle
        if self._phase == _BODY and not self.pipeline and not self._held and not cycle.response_complete:
            if not getattr(cycle, "response_started", False):
                self._refuse(EventMalformed("The connection was closed before the body was complete."))
            return False
        if cycle is None or cycle.response_complete or is_ssl(self.transport):
            return False
        if not self._held:
            cycle.keep_alive = False
        if self._probing is None:
            self._probe()
        return True

    def _feed(self, data: bytes) -> bool:
        """Pass received data to the parser. False: that ended the connection."""
        self._idle_since = None
        self._read_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(memoryview(data)[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse_unreadable()
            return False
        if self._phase:
            self._open_bytes += self._read_bytes
            if self._open_bytes > self._headers_bytes_max or len(self.headers) > self._headers_max:
                self._refusal = self._too_large()
                self._refuse_unreadable()
                return False
            if self._phase_since is None:
                self._phase_since = self.loop.time()
                self._set_timer(self._phase_since + self._seconds_max[self._phase])
        elif self._idle_since is None and (self.cycle is None or self.cycle.response_complete):
            # Empty lines before a request.
            self._idle_since = self.loop.time()
            self._set_timer(self._idle_since + self.timeout_keep_alive)
        return not self.transport.is_closing()

    def _feed_in_slices(self, data: bytes) -> None:
        """Pass received data to the parser until a request has to wait for an earlier one; the rest is held."""
        start = 0
        while start < len(data):
            if self.pipeline:
                self._hold(data[start:])
                return
            end = start + max(SLICE_BYTES, self._body_bytes_left())
            if not self._feed(data[start:end]):
                return
            start = end

    def _body_bytes_left(self) -> int:
        """How much of a body on the short cut is still to come, which needs no limit on the step."""
        if self._short_cut is None or self._phase != _BODY:
            return 0
        length = next(value for name, value in self.headers if name == b"content-length")
        return int(length) - sum(map(len, self._short_cut.parts))

    def _hold(self, data: bytes) -> None:
        """Hold received data until earlier requests are answered; above the limit, stop reading."""
        self._held += data
        if self._is_full or len(self._held) <= HELD_BYTES_MAX:
            return
        # Not by uvicorn's flow control, which resumes with every response.
        self._is_full = True
        self.transport.pause_reading()
        if self._ended is not None:
            self._ended.set()
        # Now only writing detects a disconnect.
        if self._probing is None:
            self._probing = self.loop.call_later(PROBE_SECONDS, self._probe)

    def _go_on(self) -> None:
        """Earlier requests are answered: continue with the held data."""
        if self.transport.is_closing() or self.pipeline:
            return
        if self._is_full:
            self._is_full = False
            self.transport.resume_reading()
            if self._ended is not None and not self._is_ended:
                self._ended.clear()
        held = bytes(self._held)
        self._held.clear()
        self._feed_in_slices(held)
        if self._is_ended and not self._held and not self.transport.is_closing() and not self.eof_received():
            self.transport.close()

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._phase = _HEADERS
        self._phase_since = None
        self._open_bytes = -self._read_bytes

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if self._phase == _BODY:
            # Trailers are not used.
            self._trailers.append((name, value))
            self._check_size(self._trailers)
            return
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if (
            len(self.headers) > self._headers_max
            # Data that arrived in one small read needs no counting.
            or self._open_bytes + self._read_bytes > 0
            or self._read_bytes > self._headers_bytes_max
        ):
            self._check_size(self.headers, len(self.url))
        self._open_bytes = -self._read_bytes
        if self._trailers:
            self._trailers = []
        self._phase = _BODY
        self._phase_since = None
        endpoint = self._endpoint
        if endpoint is not None and self.url in _PATHS and self._is_plain(endpoint):
            self._short_cut = ShortCut(self, endpoint)
            self.cycle = self._short_cut  # type: ignore[assignment]
            return
        self._short_cut = None
        if self.parser.should_upgrade():
            # The request is parsed again, without the offer.
            return
        before = self.cycle
        self._make_scope()
        super().on_headers_complete()
        if self.cycle is not before and self.cycle is not None:
            if self.pipeline:
                # uvicorn has paused reading: resume it, so that data is held and a disconnect is detected.
                self.flow.resume_reading()
                if len(self.pipeline) == 1:
                    self._served = before
            # The class is named inside uvicorn's method, and nothing of the cycle has run yet.
            if self.parser.get_http_version() == "1.1":
                self.cycle.__class__ = Cycle
            else:
                self.cycle.__class__ = UnchunkedCycle
                self.cycle.keep_alive = self.cycle.waiting_for_100_continue = False
            self._add_extensions()

    def on_body(self, body: bytes) -> None:
        self._open_bytes = -self._read_bytes
        if self._short_cut is not None:
            self._short_cut.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._phase = _NOTHING
        if self._short_cut is not None:
            self._short_cut.run()
        elif not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            if self.pipeline:
                self._served = self.pipeline[-1][0]
            super().on_response_complete()
            if (self._held or self._is_ended) and not self.pipeline:
                self.loop.call_soon(self._go_on)
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._set_timer(self._idle_since + self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        # One timer per connection that checks when it fires costs less than one per request that is cancelled.
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        """Check all time limits of the connection, when its timer fires."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._phase and self._phase_since is not None:
            if self._is_waiting_for_us():
                self._phase_since = now
            ends_at = self._phase_since + self._seconds_max[self._phase]
        elif self._idle_since is not None:
            ends_at = self._idle_since + self.timeout_keep_alive
        else:
            return
        if ends_at > now:
            self._set_timer(ends_at)
        elif self._phase and not (self._phase == _BODY and getattr(self.cycle, "response_started", False)):
            part, limit = "headers" if self._phase == _HEADERS else "body", self._seconds_max[self._phase]
            self._refuse(RequestTooSlow(f"The {part} of the request took longer than {limit:g} seconds to arrive."))
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self.timeout_keep_alive_task, self._probing):
            if timer is not None:
                timer.cancel()
        self.timeout_keep_alive_task = self._probing = None
        super().connection_lost(exc)
        served = self._served
        if served is not None and not served.response_complete:
            served.disconnected = True
            served.message_event.set()
        if self._ended is not None:
            self._ended.set()
        self._served = self._ended = None
        self._held.clear()
        # Requests and their connection reference each other: a partial body would stay until cycles are collected.
        self._short_cut = None
        self.cycle = self.scope = None  # type: ignore[assignment]
        self.pipeline.clear()

    def _set_timer(self, at: float) -> None:
        """Have the connection's timer fire at this time, or before."""
        timer = self.timeout_keep_alive_task
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        self.timeout_keep_alive_task = self.loop.call_at(at, self.timeout_keep_alive_handler)

    def _is_waiting_for_us(self) -> bool:
        """Whether the rest of a request may be late because an earlier one is unanswered, or reading is paused."""
        is_earlier_open = self.cycle is not None and not self.cycle.response_complete and self._phase == _HEADERS
        return is_earlier_open or bool(self.pipeline) or bool(self._held) or self.flow.read_paused

    def _decline(self, rest: memoryview) -> None:
        """Parse the request that has just ended, and what follows it, as if it offered no other protocol."""
        while True:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            if method == b"CONNECT":
                self.send_400_response("This server is not a proxy.")
                return
            head = [method, b" ", self.url, b" HTTP/", version, b"\r\n"]
            for name, value in self.headers:
                kept = _without_offer(value) if name == b"connection" else value
                if kept and name not in _OFFER:
                    head += (name, b": ", kept, b"\r\n")
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            try:
                self.parser.feed_data(b"".join((*head, b"\r\n")))
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
            except httptools.HttpParserError:
                self._refuse_unreadable()
                return
            else:
                return

    def _check_size(self, headers: list[tuple[bytes, bytes]], url_bytes: int = 0) -> None:
        """Raise HeadersTooLarge above the limit, which ends the parser and refuses the request."""
        size = url_bytes + sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > self._headers_max or size > self._headers_bytes_max:
            self._refusal = self._too_large()
            raise self._refusal

    def _too_large(self) -> HeadersTooLarge:
        part = "trailers" if self._phase == _BODY else "request line and headers"
        return HeadersTooLarge(
            f"The {part} of the request exceed {self._headers_max} headers or {self._headers_bytes_max} bytes.",
            hint="Send fewer or shorter headers; the limits are `web.headers_max` and `web.headers_bytes_max`.",
        )

    def _refuse_unreadable(self) -> None:
        """End a connection whose parser cannot continue."""
        refusal, self._refusal = self._refusal, None
        self._phase = _NOTHING
        if refusal is None:
            self.send_400_response("Invalid HTTP request received.")
        elif self._trailers and getattr(self.cycle, "response_started", False):
            self.transport.close()
        else:
            self._refuse(refusal)

    def _refuse(self, error: HeadwaterError) -> None:
        """Answer an incomplete request, and end the connection."""
        cycle = self._served if self.pipeline else self.cycle
        if getattr(cycle, "response_started", False) and not cycle.response_complete:
            # Another response cannot be sent within the one in progress.
            self.transport.close()
            return
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        refusal = getattr(self.app, "refusal", None)
        if refusal is not None:
            method = self.parser.get_method().decode("latin-1") if self.url else ""
            answer = refusal(error, method, self.url[:SHOWN_URL_BYTES_MAX].decode("latin-1"))
            end = b"connection: close\r\n\r\n"
            self.transport.write(b"".join((answer.head, self.standing_lines(), end, answer.body)))
        self.transport.set_protocol(Ending(self.transport, self.loop, self.connection_lost))

    def _probe(self) -> None:
        """During an endless response: test whether the client is still there."""
        self._probing = None
        cycle = self._served if self.pipeline else self.cycle
        if self.transport.is_closing() or cycle is None or cycle.response_complete:
            return
        if not self._is_ended and not self._is_full:
            return
        if isinstance(cycle, Cycle) and not self.flow.write_paused:
            cycle.probe()
        self._probing = self.loop.call_later(PROBE_SECONDS, self._probe)

    def standing_lines(self) -> bytes:
        """The headers that uvicorn adds to every response, as sent; the list is renewed every second."""
        headers = self.server_state.default_headers
        known, lines = HeadwaterProtocol._standing
        if known is not headers:
            lines = b"".join([part for name, value in headers for part in (name, b": ", value, b"\r\n")])
            HeadwaterProtocol._standing = (headers, lines)
        return lines

    def _make_scope(self) -> None:
        """What uvicorn prepares for every request at its first byte, and the short cut does not need."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.headers.extend(headers)
        self.url, self.expect_100_continue = url, expect

    def _add_extensions(self) -> None:
        """The functions of the connection that endpoints may use."""
        if self._ended is None:
            self._ended = Event()
            if self._is_ended:
                self._ended.set()
        # The stream endpoint calls it to drop a client whose buffers are full, without waiting.
        extensions: dict[str, Any] = {ABORT_EXTENSION: self.transport.abort, ENDED_EXTENSION: self._ended.wait}
        if not self.url.startswith(b"/"):
            extensions[WHOLE_TARGET] = True
        self.scope["extensions"] = extensions

    def _is_plain(self, endpoint: EventsEndpoint) -> bool:
        """Whether the request whose headers have just ended may take the short cut."""
        cycle = self.cycle
        if (cycle is not None and not cycle.response_complete) or self.pipeline:
            return False
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return False
        headers = dict(self.headers)
        # Repeated headers are handled elsewhere.
        if len(headers) != len(self.headers) or not _UNUSUAL.isdisjoint(headers):
            return False
        if headers.get(b"content-type") != b"application/json":
            return False
        if self._known_hosts is not None and b"host" in headers and headers[b"host"] not in self._known_hosts:
            return False
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or not 0 < int(length) <= endpoint.config.request_bytes_max:
            return False
        # If a key is required, nothing is read immediately from senders without one.
        return not endpoint.asks_key or b"authorization" in headers


def _without_offer(connection: bytes) -> bytes:
    """The value of a `Connection` header without the words of an offer of another protocol."""
    words = [word.strip() for word in connection.split(b",")]
    return b", ".join(word for word in words if word.lower() not in _OFFER)
