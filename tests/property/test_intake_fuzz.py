"""Whatever bytes and headers arrive, the intake answers, never with a 5xx, and keeps what it acknowledged."""

from __future__ import annotations

import gzip
import http.client
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project

SCHEMA = note_schema(
    text={"type": "string", "maxLength": 100},
    list={"type": "array", "items": {"type": "integer"}, "default": [1]},
)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("fuzzed")
    write_notes(directory, SCHEMA)
    with served_project(directory, intake={"request_bytes_max": 20_000, "request_events_max": 50}) as (address, _):
        yield int(address.rsplit(":", 1)[1])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
uris = st.sampled_from(
    ["/note/1.0.0", "note/1.0.0", "/note/latest", "/../note/1.0.0", "http://127.0.0.1/x", "", "//x/y", "/nope/1.0.0"]
)
events = st.fixed_dictionaries(
    {},
    optional={
        "$schema": uris | json_values,
        "meta": st.fixed_dictionaries(
            {},
            optional={
                "stream": st.sampled_from(["notes", "nope", "headwater-intake.error.validation"]) | json_values,
                "id": st.sampled_from(["1", "2"]) | json_values,
                "dt": json_values,
            },
        )
        | json_values,
        "text": st.text(max_size=10) | json_values,
        "list": json_values,
        "dt": st.sampled_from(["2026-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "0000-00-00T00:00:00Z"])
        | json_values,
    },
)
bodies = st.one_of(
    st.binary(max_size=300),
    (events | st.lists(events | json_values, max_size=6) | json_values).map(
        lambda value: orjson.dumps(value, default=str) if _is_plain(value) else repr(value).encode()
    ),
    st.sampled_from(
        [b"", b"[]", b"{}", b"[[[[", b"[" * 5000, b'{"a":' * 5000, b'"' + b"\\ud800" + b'"', b"\xff\xfe{}"]
    ),
    st.just(b'[{"$schema":"/note/1.0.0","meta":{"stream":"notes"},"text":"\xff"}]'),
)
packings: dict[bytes, Any] = {
    b"": bytes,
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"identity": bytes,
    b"gzip, gzip": bytes,
    b"br": bytes,
}
header_values = st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F))
headers = st.dictionaries(
    st.sampled_from([b"x-client-ip", b"x-forwarded-for", b"x-request-id", b"user-agent", b"accept", b"cookie"]),
    header_values,
    max_size=3,
)


def _is_plain(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def exchange(port: int, raw: bytes) -> http.client.HTTPResponse:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(raw)
        response = http.client.HTTPResponse(connection)
        response.begin()
        response.read()
        return response


content_types = st.sampled_from([b"application/json", b"text/plain;charset=UTF-8", b"application/json;charset=utf-16"])
queries = st.sampled_from(
    [b"", b"?hasty=true", b"?dry_run=true", b"?hasty=%ff&&=", b"?dry_run&hasty", b"?" + b"a" * 300]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    encoding = draw(st.sampled_from(sorted(packings)))
    body = draw(bodies)
    if draw(st.booleans()):
        body = packings[encoding](body)
    lines = [b"POST /v1/events" + draw(queries) + b" HTTP/1.1", b"host: x", b"connection: close"]
    lines += [b"content-type: " + draw(content_types | header_values), b"content-length: %d" % len(body)]
    lines += [b"content-encoding: " + encoding] if encoding else []
    lines += [name + b": " + value for name, value in draw(headers).items()]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@given(sent=requests())
@settings(max_examples=150)
def test_no_request_makes_a_server_error(port: int, sent: bytes) -> None:
    response = exchange(port, sent)
    assert response.status < 500
    assert response.getheader("access-control-allow-origin") == "*"


@given(raw=st.binary(max_size=200), start=st.sampled_from([b"", b"POST /v1/events HTTP/1.1\r\n", b"GET /"]))
@settings(max_examples=60)
def test_bytes_that_are_no_request_leave_the_server_standing(port: int, raw: bytes, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(start + raw)
    body = orjson.dumps({"$schema": "/note/1.0.0", "meta": {"stream": "notes"}, "text": "fine"})
    request = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    assert exchange(port, request + b"content-length: %d\r\n\r\n" % len(body) + body).status == 201
