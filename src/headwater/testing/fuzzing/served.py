"""Fuzz targets over HTTP, on a server in the same thread: bodies, CloudEvents, requests and routes.

How this works: server and client share one event loop, which runs only while an input is tried, so that the server's
lines can be recorded and the longest time the loop was blocked is known; waiting in `select` does not count.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import re
import selectors
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headwater.config import load_config
from headwater.platform import build
from headwater.testing.fuzzing.campaign import Outcome
from headwater.testing.fuzzing.target import STRANGERS_SECONDS_MAX
from headwater.testing.service_kit import write_project
from headwater.web.app import create_app
from headwater.web.server import serving

NOTE: dict[str, Any] = {
    "title": "note",
    "$id": "/note/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["text"],
    "properties": {
        "$schema": {"type": "string"},
        "meta": {"type": "object", "properties": {name: {"type": "string"} for name in ("stream", "id", "dt")}},
        "text": {"type": "string", "maxLength": 100},
        "dt": {"type": "string", "format": "date-time", "maxLength": 64},
        "list": {"type": "array", "items": {"type": "integer"}, "default": [1]},
        "map": {"type": "object", "additionalProperties": {"type": "number"}},
        "http": {"type": "object", "properties": {"request_headers": {"type": "object"}}},
        "either": {"oneOf": [{"type": "integer"}, {"type": "object", "required": ["a"]}]},
    },
}
_STREAMS: dict[str, dict[str, Any]] = {
    "notes": {
        "stream": "notes",
        "schema_title": "note",
        "transport": {"message_key_fields": {"text": "text"}, "partitions": 2},
    },
    "private": {"stream": "private", "schema_title": "note", "privacy": {"class": "private"}},
    "families/family": {"stream": "/^family\\..+/", "schema_title": "note"},
}
EVENT = (
    b'{"$schema":"/note/1.0.0","meta":{"stream":"notes","id":"1","dt":"2026-01-01T00:00:00Z"},"text":"a","list":[1,2]}'
)
_EVENT_WORDS: Sequence[bytes] = (
    *(b'"$schema"', b'"meta"', b'"stream"', b'"notes"', b'"id"', b'"dt"', b'"text"', b'"list"', b'"map"', b'"http"'),
    *(b'{"a":', b"[", b"]", b"{", b"}", b",", b":", b'"$schema":"/note/latest"', b'"$schema":"/nope/1.0.0"', EVENT),
    *(
        b"private",
        b"family.a",
        b"/note/1.0.0",
        b"/note/1.0.0#",
        b"headwater-intake.error.validation",
        b"request_headers",
    ),
)
# Small windows, so that temporary data have reached their full size before growth is measured.
_SECTIONS: dict[str, dict[str, Any]] = {
    "web": {"port": 0, "viewers_per_address_max": 100},
    "log": {"durability": "os", "retention_seconds_default": 30.0, "trim_interval_seconds": 5.0},
    "intake": {"dedupe_ids_max": 1_000, "made_topics_max": 100, "request_bytes_max": 1_048_576},
    "control": {"requests_per_minute_max": 1_000_000, "attempts_per_minute_max": 1_000_000},
    "monitoring": {"canaries": False},
}
# Statuses for faulty requests; a 5xx is always a failure.
_SERVER_FAULT = 500
_ANSWER_SECONDS_MAX = 10.0
# A long poll, a feed without events and an incomplete request may remain silent for long.
_QUIET_SECONDS = 0.02
_READ_BYTES_MAX = 200_000
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
_CODE = re.compile(rb'"code": ?"([a-z_]+)"')
_TYPE = re.compile(rb"\r\ncontent-type: ([a-z/+.-]+)", re.IGNORECASE)
_HEADER_NAME = re.compile(rb"[a-z0-9-]+")
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"})
_IN_TARGETS = "/?&=%[]()!$'*+,;:@~|.\\{}^`<>\"-_"


class _Watch(selectors.DefaultSelector):
    """A selector that measures the longest time between leaving and re-entering it: how long the loop was busy."""

    longest_seconds = 0.0
    _left_at: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._left_at is not None:
            self.longest_seconds = max(self.longest_seconds, time.perf_counter() - self._left_at)
        try:
            return super().select(timeout)
        finally:
            self._left_at = time.perf_counter()

    def begin(self) -> None:
        self.longest_seconds, self._left_at = 0.0, None


class _Served:
    """A target over HTTP."""

    stall_seconds_max = STRANGERS_SECONDS_MAX
    _port = 0
    _key = b""
    _routes: Sequence[tuple[str, str]] = ()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        self._watch = _Watch()
        loop = self._loop = asyncio.SelectorEventLoop(self._watch)
        try:
            with tempfile.TemporaryDirectory() as name:
                directory = Path(name)
                newer = NOTE | {"$id": "/note/1.1.0", "properties": {**NOTE["properties"], "more": {"type": "string"}}}
                write_project(directory, [NOTE, newer], [])
                for file, stream in _STREAMS.items():
                    write_stream(directory / "streams" / f"{file}.yaml", stream)
                (directory / "jobs").mkdir()
                yield from self._serving(directory)
        finally:
            loop.close()

    def run(self, data: bytes) -> Outcome:
        request = self._request(data)
        self._watch.begin()
        answer = self._loop.run_until_complete(self._asked(request))
        stalled = self._watch.longest_seconds
        status = _STATUS.match(answer)
        if status is None:
            return Outcome("no answer" if not answer else "no HTTP", stalled)
        number = int(status[1])
        if number >= _SERVER_FAULT:
            raise AssertionError(f"answered {number} {answer[-200:]!r}")
        about = _CODE.search(answer) or _TYPE.search(answer)
        return Outcome(f"{number} {about[1].decode('latin-1') if about else ''}".rstrip(), stalled)

    def _request(self, data: bytes) -> bytes:
        """The bytes to send, made before the measurement."""
        raise NotImplementedError

    async def _asked(self, request: bytes) -> bytes:
        return await self._answer_to(request)

    def _serving(self, directory: Path) -> Iterator[None]:
        run = self._loop.run_until_complete
        platform = build(load_config(directory, environment={}, overrides=_SECTIONS))
        run(platform.start())
        try:
            self._key = platform.keys.create(
                "fuzz", ["streams:read", "streams:write", "streams:kill", "events:read"]
            ).encode()
            paths = [
                (getattr(route, "path", ""), getattr(route, "methods", None)) for route in create_app(platform).routes
            ]
            self._routes = sorted((method, path) for path, methods in paths for method in methods or ())
            server = serving(platform)
            address = run(server.__aenter__())
            self._port = int(address.rpartition(":")[2])
            try:
                yield
            finally:
                run(server.__aexit__(None, None, None))
        finally:
            run(platform.stop())
            run(self._loop.shutdown_default_executor())

    async def _answer_to(self, request: bytes) -> bytes:
        """The beginning of the response to a whole request; then the connection is aborted."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_READ_BYTES_MAX)
        try:
            writer.write(request)
            try:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self._patience(request))
            except asyncio.IncompleteReadError as end:
                return end.partial
            except (ConnectionError, asyncio.LimitOverrunError):
                return b""
            except TimeoutError:
                if self._patience(request) < _ANSWER_SECONDS_MAX:
                    return b""
                raise AssertionError(f"no answer within {_ANSWER_SECONDS_MAX:g} seconds") from None
            length = _LENGTH.search(head)
            wanted = min(int(length[1]), _READ_BYTES_MAX) if length else _READ_BYTES_MAX
            body = b""
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                if request.startswith(b"HEAD ") or not wanted:
                    return head
                reading = reader.readexactly(wanted) if length else reader.read(wanted)
                body = await asyncio.wait_for(reading, _ANSWER_SECONDS_MAX if length else _QUIET_SECONDS)
            return head + body
        finally:
            writer.transport.abort()

    def _patience(self, request: bytes) -> float:
        return _ANSWER_SECONDS_MAX


