"""Every endpoint whose answer lasts has seats for each address: one cannot take those of all others."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project

SECONDS_MAX = 10.0
PER_ADDRESS = 2
LASTING = ["/v1/_page/feed", "/v1/stream-changes/live", "/v1/streams?wait=30", "/v2/stream/notes"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    directory: Path = tmp_path_factory.mktemp("seats")
    write_notes(directory, note_schema(required=()))
    with served_project(
        directory,
        web={"port": 0, "viewers_max": 3, "viewers_per_address_max": PER_ADDRESS},
        control={"waiting_max": 3, "waiting_per_address_max": PER_ADDRESS},
        consumption={"connections_max": 3, "connections_per_address_max": PER_ADDRESS},
    ) as (address, _):
        where = urlsplit(address)
        yield where.hostname or "", where.port or 0


def etag(place: tuple[str, int]) -> bytes:
    with socket.create_connection(place, timeout=SECONDS_MAX) as one:
        one.sendall(b"GET /v1/streams HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = b""
        while part := one.recv(65_536):
            got += part
    lines = got.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return next(line.split(b": ", 1)[1] for line in lines if line.lower().startswith(b"etag:"))


def opened(place: tuple[str, int], path: str, source: str, held: bytes) -> socket.socket:
    one = socket.create_connection(place, timeout=SECONDS_MAX, source_address=(source, 0))
    one.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: %b\r\n\r\n" % (path.encode(), held))
    return one


def status(one: socket.socket, seconds: float = SECONDS_MAX) -> int:
    """The status of the answer; 0 where none comes in this time."""
    one.settimeout(seconds)
    try:
        return int(one.recv(12).split(b" ")[1])
    except TimeoutError:
        return 0


@pytest.mark.parametrize("path", LASTING)
def test_one_address_leaves_seats_for_others_and_gives_back_its_own(place: tuple[str, int], path: str) -> None:
    held = etag(place)
    lasts = 0 if "wait" in path else 200
    with contextlib.ExitStack() as stack:
        # An answer that waits for news comes late.
        seconds = 0.3 if "wait" in path else SECONDS_MAX
        mine = [stack.enter_context(opened(place, path, "127.0.0.1", held)) for _ in range(PER_ADDRESS)]
        assert [status(one, seconds) for one in mine] == [lasts] * PER_ADDRESS
        assert status(stack.enter_context(opened(place, path, "127.0.0.1", held))) == 429
        other = stack.enter_context(opened(place, path, "127.0.0.2", held))
        assert status(other, seconds) == lasts
        # Those of all together are taken now.
        assert status(stack.enter_context(opened(place, path, "127.0.0.3", held))) == 429
    if "wait" in path:
        return
    until = time.monotonic() + SECONDS_MAX
    while True:
        with opened(place, path, "127.0.0.1", held) as again:
            if status(again) == lasts:
                return
        assert time.monotonic() < until
        time.sleep(0.05)
