"""What is fuzzed: each door through which strangers' or authors' bytes come, with examples of what belongs there."""

from __future__ import annotations

import contextlib
import http.client
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headwater.consumption.filter import parse_filter
from headwater.consumption.resume import parse_legacy, parse_since
from headwater.errors import FilterInvalid, HeadwaterError, TimestampInvalid, TokenInvalid
from headwater.log.contract import Position
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.schema import Schema, read_schema
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.testing.fuzzing.campaign import Target
from headwater.testing.service_kit import served_project, write_project

URI = "/note/1.0.0"
NOTE: dict[str, Any] = {
    "title": "note",
    "$id": URI,
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["text"],
    "properties": {
        "$schema": {"type": "string"},
        "meta": {"type": "object", "properties": {name: {"type": "string"} for name in ("stream", "id", "dt")}},
        "text": {"type": "string", "maxLength": 100},
        "list": {"type": "array", "items": {"type": "integer"}, "default": [1]},
        "map": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
EVENT = (
    b'{"$schema":"/note/1.0.0","meta":{"stream":"notes","id":"1","dt":"2026-01-01T00:00:00Z"},"text":"a","list":[1,2]}'
)
_EVENT_WORDS = (
    *(b'"$schema"', b'"meta"', b'"stream"', b'"notes"', b'"id"'),
    *(b'"dt"', b'"text"', b'"list"', b'"map"', b"/note/1.0.0"),
    *(b'{"a":', b"[", b"]", b"{", b"}", b",", b":", b'"$schema":"/note/latest"', b'"$schema":"/nope/1.0.0"', EVENT),
)
# Strangers must not hold anybody up; authors wait for what they have written.
STRANGERS_SECONDS_MAX, AUTHORS_SECONDS_MAX = 0.1, 5.0
# What a server answers where a request is at fault; a 5xx never is.
_SERVER_FAULT = 500


class Filters:
    """Filter expressions, and the events they are asked about."""

    name = "filters"
    traceable = True
    stall_seconds_max = STRANGERS_SECONDS_MAX
    examples: Sequence[bytes] = (
        b'wiki == "enwiki" and (bytes > 100 or not bot)',
        b'page.title ~ "A*b?" && a in ("x", 1, null)',
        b'list contains 5 or title startswith "x" or title endswith "y" and !(a != -1.5e3)',
    )
    words: Sequence[bytes] = (
        *(b"and", b"or", b"not", b"in", b"contains", b"startswith", b"endswith", b"true", b"null", b"(", b")", b","),
        *(b"==", b"!=", b"<=", b"&&", b"||", b"!"),
        *(b"~", b'"', b"a.b.c", b'"*a*a*a*a*b"', b"not not not ", b"(((((((("),
    )
    _EVENTS: tuple[Any, ...] = (
        {"wiki": "enwiki", "bytes": 5, "bot": True, "page": {"title": "a" * 2_000}, "list": list(range(500)), "a": 1.0},
        {"title": None, "list": {}, "a": [], "page": "x"},
        {},
    )

    def opened(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run(self, data: bytes) -> None:
        try:
            parsed = parse_filter(data.decode("utf-8", "replace"))
        except FilterInvalid:
            return
        if parse_filter(parsed.text).text != parsed.text:
            raise AssertionError(f"the canonical text of a filter is another filter: {parsed.text!r}")
        for event in self._EVENTS:
            parsed.matches(event)


class Tokens:
    """Resume tokens, legacy arrays and times to start at."""

    name = "tokens"
    traceable = True
    stall_seconds_max = STRANGERS_SECONDS_MAX
    examples: Sequence[bytes] = (
        Position({("eqiad.demo.edit", 0): 5, ("x", 11): 2**40}).token().encode(),
        b'[{"topic":"eqiad.demo.edit","partition":0,"offset":5},{"topic":"a","partition":1,"timestamp":1700000000000}]',
        b'["a","b"]',
        b"2026-01-01T00:00:00.123Z",
        b"Thu, 01 Jan 2026 00:00:00 +0100",
        b"1700000000000",
    )
    words: Sequence[bytes] = (
        b"hw1",
        b";",
        b":",
        b"=",
        b'"topic"',
        b'"offset":',
        b'"timestamp":',
        b"-1",
        b"null",
        b"+24:00",
        b"GMT",
        b"T",
    )

    def opened(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        with contextlib.suppress(TokenInvalid):
            position = Position.parse(text)
            if Position.parse(position.token()) != position:
                raise AssertionError("a token read and written is another position")
        with contextlib.suppress(TokenInvalid):
            parse_legacy(text)
        with contextlib.suppress(TimestampInvalid):
            parse_since(text)


class Schemas:
    """Schema documents, compiled and asked about values."""

    name = "schemas"
    traceable = True
    stall_seconds_max = AUTHORS_SECONDS_MAX
    examples: Sequence[bytes] = (
        b"title: a/b\n$id: /a/b/1.0.0\ntype: object\nrequired: [x]\nproperties: {x: {type: integer, default: 5}}\n",
        b'{"allOf":[{"$ref":"#/definitions/d"}],"definitions":{"d":{"type":"object","additionalProperties":false}}}',
        b"$schema: https://json-schema.org/draft/2020-12/schema\nprefixItems: [{type: string}]\nitems: false\n",
        b'{"if":{"properties":{"a":{"const":1}}},"then":{"required":["b"]},"else":{"dependencies":{"a":["b"]}}}',
        b"x: &a {type: string, format: date-time, maxLength: 9}\nproperties: {y: *a, z: {<<: *a, pattern: '^a+$'}}\n",
    )
    words: Sequence[bytes] = (
        *(b"type: ", b"properties:", b"$ref: ", b"#/properties/x"),
        *(b"items:", b"allOf:", b"anyOf", b"not:", b"enum: ["),
        *(b"pattern: '(a+)+$'", b"format: ", b"multipleOf: 0.1", b"maximum: "),
        *(b"default: ", b"\n  ", b"- ", b"{", b"}"),
        *(b"$schema: http://json-schema.org/draft-04/schema#", b"uniqueItems: true"),
        *(b"contains:", b"additionalProperties: no"),
    )
    _VALUES: tuple[Any, ...] = ({}, {"x": 1, "a": 1, "b": [1, "2"]}, [1, "x"], "text", 5, None)

    def opened(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run(self, data: bytes) -> None:
        limits = ValidationLimits()

        class Repository:
            def get(self, uri: str) -> Schema:
                return read_schema(uri, data, limits)

            def uris(self) -> tuple[str, ...]:
                return ()

            def close(self) -> None:
                pass

        with contextlib.suppress(HeadwaterError):
            parse_document(data, "a.yaml", limits)
            compiled = Validator(Repository(), limits).compile("/a/1.0.0")
            for value in self._VALUES:
                violations = compiled.violations(value)
                if compiled.is_valid(value) == bool(violations):
                    raise AssertionError(f"valid and violations disagree about {value!r}: {violations[:2]}")


class StreamFiles:
    """Declarations of streams, read as from a file."""

    name = "streams"
    traceable = True
    stall_seconds_max = AUTHORS_SECONDS_MAX
    examples: Sequence[bytes] = (
        b"stream: demo.edit\nschema_title: demo/edit\nowner: {team: x}\ntransport: {partitions: 3, retention: 7d}\n",
        b"stream: /^jobs\\..+/\nschema_title: job\nprivacy: {class: private}\nproducers: {sampling: {rate: 0.5}}\n",
        b"stream: a\nschema_title: a\nmonitor: {canary: {enabled: true}}\noverrides: [{when: {sites: [x]}}]\n",
    )
    words: Sequence[bytes] = (
        *(b"stream: ", b"schema_title: ", b"transport:", b"partitions: "),
        *(b"retention: ", b"privacy:", b"class: ", b"7d"),
        *(b"message_key_fields: {a: b}", b"overrides:", b"when:", b"patch:", b"\n  "),
        *(b"- ", b"{", b"}", b"&a ", b"*a"),
    )

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as name:
            self._file = Path(name) / "demo.edit.yaml"
            yield

    def run(self, data: bytes) -> None:
        self._file.write_bytes(data)
        with contextlib.suppress(HeadwaterError):
            StreamRegistry.load(self._file.parent).entries()


class _Served:
    """A target that is asked over HTTP, on a server of its own in this process."""

    traceable = False
    stall_seconds_max = STRANGERS_SECONDS_MAX
    _port = 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            write_project(directory, [NOTE], [{"stream": "notes", "schema_title": "note"}])
            (directory / "jobs").mkdir()
            with served_project(directory) as (address, _):
                self._port = int(address.rpartition(":")[2])
                yield

    def _require_answer(self, status: int, what: str) -> None:
        if status >= _SERVER_FAULT:
            raise AssertionError(f"answered {status} {what}")


class Bodies(_Served):
    """Bodies of events, in every content type and encoding that is taken, and in some that are not."""

    name = "bodies"
    examples: Sequence[bytes] = (EVENT, b"[" + EVENT + b"," + EVENT + b"]", b"[]", b'{"a":1}')
    words: Sequence[bytes] = _EVENT_WORDS
    _HEADERS: tuple[dict[str, str], ...] = (
        {"content-type": "application/json"},
        {"content-type": "text/plain;charset=UTF-8"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json", "content-encoding": "deflate"},
        {},
    )

    def run(self, data: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            headers = self._HEADERS[len(data) % len(self._HEADERS)]
            path = ("/v1/events", "/v1/events?hasty=true", "/v1/events?dry_run")[len(data) % 3]
            connection.request("POST", path, data, dict(headers))
            answer = connection.getresponse()
            answer.read()
            self._require_answer(answer.status, answer.reason)
        finally:
            connection.close()


_CE = {"ce-specversion": "1.0", "ce-id": "a%20b", "ce-source": "/x", "ce-type": "notes"}


class CloudEvents(Bodies):
    """CloudEvents in their three forms."""

    name = "cloudevents"
    examples: Sequence[bytes] = (
        b'{"specversion":"1.0","id":"1","source":"/x","type":"notes","dataschema":"/note/1.0.0","data":{"text":"a"}}',
        b'[{"specversion":"1.0","id":"1","source":"/x","type":"notes","data":{"$schema":"/note/1.0.0","text":"a"}}]',
        b'{"specversion":"1.0","id":"2","source":"x","type":"notes","data_base64":"eyJ0ZXh0IjoiYSJ9","subject":"s"}',
    )
    words: Sequence[bytes] = (
        *_EVENT_WORDS,
        *(b'"specversion":"0.3"', b'"data":', b'"data_base64":'),
        *(b'"datacontenttype":"text/xml"', b'"source"', b'"type"'),
    )
    _HEADERS: tuple[dict[str, str], ...] = (
        {"content-type": "application/cloudevents+json"},
        {"content-type": "application/cloudevents-batch+json"},
        {"content-type": "application/json", **_CE},
        {**_CE, "ce-subject": "%FF"},
        {"content-type": "application/vnd.x+json", **_CE},
    )


class Requests(_Served):
    """Whole requests, byte by byte as they come from the network: request lines, headers, chunks, trailers."""

    name = "requests"
    examples: Sequence[bytes] = (
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]",
        b'GET /v1/streams?format=x HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\nif-none-match: "x"\r\n\r\n',
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-type: text/plain\r\n\r\n"
        b"2\r\n[]\r\n0\r\na: b\r\n\r\n",
        b"GET /v2/stream/nope?since=x&filter=y HTTP/1.0\r\nlast-event-id: [\r\n\r\n",
        b"OPTIONS /v1/events HTTP/1.1\r\nhost: localhost\r\norigin: http://x\r\n"
        b"access-control-request-method: POST\r\n\r\n",
        b"GET /repositories/schemas/note/1.0.0.yaml HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /subjects/note HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}",
        b"GET /w/api.php?action=streamconfigs&format=json&constraints=a%5Bb%5D=c HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    words: Sequence[bytes] = (
        *(b"\r\n", b"\n", b"host: ", b"content-length: ", b"transfer-encoding: chunked", b"expect: 100-continue"),
        *(b"connection: close", b"connection: upgrade\r\nupgrade: h2c", b"GET ", b"POST "),
        *(b"/v1/", b"?", b"&", b"%", b"%ff"),
        *(b"/schemas", b"/asyncapi.json", b"/v1/completeness?hour="),
        *(b"/v1/canaries", b"/monitoring", b"/metrics", b"/_info"),
        *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"),
        *(b"0\r\n\r\n", b"x: " + b"y" * 100, b"cookie: a=b; c", b"range: bytes=0-"),
    )

    def run(self, data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
            # The server may have ended the connection already, which is its right.
            with contextlib.suppress(OSError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                connection.settimeout(0.05)
                while b"\r\n" not in answer and (more := connection.recv(65_536)):
                    answer += more
        head = answer[:12].split()
        if len(head) >= 2 and head[1].isdigit():
            self._require_answer(int(head[1]), answer[:80].decode("latin-1"))


TARGETS: dict[str, Target] = {
    one.name: one for one in (Filters(), Tokens(), Schemas(), StreamFiles(), Bodies(), CloudEvents(), Requests())
}