def write_stream(file: Path, stream: dict[str, Any]) -> None:
    """A stream file; JSON is YAML."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(stream), encoding="utf-8")


class Bodies(_Served):
    """Bodies of events, in every accepted content type and encoding, and in some others."""

    name = "bodies"
    modules: Sequence[str] = (
        *("headwater.web.http.body", "headwater.web.events", "headwater.intake.gate", "headwater.intake.intake"),
        *("headwater.intake.duplicates", "headwater.intake.error_event", "headwater.intake.event_key"),
        *(
            "headwater.intake.outcome",
            "headwater.intake.dry_run",
            "headwater.event",
            "headwater.schemas.validation.validator",
        ),
    )
    words: Sequence[bytes] = _EVENT_WORDS
    _HEADERS: tuple[bytes, ...] = (
        b"content-type: application/json\r\n",
        b"content-type: application/json\r\n",
        b"content-type: text/plain;charset=UTF-8\r\nuser-agent: x\r\nx-client-ip: 10.0.0.1\r\n",
        b"content-type: application/json; charset=utf-16\r\n",
        b"content-type: application/json\r\ncontent-encoding: gzip\r\n",
        b"content-type: application/json\r\ncontent-encoding: deflate\r\n",
        b"",
    )
    _TARGETS: tuple[bytes, ...] = (b"/v1/events", b"/v1/events?hasty=true", b"/v1/events?dry_run", b"/v2/events")

    @property
    def examples(self) -> Sequence[bytes]:
        # Repeated ids are recognised as duplicates and processed no further.
        fresh = EVENT.replace(b'"id":"1",', b"")
        packed = gzip.compress(fresh, mtime=0)
        made = [fresh, b"[" + fresh + b"," + EVENT + b"]", b"[]", b'{"a":1}', fresh.replace(b"notes", b"family.x")]
        made += [fresh.replace(b'"list":[1,2]', b'"dt":"2026-01-01T00:00:00Z","map":{"a":1.5},"either":{"a":1}')]
        made += [
            fresh.replace(b"note/1.0.0", b"note/1.1.0"),
            fresh.replace(b"{", b'{"http":{"request_headers":{}},', 1),
        ]
        # The first byte chooses headers, the second the target.
        plain = [bytes([0, target]) + one for one in made for target in range(len(self._TARGETS))]
        return [
            *plain,
            *(b"\x04\x00" + each for each in (packed, packed * 3)),
            b"\x05\x00" + zlib.compress(fresh),
            b"\x03\x00" + fresh.decode().encode("utf-16"),
            b"\x02\x00" + fresh + b"\n" + fresh,
        ]

    def _request(self, data: bytes) -> bytes:
        kind, target, body = data[:1] or b"\0", data[1:2] or b"\0", data[2:]
        headers = self._HEADERS[kind[0] % len(self._HEADERS)]
        line = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % (
            self._TARGETS[target[0] % len(self._TARGETS)],
            self._port,
        )
        return b"%s%scontent-length: %d\r\n\r\n%s" % (line, headers, len(body), body)


_CE = b"ce-specversion: 1.0\r\nce-id: a%20b\r\nce-source: /x\r\nce-type: notes\r\n"


class CloudEvents(Bodies):
    """CloudEvents in their three forms."""

    name = "cloudevents"
    modules: Sequence[str] = ("headwater.web.cloudevents", "headwater.web.events")
    words: Sequence[bytes] = (
        *_EVENT_WORDS,
        *(
            b'"specversion"',
            b'"0.3"',
            b'"data"',
            b'"data_base64"',
            b'"datacontenttype"',
            b"text/xml",
            b'"source"',
            b'"type"',
        ),
        *(b'"subject"', b'"time"', b'"dataschema"', b'"comhw"', b"http://127.0.0.1/repositories/schemas/note/1.0.0"),
    )
    _HEADERS: tuple[bytes, ...] = (
        b"content-type: application/cloudevents+json\r\n",
        b"content-type: application/cloudevents-batch+json\r\n",
        b"content-type: application/json\r\n" + _CE,
        b"content-type: application/json\r\n"
        + _CE
        + b"ce-subject: %FF\r\nce-time: 2026-01-01T00:00:00.5Z\r\nce-comext: 5\r\n",
        b"content-type: application/vnd.x+json\r\n" + _CE,
    )

    @property
    def examples(self) -> Sequence[bytes]:
        head = b'{"specversion":"1.0","source":"/x","type":"notes",'
        one = head + b'"id":"1","dataschema":"/note/1.0.0","data":{"text":"a"}}'
        encoded = base64.b64encode(b'{"$schema":"/note/1.0.0","text":"a"}')
        other = head + b'"id":"2","data_base64":"' + encoded + b'","subject":"s"}'
        with_time = one.replace(b'"data":', b'"time":"2026-01-01T00:00:00+02:00","comext":true,"data":')
        return [
            *(b"\x00\x00" + each for each in (one, other, with_time)),
            *(b"\x01\x00" + each for each in (b"[" + one + b"," + other + b"]", b"[]")),
            *(bytes([kind, 0]) + b'{"$schema":"/note/1.0.0","text":"a"}' for kind in (2, 3, 4)),
        ]


class Routes(_Served):
    """All routes, with mutated paths, queries, headers and bodies in valid HTTP framing, so that they arrive. The
    format is a line `METHOD target`, lines of headers, an empty line, a body; `{KEY}` is a valid key.
    """

    name = "routes"
    modules: Sequence[str] = (
        *("headwater.web.app", "headwater.web.stream", "headwater.web.streams_api", "headwater.web.schemas.confluent"),
        *("headwater.web.schemas.endpoints", "headwater.web.schemas.pages", "headwater.web.pages"),
        *("headwater.web.monitoring", "headwater.web.info", "headwater.web.streamconfigs", "headwater.web.asyncapi"),
        *(
            "headwater.web.http.preflight",
            "headwater.web.pages.feed",
            "headwater.web.http.hosts",
            "headwater.web.schemas.repository_index",
        ),
        *("headwater.control.policy", "headwater.control.stream_control", "headwater.consumption.resume"),
    )
    words: Sequence[bytes] = (
        *(
            b"GET ",
            b"POST ",
            b"HEAD ",
            b"OPTIONS ",
            b"?",
            b"&",
            b"=",
            b"%",
            b"%ff",
            b"%2F",
            b"/",
            b"/../",
            b"\n",
            b"\n\n",
        ),
        *(b"notes", b"private", b"family.x", b"note", b"1.0.0", b"latest", b"1.1.0", b"-1", b"0", b"note-value"),
        *(
            b"since=",
            b"filter=",
            b"until=",
            b"format=",
            b"limit=",
            b"audience=",
            b"from=",
            b"to=",
            b"hour=",
            b"id=legacy",
        ),
        *(
            b"accept: ",
            b"application/json",
            b"text/html",
            b"text/event-stream",
            b'if-none-match: "x"',
            b"last-event-id: ",
        ),
        *(
            b"authorization: Bearer {KEY}",
            b"origin: http://x",
            b"host: evil.example",
            b"range: bytes=0-",
            b"cookie: a=b",
        ),
        *(b"hw1;notes:0=0", b"x-forwarded-for: 1", b"access-control-request-method: POST", b"expect: 100-continue"),
        *(
            b'"schema"',
            b'"put"',
            b'"remove"',
            b'"streams"',
            b'"sampling"',
            b'"rule"',
            b'"expires"',
            b'"reason"',
            b'"rate"',
        ),
    )

    @property
    def examples(self) -> Sequence[bytes]:
        placed = {"id": "1", "number": "1", "version": "1.0.0", "subject": "note", "title": "note", "streams": "notes"}
        made = []
        for method, path in self._routes:
            filled = re.sub(r"\{([a-z_]+)(?::[a-z]+)?\}", lambda m: placed.get(m[1], "notes"), path)
            made.append(f"{method} {filled}\nauthorization: Bearer {{KEY}}\naccept: application/json\n\n{{}}".encode())
            made.append(f"{method} {filled}?limit=1\naccept: text/html\n\n".encode())
        return [
            *made,
            b'GET /v2/stream/notes?since=2026-01-01T00:00:00Z&filter=text%20%3D%3D%20"a"\nlast-event-id: \n\n',
            b'GET /v2/stream/notes,family.x?id=legacy&heartbeat=1\nlast-event-id: [{"topic":"notes","partition":0,'
            b'"offset":0}]\n\n',
            b"OPTIONS /v1/events\norigin: http://x\naccess-control-request-method: POST\n\n",
            b'POST /subjects/note\ncontent-type: application/json\n\n{"schemaType":"JSON","schema":"{\\"$id\\":'
            b'\\"/note/1.0.0\\"}"}',
            b'POST /compatibility/subjects/note/versions/latest\n\n{"schemaType":"JSON","schema":"{}","references":[]}',
            b'POST /v1/stream-changes\nauthorization: Bearer {KEY}\n\n{"put":[{"id":"a","stream":"notes","set":'
            b'{"produce":{"sample":{"rate":0.5,"unit":"x"}}},"unset":[],"when":{},"priority":1}],"remove":["b"],"reason":"x"}',
            b'POST /v1/stream-changes?dry_run=true\nauthorization: Bearer {KEY}\n\n{"put":[{"id":"b","stream":"notes",'
            b'"set":{"produce":{"enabled":false}}}],"reason":"x","expected":0}',
            b'POST /v1/stream-changes/rollback\nauthorization: Bearer {KEY}\n\n{"to":0,"reason":"x"}',
            b'POST /v1/stream-changes/kill\nauthorization: Bearer {KEY}\n\n{"stream":"family.x","reason":"x"}',
            b'POST /v1/jobs/note?dry_run=true\nauthorization: Bearer {KEY}\n\n{"do":"rewind","to":"2026-01-01T00:00Z"}',
            b"GET /w/api.php?action=streamconfigs&format=json&constraints=a%5Bb%5D=c\n\n",
        ]

    def _request(self, data: bytes) -> bytes:
        head, _, body = data.replace(b"{KEY}", self._key).partition(b"\n\n")
        first, *lines = head.split(b"\n")
        method, _, target = first.strip(b"\r").partition(b" ")
        request = [method, b" ", quote(target, safe=_IN_TARGETS).encode() or b"/", b" HTTP/1.1\r\n"]
        for line in lines:
            name = line.partition(b":")[0].strip().lower()
            # These declare the length of a request; the other target mutates that.
            if _HEADER_NAME.fullmatch(name) and name not in _FRAMING:
                request += (line.translate(None, b"\r\0"), b"\r\n")
        if b"\nhost:" not in head:
            request.append(b"host: localhost\r\n")
        return b"".join((*request, b"content-length: %d\r\n\r\n" % len(body), body))

    def _patience(self, request: bytes) -> float:
        return 2 * _QUIET_SECONDS if b"wait" in request or b"/live" in request else _ANSWER_SECONDS_MAX


class Requests(_Served):
    """Whole requests, byte by byte as they come from the network: request lines, headers, chunks, trailers, several
    one after the other. The first byte says whether the client then ends its side, and how large its pieces are."""

    name = "requests"
    modules: Sequence[str] = (
        "headwater.web.protocol",
        "headwater.web.http.cycle",
        "headwater.web.http.hosts",
        "headwater.web.problems",
    )
    _EXAMPLES: tuple[bytes, ...] = (
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]",
        b'GET /v1/streams?format=x HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\nif-none-match: "x"\r\n\r\n',
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-type: text/plain\r\n\r\n"
        b"2\r\n[]\r\n0\r\na: b\r\n\r\n",
        b"GET /v2/stream/nope?since=x&filter=y HTTP/1.0\r\nlast-event-id: [\r\n\r\n",
        b"OPTIONS /v1/events HTTP/1.1\r\nhost: localhost\r\norigin: http://x\r\n"
        b"access-control-request-method: POST\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" * 3,
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]"
        b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
        b"HEAD / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"GET /v1/streams HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
        b"http2-settings: AAMA\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n"
        b"content-length: 2\r\n\r\n[]",
        b"GET http://localhost/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    words: Sequence[bytes] = (
        *(
            b"\r\n",
            b"\n",
            b"\r\n\r\n",
            b"host: ",
            b"content-length: ",
            b"transfer-encoding: chunked",
            b"expect: 100-continue",
        ),
        *(b"connection: close", b"connection: upgrade\r\nupgrade: h2c", b"GET ", b"POST ", b"HEAD ", b"PRI * HTTP/2.0"),
        *(b"/v1/", b"?", b"&", b"%", b"%ff", b"/schemas", b"/asyncapi.json", b"/v1/completeness?hour=", b"/monitoring"),
        *(
            b"HTTP/1.1",
            b"HTTP/1.0",
            b"HTTP/2.0",
            b"0\r\n\r\n",
            b"x: " + b"y" * 100,
            b"x: y\r\n" * 101,
            b"a: " + b"b" * 66_000,
        ),
        *(
            b"ffffffffffffffff\r\n",
            b"1;ext=x\r\n",
            b"\r\n folded",
            b"transfer-encoding: gzip, chunked",
            b"\0",
            b"host: a\r\n",
        ),
    )

    @property
    def examples(self) -> Sequence[bytes]:
        return [bytes([kind]) + one for one in self._EXAMPLES for kind in (0, 1, 7)]

    def _request(self, data: bytes) -> bytes:
        return data

    async def _asked(self, data: bytes) -> bytes:
        kind, request = (data[0] if data else 0), data[1:]
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_READ_BYTES_MAX)
        answer = b""
        # The server may already have closed the connection, which is allowed.
        with contextlib.suppress(OSError, TimeoutError):
            pieces = 1 + (kind >> 1) % 4
            step = len(request) // pieces + 1
            for at in range(0, len(request), step):
                writer.write(request[at : at + step])
                # Let the server run.
                for _ in range(3 if pieces > 1 else 0):
                    await asyncio.sleep(0)
            if kind % 2:
                writer.write_eof()
            while len(answer) < _READ_BYTES_MAX:
                more = await asyncio.wait_for(reader.read(65_536), _QUIET_SECONDS)
                if not more:
                    break
                answer += more
                if not kind % 2 and request.count(b"HTTP/") == 1:
                    break
        writer.transport.abort()
        return answer
