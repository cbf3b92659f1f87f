"""A header that decides how a request is answered may be there once: of two, a proxy might have looked at the other."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project

SECONDS_MAX = 10.0
BODY = b'{"$schema": "/note/1.0.0", "meta": {"stream": "notes"}}'
# Two values each, of which either alone is taken.
VALUES = {
    "Authorization": ("Bearer of-a-proxy", "Bearer of-another"),
    "Host": ("localhost", "127.0.0.1"),
    "Content-Type": ("application/json", "text/plain"),
    "Content-Encoding": ("identity", "gzip"),
    "Content-Length": (f"{len(BODY)}", f"{len(BODY) - 1}"),
    "Origin": ("http://a.example", "http://localhost"),
    "Last-Event-ID": ("[]", "x"),
    "If-Match": ('"1"', '"2"'),
    "Sec-Fetch-Site": ("same-origin", "cross-site"),
}
REQUESTS = {
    "events": b"POST /v1/events",
    "events with a query": b"POST /v2/events?dry_run",
    "stream": b"GET /v2/stream/notes",
    "changes": b"POST /v1/stream-changes",
    "live changes": b"GET /v1/stream-changes/live",
    "page": b"GET /",
    "subjects": b"GET /subjects",
}


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "second worker"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    directory: Path = tmp_path_factory.mktemp("once")
    write_notes(directory, note_schema(required=()))
    with served_project(directory, workers=request.param) as (address, _):
        where = urlsplit(address)
        yield where.hostname or "", where.port or 0


def asked(place: tuple[str, int], line: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
    """The whole answer, or the head of one without end."""
    given = {name.lower() for name, _ in headers}
    rest = [("Host", "localhost"), ("Content-Length", f"{len(BODY)}"), ("Content-Type", "application/json")]
    if line.startswith(b"GET"):
        rest = rest[:1]
    lines = [f"{name}: {value}" for name, value in [*headers, *(one for one in rest if one[0].lower() not in given)]]
    with socket.create_connection(place, timeout=SECONDS_MAX) as one:
        body = BODY if line.startswith(b"POST") else b""
        one.sendall(line + b" HTTP/1.1\r\n" + "\r\n".join([*lines, "Connection: close"]).encode() + b"\r\n\r\n" + body)
        got = b""
        while part := one.recv(65_536):
            got += part
            if b"text/event-stream" in got and b"\r\n\r\n" in got:
                break
    return got


@pytest.mark.parametrize(
    ("request_line", "name"),
    # Only what has a body has its length.
    [pair for pair in itertools.product(REQUESTS, VALUES) if pair[1] != "Content-Length" or "events" in pair[0]],
)
def test_two_of_a_header_that_decides_are_refused(place: tuple[str, int], name: str, request_line: str) -> None:
    line = REQUESTS[request_line]
    for first, second in itertools.permutations(VALUES[name]):
        for again in (name, name.upper(), name.lower()):
            got = asked(place, line, [(name, first), ("X-Between", "1"), (again, second)])
            assert got.startswith(b"HTTP/1.1 400"), got
            # The parser itself refuses two lengths.
            assert name == "Content-Length" or (b"header_repeated" in got or b'"error_code":400' in got), got
            assert name == "Content-Length" or name.lower().encode() in got.lower(), got


@pytest.mark.parametrize("name", [name for name in VALUES if name not in ("Content-Type", "Content-Length")])
def test_two_that_say_the_same_are_refused_as_well(place: tuple[str, int], name: str) -> None:
    value = VALUES[name][0]
    assert asked(place, REQUESTS["events"], [(name, value), (name, value)]).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "twice",
    [
        [("Content-Type", "application/json"), ("Content-Type", "application/json")],
        [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2")],
        [("Accept", "application/json"), ("Accept", "text/plain")],
        [("Cookie", "a=b"), ("Cookie", "c=d")],
    ],
)
def test_others_may_be_repeated(place: tuple[str, int], twice: list[tuple[str, str]]) -> None:
    assert asked(place, REQUESTS["events"], twice).startswith(b"HTTP/1.1 201")


def test_accept_headers_are_one_list_however_they_are_split(place: tuple[str, int]) -> None:
    for kinds, media in (
        (("application/json", "text/html"), b"application/json"),
        (("text/html", "application/json"), b"text/event-stream"),
    ):
        # A stream that does not exist ends the answer; the form of one that does is told in its head.
        with socket.create_connection(place, timeout=SECONDS_MAX) as one:
            accept = "".join(f"Accept: {kind}\r\n" for kind in kinds)
            one.sendall(
                f"HEAD /v2/stream/notes HTTP/1.1\r\nHost: localhost\r\n{accept}Connection: close\r\n\r\n".encode()
            )
            got = b""
            while part := one.recv(65_536):
                got += part
        assert b"content-type: " + media in got, got
