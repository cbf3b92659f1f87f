"""A client that stays connected and reads nothing loses its seat, on every route with long answers."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headwater.testing.notes import note_schema
from headwater.testing.service_kit import served_project, write_project

SECONDS_MAX = 30.0
HEARTBEAT_SECONDS = 0.25
# Of all streams together more than a connection holds on its way.
STREAMS = 60
SUMMARY = "x" * 100_000
LASTING = ["/v1/_page/feed", "/v1/stream-changes/live"]
Place = tuple[str, int]


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "second worker"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("stalled")
    schema = note_schema(required=())
    streams = [
        {"stream": f"s{number:02}", "schema_title": schema["title"], "docs": {"summary": SUMMARY}}
        for number in range(STREAMS)
    ]
    write_project(directory, [schema], streams)
    with served_project(
        directory,
        workers=request.param,
        web={"port": 0, "viewers_per_address_max": 1},
        control={"waiting_per_address_max": 1, "heartbeat_seconds": 0.2},
        consumption={"heartbeat_seconds": HEARTBEAT_SECONDS},
        monitoring={"canaries": False, "completeness": False},
    ) as (address, _):
        where = urlsplit(address)
        yield where.hostname or "", where.port or 0


def opened(place: Place, path: str, source: str, *, buffer_bytes: int | None = None) -> socket.socket:
    one = socket.socket()
    one.settimeout(SECONDS_MAX)
    if buffer_bytes is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    one.bind((source, 0))
    one.connect(place)
    one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return one


def status(one: socket.socket) -> int:
    return int(one.recv(12).split(b" ")[1])


@pytest.mark.parametrize("path", LASTING)
def test_who_takes_nothing_loses_its_seat(place: Place, path: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    with opened(place, path, "127.0.0.2", buffer_bytes=4096) as stalled:
        assert status(stalled) == 200
        with opened(place, path, "127.0.0.2") as other:
            assert status(other) == 429
        while True:
            with opened(place, path, "127.0.0.2") as again:
                if status(again) == 200:
                    break
            assert time.monotonic() < deadline, "the seat is never free again"
            time.sleep(0.1)
        # Nothing comes but what was on its way already.
        with contextlib.suppress(ConnectionResetError):
            while stalled.recv(1_048_576):
                assert time.monotonic() < deadline


@pytest.mark.parametrize("path", LASTING)
def test_who_reads_keeps_its_seat(place: Place, path: str) -> None:
    with opened(place, path, "127.0.0.3") as reading:
        until = time.monotonic() + 12 * HEARTBEAT_SECONDS
        while time.monotonic() < until:
            assert reading.recv(1_048_576)
        with opened(place, path, "127.0.0.3") as other:
            assert status(other) == 429
