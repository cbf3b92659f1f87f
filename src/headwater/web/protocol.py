"""uvicorn's HTTP/1.1 protocol with EventGate's reason phrases, and a short cut for the intake's hot path.

How this works: ASGI has no field for a reason phrase, so `http.response.start` may carry `reason`, which only this
class honours. The short cut takes the plainest requests past ASGI: POST of JSON to /v1/events or /v2/events, with a
content-length within the limit, no query, no encoding, and nothing else under way on the connection. They need no
scope, no message dictionaries and, where all goes well, no task: what the parser hands over goes straight to the
endpoint, and the answer is written when the log has the events. Everything else goes uvicorn's own way. A request on
the short cut looks like a request to uvicorn, as long as it lasts: pipelined requests queue behind it, a shutdown waits
for it, and a lost connection marks it.

Whatever else HTTP asks of a server is here, too. An offer to go on in another protocol (`Upgrade`) is declined: the
parser takes what follows such a request for the other protocol, so the request is given to a new parser without the
offer. A client that has sent its request and closes its half of the connection still gets the answer; while that has
no end, something without a meaning is written from time to time, since only a write finds out that nobody reads. One
timer for each connection, which looks when it fires, keeps the limits on how long requests and pauses may take.

Requests that come before an earlier one is answered wait: what was parsed with it in the pipeline, and the rest as the
bytes they are, up to a bound. The connection is read meanwhile, since who has hung up is noticed only by reading, and
an answer without end would be given to nobody.
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
# A request that has one of these is not plain.
_UNUSUAL = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"upgrade", BINARY_MARK})
# What an offer of another protocol consists of.
_OFFER = frozenset({b"upgrade", b"http2-settings"})
# How often it is tried whether a client that has closed its half of the connection still reads.
PROBE_SECONDS = 1.0
# How much of the address an answer repeats where the request was refused.
SHOWN_URL_BYTES_MAX = 2_048
# How much is given to the parser at once where more has come: what is parsed behind an open request cannot be unread.
SLICE_BYTES = 4_096
# How much that was not parsed may wait for earlier answers before no more is read.
HELD_BYTES_MAX = 65_536
# What the parser is in.
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
        # Values of `Host` that need no second look; None: none needs one.
        self._known_hosts: set[bytes] | None = hosts.known if hosts is not None and hosts.is_checked else None
        self._seconds_max = {_HEADERS: limits.headers_seconds_max, _BODY: limits.body_seconds_max}
        self._headers_max, self._headers_bytes_max = limits.headers_max, limits.headers_bytes_max
        # How much was read at last, and how much since a message, or anything of its body, came in an earlier reading.
        self._read_bytes = self._open_bytes = 0
        self._trailers: list[tuple[bytes, bytes]] = []
        self._refusal: HeadwaterError | None = None
        self._phase = _NOTHING
        # Since when the parser waits for the rest of that, where it does.
        self._phase_since: float | None = None
        self._probing: TimerHandle | None = None
        # The request the parser is in, where that one takes the short cut.
        self._short_cut: ShortCut | None = None
        # What has come and is not parsed before earlier requests are answered.
        self._held = bytearray()
        self._is_full = False
        # The request that is being answered, where others wait behind it.
        self._served: Any = None
        # Whether the client has closed its half of the connection, and what says so to requests that have it wait.
        self._is_ended = False
        self._ended: Event | None = None
        # When the last answer was given; None while a request is coming in or being answered.
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
        """The client sends nothing more. True: the connection stays, for an answer that is under way."""
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
        """Give what has come to the parser. False: the connection has ended with it."""
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
        """Give the parser what has come, until a request has to wait for an earlier one; the rest is held."""
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
        """How much of a body on the short cut is to come, which needs no slices."""
        if self._short_cut is None or self._phase != _BODY:
            return 0
        length = next(value for name, value in self.headers if name == b"content-length")
        return int(length) - sum(map(len, self._short_cut.parts))

    def _hold(self, data: bytes) -> None:
        """Keep what has come until earlier requests are answered; of too much, read no more."""
        self._held += data
        if self._is_full or len(self._held) <= HELD_BYTES_MAX:
            return
        # Not by uvicorn's control of the flow, which goes on with every answer.
        self._is_full = True
        self.transport.pause_reading()
        if self._ended is not None:
            self._ended.set()
        # Only writing notices now that a client has hung up.
        if self._probing is None:
            self._probing = self.loop.call_later(PROBE_SECONDS, self._probe)

    def _go_on(self) -> None:
        """Earlier requests are answered: read on in what is held."""
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
            # Nobody asks for trailers.
            self._trailers.append((name, value))
            self._check_size(self._trailers)
            return
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if (
            len(self.headers) > self._headers_max
            # What came at once, and was little, needs no counting.
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
            # It comes again, without the offer.
            return
        before = self.cycle
        self._make_scope()
        super().on_headers_complete()
        if self.cycle is not before and self.cycle is not None:
            if self.pipeline:
                # uvicorn has stopped reading. What comes is held, and a client that has hung up is noticed.
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
        # One timer per connection that looks when it fires costs less than one per request that is cancelled.
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        """What the connection's timer does, whatever it is that may have taken too long."""
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
        # Requests and their connection know each other: what has come of a body would stay until cycles are collected.
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
        """Whether the rest of a request may be late because an earlier one is not answered, or we do not read."""
        is_earlier_open = self.cycle is not None and not self.cycle.response_complete and self._phase == _HEADERS
        return is_earlier_open or bool(self.pipeline) or bool(self._held) or self.flow.read_paused

    def _decline(self, rest: memoryview) -> None:
        """Read the request that has just ended, and what follows it, as if it offered no other protocol."""
        while True:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            if method == b"CONNECT":
                self.send_400_response("There is no proxy here.")
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
        """Raises HeadersTooLarge, which ends the parser and is the connection's refusal."""
        size = url_bytes + sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > self._headers_max or size > self._headers_bytes_max:
            self._refusal = self._too_large()
            raise self._refusal

    def _too_large(self) -> HeadersTooLarge:
        part = "trailers" if self._phase == _BODY else "request line and headers"
        return HeadersTooLarge(
            f"The {part} of the request are more than {self._headers_max} headers or {self._headers_bytes_max} bytes.",
            hint="Send fewer or shorter ones; web.headers_max and web.headers_bytes_max are the limits.",
        )

    def _refuse_unreadable(self) -> None:
        """End a connection whose parser cannot go on."""
        refusal, self._refusal = self._refusal, None
        self._phase = _NOTHING
        if refusal is None:
            self.send_400_response("Invalid HTTP request received.")
        elif self._trailers and getattr(self.cycle, "response_started", False):
            self.transport.close()
        else:
            self._refuse(refusal)

    def _refuse(self, error: HeadwaterError) -> None:
        """Answer a request that is not complete, and end the connection."""
        cycle = self._served if self.pipeline else self.cycle
        if getattr(cycle, "response_started", False) and not cycle.response_complete:
            # There is no place for another answer in the one that is under way.
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
        """While an answer without end is under way: whether anybody is still there to read it."""
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

    def _add_extensions(self) -> None:
        """What endpoints may ask of the connection."""
        if self._ended is None:
            self._ended = Event()
            if self._is_ended:
                self._ended.set()
        # How the stream endpoint drops a client whose buffers are full, without waiting for it.
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
        # Of headers that are there twice it is decided elsewhere.
        if len(headers) != len(self.headers) or not _UNUSUAL.isdisjoint(headers):
            return False
        if headers.get(b"content-type") != b"application/json":
            return False
        if self._known_hosts is not None and b"host" in headers and headers[b"host"] not in self._known_hosts:
            return False
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or not 0 < int(length) <= endpoint.config.request_bytes_max:
            return False
        # From senders without a key nothing is read at once, where one is asked for.
        return not endpoint.asks_key or b"authorization" in headers


def _without_offer(connection: bytes) -> bytes:
    """The value of a `Connection` header without the words that belong to an offer of another protocol."""
    words = [word.strip() for word in connection.split(b",")]
    return b", ".join(word for word in words if word.lower() not in _OFFER)
