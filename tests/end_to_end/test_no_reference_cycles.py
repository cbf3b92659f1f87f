"""The paths of events leave no cycles of references, which would stay until the collector looks: it looks rarely."""

from __future__ import annotations

import gc
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, TracebackType
from typing import Any
from urllib.parse import urlsplit

import pytest

from headwater.testing.eventually import eventually_blocking
from headwater.testing.service_kit import served_project, write_project
from headwater.web.protocol import HeadwaterProtocol

SECONDS_MAX = 20.0
TIMES = 40
# What goes on beside the requests may leave a little. The transports of asyncio itself are cycles, and not counted.
UNREACHABLE_MAX = TIMES // 2
ROOMS = ("headwater", "uvicorn", "starlette")
RUNS = (FrameType, TracebackType, CoroutineType, GeneratorType, AsyncGeneratorType)
SCHEMA = {"title": "note", "$id": "/note/1.0.0", "$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
EVENT = {"$schema": "/note/1.0.0", "meta": {"stream": "notes"}}
Place = tuple[str, int]


@pytest.fixture
def place(tmp_path: Path, log_url: str) -> Iterator[Place]:
    kept = {"stream": "kept", "schema_title": "note", "producers": {"keys": "required"}}
    write_project(tmp_path, [SCHEMA], [{"stream": "notes", "schema_title": "note"}, kept])
    log = {"url": log_url, "durability": "os"} if log_url.startswith("kafka") else {"durability": "os"}
    with served_project(tmp_path, log=log, monitoring={"completeness": False, "canaries": False}) as (address, _):
        where = urlsplit(address)
        yield where.hostname or "", where.port or 0


def posted(*events: object, path: str = "/v1/events") -> Callable[[Place], None]:
    """Post events, and read the beginning of the answer."""
    return sent(json.dumps(events).encode(), path)


def sent(body: bytes, path: str = "/v1/events") -> Callable[[Place], None]:
    """Post a body, and read the beginning of the answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return read(head.encode() + b"\r\n\r\n" + body)


def read(request: bytes) -> Callable[[Place], None]:
    """Read the beginning of an answer, which may have no end, and hang up."""

    def reading(place: Place) -> None:
        with socket.create_connection(place, timeout=SECONDS_MAX) as connection:
            connection.sendall(request)
            assert connection.recv(9) == b"HTTP/1.1 "

    return reading


HOST = b"Host: localhost\r\n"
PATHS = {
    "an event": posted(EVENT),
    "events": posted(*[EVENT] * 50),
    "events hastily": posted(EVENT, path="/v1/events?hasty=true"),
    "a refused event": posted({**EVENT, "meta": {"stream": "unknown"}}),
    "accepted and refused events": posted(EVENT, {**EVENT, "$schema": "/none/1.0.0"}, {}),
    "what is no JSON": sent(b"{x}"),
    "events that are no JSON": sent(b"[{x},{y}]"),
    "a large event that is no JSON": sent(b"[{" + b" " * 100_000 + b"x}]"),
    "events in a trial that are no JSON": sent(b"[{x},{y}]", "/v1/events?dry_run=true"),
    "an event for who has a key": posted({**EVENT, "meta": {"stream": "kept"}}),
    "a stream": read(b"GET /v2/stream/notes HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a stream from before": read(b"GET /v2/stream/notes?since=2020-01-01T00:00:00Z HTTP/1.1\r\n" + HOST + b"\r\n"),
    "NDJSON": read(b"GET /v2/stream/notes HTTP/1.1\r\nAccept: application/json\r\n" + HOST + b"\r\n"),
    "the feed of the page": read(b"GET /v1/_page/feed HTTP/1.1\r\n" + HOST + b"\r\n"),
    "changes": read(b"GET /v1/stream-changes/live HTTP/1.1\r\n" + HOST + b"\r\n"),
}


def unreachable() -> Counter[str]:
    """What only the collector of cycles can free, as far as it is of our rooms or has run."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        kinds = (type(one) for one in gc.garbage)
        return Counter(kind.__qualname__ for kind in kinds if _is_ours(kind))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()


def _is_ours(kind: type[Any]) -> bool:
    return issubclass(kind, RUNS) or kind.__module__.partition(".")[0] in ROOMS


@pytest.mark.timeout(240)
def test_no_path_leaves_cycles(place: Place) -> None:
    left: dict[str, Counter[str]] = {}
    for name, once in PATHS.items():
        for _ in range(3):
            once(place)
        _until_closed()
        gc.collect()
        gc.disable()
        try:
            for _ in range(TIMES):
                once(place)
            _until_closed()
            left[name] = unreachable()
        finally:
            gc.enable()
    assert {name: found for name, found in left.items() if found.total() > UNREACHABLE_MAX} == {}


def _until_closed() -> None:
    """Wait until no connection is open: a disconnected client is noticed with the next write at the latest."""
    eventually_blocking(
        lambda: not any(type(one) is HeadwaterProtocol for one in gc.get_objects()), seconds=SECONDS_MAX
    )
