"""Whatever one client does, the service soon has about the memory it had before."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from headwater.testing.service_kit import write_project
from headwater.testing.watched_service import LEFT_BYTES_MAX, WatchedService, watched_service

pytestmark = pytest.mark.measures

SECONDS_MAX = 60.0
SCHEMA = {
    "title": "note",
    "$id": "/note/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"texts": {"type": "array", "items": {"type": "string"}}},
}
EVENT = {"$schema": "/note/1.0.0", "meta": {"stream": "notes"}}
JSON = {"content-type": "application/json"}
Place = tuple[str, int]
Case = Callable[[Place], None]


def array(event: bytes | dict[str, object], count: int) -> bytes:
    text = event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()
    return b"[" + b",".join([text] * count) + b"]"


def posted(body: bytes, *, times: int = 1, path: str = "/v1/events", status: int, **headers: str) -> Case:
    """Post a body that often, and read each answer."""

    def post(place: Place) -> None:
        with httpx.Client(base_url=f"http://{place[0]}:{place[1]}", timeout=SECONDS_MAX) as client:
            for _ in range(times):
                answer = client.post(path, content=body, headers=JSON | headers)
                assert answer.status_code == status, answer.text[:300]

    return post


def hung_up(request: bytes, *, connections: int) -> Case:
    """Send the same on that many connections at a time, none of which reads, and hang up."""

    def send(place: Place) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(connections):
                connection = stack.enter_context(socket.create_connection(place, timeout=SECONDS_MAX))
                # Some are refused before all is sent.
                with contextlib.suppress(ConnectionError):
                    connection.sendall(request)

    return send


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def read_by(path: str, *, readers: int, events: bytes) -> Case:
    """Let so many readers wait while events are stored, of which they read a little."""

    def read(place: Place) -> None:
        with contextlib.ExitStack() as stack:
            connections = [
                stack.enter_context(socket.create_connection(place, timeout=SECONDS_MAX)) for _ in range(readers)
            ]
            for connection in connections:
                connection.sendall(head(path, method="GET"))
                assert connection.recv(9) == b"HTTP/1.1 "
            posted(events, status=201)(place)
            for connection in connections:
                connection.recv(1_000)

    return read


HALF = ("Content-Type: application/json", "Content-Length: 9000000")
GZIP = {"content-encoding": "gzip"}
CASES: dict[str, Case] = {
    "many stored events": posted(array(EVENT | {"text": "x" * 950}, 9_900), times=3, status=201),
    "what is no JSON": posted(array(b'{"a":x}', 1_000), times=20, status=400),
    "a large body that is no JSON": posted(b"[" * 5_000_000 + b"]" * 5_000_000, times=2, status=400),
    "a large event that is no JSON": posted(b'{"a":' + b" " * 3_000_000 + b"x}", times=20, status=400),
    "many violations": posted(array(EVENT | {"texts": [1] * 300}, 3_000), status=400),
    "many unknown streams": posted(array({**EVENT, "meta": {"stream": "x"}}, 10_000), status=400),
    "a trial": posted(array(EVENT | {"text": "x" * 500}, 10_000), path="/v1/events?dry_run=true", status=200),
    "many members of gzip": posted(gzip.compress(b"") * 40_000, status=400, **GZIP),
    "much in little": posted(gzip.compress(b" " * 300_000_000), times=3, status=413, **GZIP),
    "aborted uploads": hung_up(head("/v1/events", *HALF) + b" " * 4_000_000, connections=40),
    "aborted uploads of events": hung_up(head("/v1/events", *HALF) + array(EVENT, 60_000), connections=20),
    "aborted uploads of text": hung_up(head("/v1/events", HALF[1]) + b" " * 4_000_000, connections=20),
    "aborted uploads of gzip": hung_up(
        head("/v1/events", *HALF, "Content-Encoding: gzip") + b" " * 4_000_000, connections=20
    ),
    "aborted forms": hung_up(head("/w/api.php", HALF[1]) + b"a" * 900_000, connections=40),
    "half heads": hung_up(head("/v1/events", "x: " + "y" * 60_000)[:-2], connections=200),
    "large heads": hung_up(head("/", "x: " + "y" * 60_000, method="GET") * 20, connections=10),
    "an endless head": hung_up(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500_000, connections=10),
    "an endless header": hung_up(b"GET / HTTP/1.1\r\na: " + b"b" * 5_000_000, connections=10),
    "requests in a row": hung_up(head("/", method="GET") * 300, connections=20),
    "events in a row": hung_up(
        (head("/v1/events", HALF[0], "Content-Length: 60001") + b"[" * 60_001) * 20, connections=20
    ),
    "readers with filters": read_by(
        '/v2/stream/notes?filter={"text":"y"}'.replace('"', "%22"), readers=20, events=array(EVENT, 9_000)
    ),
    "readers who do not read": read_by(
        "/v2/stream/notes", readers=20, events=array(EVENT | {"text": "x" * 900}, 9_000)
    ),
    "readers from before": read_by("/v2/stream/notes?since=2020-01-01T00:00:00Z", readers=20, events=array(EVENT, 1)),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedService]:
    directory: Path = tmp_path_factory.mktemp("memory")
    write_project(directory, [SCHEMA], [{"stream": "notes", "schema_title": "note"}])
    with watched_service(directory) as service:
        yield service


@pytest.fixture(scope="module")
def idle_bytes(service: WatchedService) -> int:
    """What an idle service has that has done a little of everything."""
    address = urlsplit(service.address)
    place = (address.hostname or "", address.port or 0)
    # Pieces that stay lie between pieces that are freed, up to some bound: no case alone leaves as many as these do.
    for case in ("many violations", "a trial", "events in a row"):
        CASES[case](place)
    # What was stored last is kept for readers, a bounded number of bytes; the second is error events.
    CASES["many stored events"](place)
    CASES["many unknown streams"](place)
    posted(array(b"x", 10), status=400)(place)
    posted(gzip.compress(array(EVENT, 10)), status=201, **GZIP)(place)
    for path in ("/", "/metrics", "/v1/streams", "/monitoring", "/repositories/"):
        httpx.get(f"{service.address}{path}", timeout=SECONDS_MAX)
    return service.idle_bytes()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("case", CASES)
def test_memory_returns(service: WatchedService, idle_bytes: int, case: str) -> None:
    address = urlsplit(service.address)
    before = service.measured()
    CASES[case]((address.hostname or "", address.port or 0))
    peak = service.measured().peak_bytes

    left = service.bytes_left(idle_bytes)

    print(f"{case}: {before.bytes - idle_bytes:,} before, {peak - idle_bytes:,} at most, {left:,} left")
    assert left <= LEFT_BYTES_MAX
