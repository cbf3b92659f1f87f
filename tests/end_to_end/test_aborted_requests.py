"""What a client that hangs up leaves behind is freed at once, without the collector of cycles."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from headwater.testing.service_kit import served_project
from headwater.web.protocol import HeadwaterProtocol

SECONDS_MAX = 10.0
CONNECTIONS = 20
BODY = b" " * 200_000
JSON = b"Host: localhost\r\nContent-Type: application/json\r\n"
EVENT = b'{"$schema":"/none/1.0.0","meta":{"stream":"none"}}'


def post(path: bytes, body: bytes, *, more: int = 0, headers: bytes = JSON) -> bytes:
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (path, headers, len(body) + more, body)


# What arrives before the client hangs up.
REQUESTS = {
    "nothing": b"",
    "half a head": b"POST /v1/events HTTP/1.1\r\nHost: loc",
    "half a body": post(b"/v1/events", BODY, more=10),
    "half a body of another type": post(b"/v1/events", BODY, more=10, headers=b"Host: localhost\r\n"),
    "half a compressed body": post(b"/v1/events", BODY, more=10, headers=JSON + b"Content-Encoding: gzip\r\n"),
    "half a body in chunks": b"POST /v1/events HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\nffff\r\nabc",
    "half a body that waits to be asked for": post(
        b"/v1/events", b"", more=9, headers=JSON + b"Expect: 100-continue\r\n"
    ),
    "half a form": post(b"/w/api.php?action=streamconfigs", BODY[:9000], more=10),
    "a whole request": post(b"/v1/events", EVENT),
    "a whole request of another type": post(
        b"/v1/events", EVENT, headers=b"Host: localhost\r\nContent-Type: text/plain\r\n"
    ),
    "a request and half of the next": post(b"/v1/events", EVENT) + post(b"/v1/events", BODY, more=10),
    "requests in a row": (post(b"/v1/events", EVENT) + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") * 5,
    "an answer without end": b"GET /v1/_page/feed HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an offer": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "what is no request": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with served_project(tmp_path_factory.mktemp("aborted")) as (address, _):
        where = urlsplit(address)
        yield where.hostname or "", where.port or 0


def connections_kept() -> int:
    return sum(type(one) is HeadwaterProtocol for one in gc.get_objects())


@pytest.mark.parametrize("what", REQUESTS)
def test_a_connection_is_freed_when_its_client_has_hung_up(place: tuple[str, int], what: str) -> None:
    gc.collect()
    gc.disable()
    try:
        before = connections_kept()
        for _ in range(CONNECTIONS):
            with socket.create_connection(place, timeout=SECONDS_MAX) as connection:
                connection.sendall(REQUESTS[what])
        until = time.monotonic() + SECONDS_MAX
        while (kept := connections_kept()) > before and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        gc.enable()

    assert kept <= before
