"""Who hangs up is noticed at once, whatever was sent behind an answer that lasts; what waits behind it is bounded."""

from __future__ import annotations

import contextlib
import gc
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headwater.platform import Platform
from headwater.testing.service_kit import served_project, write_project
from headwater.web.protocol import HELD_BYTES_MAX, HeadwaterProtocol

SECONDS_MAX = 10.0
# Heartbeats, at which the next write would notice, come later than what is noticed by then.
NOTICED_SECONDS_MAX = 10.0
HEARTBEAT_SECONDS = 60.0
CONNECTIONS = 5
SCHEMA = {"title": "note", "$id": "/note/1.0.0", "$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
LASTING = {
    "server-sent events": b"GET /v2/stream/notes HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "NDJSON": b"GET /v2/stream/notes HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
    "feed of the page": b"GET /v1/_page/feed HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "changes": b"GET /v1/stream-changes/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long poll": b"GET /v1/streams?wait=60 HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: %b\r\n\r\n",
}
BEHIND = {
    "nothing": b"",
    "a request": GET,
    "many requests": GET * 500,
    "half a head": GET + b"GET /healthz HTTP/1.1\r\nHost: loc",
    "half a body": POST % 1_000_000 + b" " * 1_000,
    "a large body": POST % 400_000 + b" " * 400_000,
    "more than is held": GET * 20_000,
    "events": (POST % 2 + b"{}") * 100,
    "an endless answer": b"GET /v2/stream/notes HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
    "an offer": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" * 2,
    "what is no request": b"\x16\x03\x01\r\n\r\n",
}


def closed(one: socket.socket) -> None:
    one.close()


def reset(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


ENDS: dict[str, Callable[[socket.socket], None]] = {"closed": closed, "reset": reset}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuple[str, int], Platform]]:
    directory: Path = tmp_path_factory.mktemp("pipelined")
    write_project(directory, [SCHEMA], [{"stream": "notes", "schema_title": "note"}])
    with served_project(
        directory,
        consumption={"heartbeat_seconds": HEARTBEAT_SECONDS, "heartbeat_seconds_max": HEARTBEAT_SECONDS},
        control={"heartbeat_seconds": HEARTBEAT_SECONDS},
    ) as (address, platform):
        where = urlsplit(address)
        yield (where.hostname or "", where.port or 0), platform


def opened(place: tuple[str, int]) -> socket.socket:
    return socket.create_connection(place, timeout=SECONDS_MAX)


def answer(place: tuple[str, int], request: bytes) -> bytes:
    with opened(place) as one:
        one.sendall(request)
        got = b""
        while part := one.recv(65_536):
            got += part
    return got


def etag(place: tuple[str, int]) -> bytes:
    got = answer(place, b"GET /v1/streams HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    found = re.search(rb"(?i)etag: (.*)\r\n", got)
    assert found is not None
    return found[1]


def connections() -> list[HeadwaterProtocol]:
    return [one for one in gc.get_objects() if type(one) is HeadwaterProtocol]


def until(what: Callable[[], bool], seconds: float = NOTICED_SECONDS_MAX) -> bool:
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def send_all(one: socket.socket, data: bytes) -> None:
    """As much as is taken: a server that reads no more leaves the rest in the buffers."""
    one.settimeout(0.5)
    with contextlib.suppress(TimeoutError, ConnectionError):
        one.sendall(data)
    one.settimeout(SECONDS_MAX)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("lasting", LASTING)
def test_a_client_that_hangs_up_is_noticed(
    served: tuple[tuple[str, int], Platform], lasting: str, behind: str, end: str
) -> None:
    place, _ = served
    request = LASTING[lasting]
    if b"%b" in request:
        request = request % etag(place)
    gc.collect()
    gc.disable()
    try:
        before = len(connections())
        with contextlib.ExitStack() as stack:
            mine = [stack.enter_context(opened(place)) for _ in range(CONNECTIONS)]
            for one in mine:
                send_all(one, request + BEHIND[behind])
            if lasting != "long poll":
                assert all(one.recv(12) for one in mine)
            for one in mine:
                ENDS[end](one)
        assert until(lambda: len(connections()) <= before)
    finally:
        gc.enable()


def test_seats_are_free_again(served: tuple[tuple[str, int], Platform]) -> None:
    place, platform = served
    before = platform.hub.admission.connections
    for _ in range(3):
        mine = [opened(place) for _ in range(CONNECTIONS)]
        for one in mine:
            one.sendall(LASTING["server-sent events"] + GET * 50)
        assert until(lambda: platform.hub.admission.connections == before + CONNECTIONS)
        for one in mine:
            one.close()
        assert until(lambda: platform.hub.admission.connections == before)


def test_what_waits_behind_an_endless_answer_is_bounded(served: tuple[tuple[str, int], Platform]) -> None:
    place, _ = served
    before = {id(one) for one in connections()}
    with opened(place) as one:
        send_all(one, LASTING["server-sent events"] + GET * 100_000)
        (mine,) = [found for found in connections() if id(found) not in before]
        assert until(lambda: len(mine._held) > HELD_BYTES_MAX)
        assert len(mine._held) <= HELD_BYTES_MAX + 2 * 262_144
        assert len(mine.pipeline) <= 4_096 // len(GET) + 1
    assert until(lambda: not mine._held and not mine.pipeline)


def test_a_long_poll_of_a_half_closed_connection_is_answered_at_once(
    served: tuple[tuple[str, int], Platform],
) -> None:
    place, _ = served
    held = etag(place)
    began = time.monotonic()
    with opened(place) as one:
        one.sendall(LASTING["long poll"] % held)
        one.shutdown(socket.SHUT_WR)
        got = b""
        while part := one.recv(65_536):
            got += part
    assert got.startswith(b"HTTP/1.1 304")
    assert time.monotonic() - began < NOTICED_SECONDS_MAX


@pytest.mark.parametrize("cut", [1, 100, 4_095, 4_096, 4_097, 70_000])
@pytest.mark.parametrize("half_closed", [False, True])
def test_requests_in_a_row_are_answered_in_order_however_they_come(
    served: tuple[tuple[str, int], Platform], cut: int, half_closed: bool
) -> None:
    place, _ = served
    body = b'{"$schema":"/note/1.0.0","meta":{"stream":"notes"},"text":"%b"}' % (b"x" * 6_000)
    one = [GET, POST % len(body) + body, b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    number = 3 if cut == 1 else 40
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" if not half_closed else GET
    sent = b"".join(one) * number + last
    with opened(place) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), cut):
            connection.sendall(sent[start : start + cut])
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(65_536):
            got += part
    statuses = re.findall(rb"HTTP/1.1 (\d\d\d) ", got)
    assert statuses == [b"200", b"201", b"404"] * number + [b"200"]
