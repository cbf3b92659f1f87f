"""Request lines, headers and trailers without end, seen on the wire: 431, and the connection ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headwater.testing.service_kit import served_project

SECONDS_MAX = 10.0
HEADERS_MAX, BYTES_MAX = 20, 8_192
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = (
    b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = CHUNKED + b"2\r\n{}\r\n0\r\n"
# What stands at the beginning, and what then follows again and again.
ENDLESS = {
    "short headers": (HEAD, b"a:\r\n"),
    "long headers": (HEAD, b"a: " + b"b" * 1000 + b"\r\n"),
    "one header's value": (HEAD + b"a: ", b"b" * 1000),
    "one header's name": (HEAD, b"n" * 1000),
    "the path": (b"GET /", b"p" * 1000),
    "the query": (b"POST /v1/events?", b"hasty=true&" * 90),
    "trailers": (LAST_CHUNK, b"t: u\r\n"),
    "one trailer's value": (LAST_CHUNK + b"t: ", b"u" * 1000),
    "a chunk's extension": (CHUNKED + b"2;e=", b"x" * 1000),
    "headers of a second request": (HEAD + b"\r\n" + HEAD, b"a:\r\n"),
}
# Heads that end and are too large all the same.
COMPLETE = {
    "headers": HEAD + b"a: b\r\n" * HEADERS_MAX + b"\r\n",
    "a header": HEAD + b"a: " + b"b" * BYTES_MAX + b"\r\n\r\n",
    "headers together": HEAD + (b"a: " + b"b" * (BYTES_MAX // 8) + b"\r\n") * 8 + b"\r\n",
    "the request line": b"GET /healthz?" + b"q" * BYTES_MAX + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "trailers": LAST_CHUNK + b"t: u\r\n" * (HEADERS_MAX + 1) + b"\r\n",
    "the short cut": b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    + b"a: b\r\n" * HEADERS_MAX
    + b"Content-Length: 2\r\n\r\n{}",
    "an offer": b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n" + b"a: b\r\n" * HEADERS_MAX + b"\r\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    directory: Path = tmp_path_factory.mktemp("heads")
    limits = {"port": 0, "headers_max": HEADERS_MAX, "headers_bytes_max": BYTES_MAX}
    with served_project(directory, web=limits) as (address, _):
        where = urlsplit(address)
        yield where.hostname or "", where.port or 0


def read_to_the_end(connection: socket.socket, got: bytes = b"") -> bytes:
    connection.settimeout(SECONDS_MAX)
    try:
        while part := connection.recv(65_536):
            got += part
    except ConnectionResetError:
        pass
    return got


@pytest.mark.parametrize("what", ENDLESS)
def test_what_has_no_end_is_refused_and_the_connection_ends(place: tuple[str, int], what: str) -> None:
    start, more = ENDLESS[what]
    with socket.create_connection(place, timeout=0.05) as connection:
        connection.sendall(start)
        got, sent = b"", 0
        while b" 431 " not in got:
            # Far more than the limit may be on its way before the answer is seen.
            assert sent < 50_000_000
            try:
                connection.sendall(more * 20)
                sent += 20 * len(more)
                connection.settimeout(0.001)
                got += connection.recv(65_536)
            except TimeoutError:
                continue
        got = read_to_the_end(connection, got)

    answer = got[got.index(b"HTTP/1.1 431") :]
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (document["status"], document["type"]) == (431, "headers_too_large")
    assert len(answer) < 5_000


@pytest.mark.parametrize("what", COMPLETE)
@pytest.mark.parametrize("step", [100_000, 700])
def test_complete_ones_that_are_too_large_are_refused_however_they_come(
    place: tuple[str, int], what: str, step: int
) -> None:
    sent = COMPLETE[what]
    with socket.create_connection(place, timeout=SECONDS_MAX) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), step):
            connection.sendall(sent[at : at + step])
        got = read_to_the_end(connection)

    assert got.startswith(b"HTTP/1.1 431 Request Header Fields Too Large")
    assert b"connection: close" in got


def test_sizes_within_the_limits_are_answered_and_requests_in_a_row_are_not_added_up(place: tuple[str, int]) -> None:
    headers = HEAD + b"a: b\r\n" * (HEADERS_MAX - 1) + b"\r\n"
    long = HEAD + b"a: " + b"b" * (BYTES_MAX - 200) + b"\r\n\r\n"
    trailers = LAST_CHUNK + b"t: u\r\n" * HEADERS_MAX + b"\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(place, timeout=SECONDS_MAX) as connection:
        for part in (headers * 30, long * 5, trailers * 3, last[:30], last[30:]):
            connection.sendall(part)
        got = read_to_the_end(connection)

    assert (got.count(b"HTTP/1.1 200"), got.count(b"HTTP/1.1 400"), got.count(b" 431 ")) == (36, 3, 0)


def test_trailers_do_not_become_headers(place: tuple[str, int]) -> None:
    body = b"2\r\n{}\r\n0\r\nX-Request-Id: forged\r\nHost: forged.example\r\n\r\n"
    with socket.create_connection(place, timeout=SECONDS_MAX) as connection:
        connection.sendall(CHUNKED + body + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = read_to_the_end(connection)

    assert got.count(b"HTTP/1.1 ") == 2


def test_empty_lines_alone_do_not_keep_the_limits_from_a_connection(place: tuple[str, int]) -> None:
    with socket.create_connection(place, timeout=SECONDS_MAX) as connection:
        connection.sendall(b"\r\n" * 1000)
        connection.sendall(HEAD + b"Connection: close\r\n\r\n")

        assert read_to_the_end(connection).startswith(b"HTTP/1.1 200")


def test_the_service_continues(place: tuple[str, int]) -> None:
    with socket.create_connection(place, timeout=SECONDS_MAX) as connection:
        connection.sendall(HEAD + b"Connection: close\r\n\r\n")

        assert read_to_the_end(connection).startswith(b"HTTP/1.1 200")
