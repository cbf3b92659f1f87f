"""One request on a socket of its own, from an address of choice, for tests of limits for each address."""

from __future__ import annotations

import socket
from collections.abc import Sequence

SECONDS_MAX = 10.0
Place = tuple[str, int]


def opened(place: Place, path: str, source: str, headers: Sequence[tuple[str, str]] = ()) -> socket.socket:
    """A connection from the address `source` on which a GET was sent."""
    one = socket.create_connection(place, timeout=SECONDS_MAX, source_address=(source, 0))
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers)]
    one.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
    return one


def status(one: socket.socket, seconds: float = SECONDS_MAX) -> int:
    """The status of the answer; 0 where none comes in this time."""
    one.settimeout(seconds)
    try:
        return int(one.recv(12).split(b" ")[1])
    except TimeoutError:
        return 0


def answer(one: socket.socket) -> bytes:
    """All that comes until the end."""
    got = b""
    one.settimeout(SECONDS_MAX)
    while part := one.recv(65_536):
        got += part
    return got


def etag(place: Place) -> str:
    """The entity tag of the list of streams."""
    with opened(place, "/v1/streams", "127.0.0.1", [("Connection", "close")]) as one:
        lines = answer(one).decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
    return next(line.split(": ", 1)[1] for line in lines if line.lower().startswith("etag:"))
