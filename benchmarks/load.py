"""A closed-loop HTTP load: keep-alive connections that each send the next request when the last one is answered.

How this works: raw non-blocking sockets on epoll. Responses repeat byte for byte within a second, so a known response
costs one look-up; others are parsed once. That keeps the generator far cheaper than the server it measures.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from machine import Server

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KNOWN_ANSWERS_MAX = 1000


@dataclass(slots=True)
class Load:
    """The responses by status, and the duration of each in seconds."""

    seconds: float = 0.0
    requests: int = 0
    cpu_seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


class _Connection:
    __slots__ = ("left", "received", "sent_at", "socket")

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""
        self.left = b""
        self.sent_at = 0.0

    def send(self, data: bytes) -> bool:
        """Send what fits; True when everything is sent."""
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        self.left = data[sent:]
        return not self.left


class Generator:
    """Keep-alive connections to one server that post the bodies of `next_body`."""

    def __init__(self, server: Server, next_body: Callable[[], bytes], connections: int = 32) -> None:
        self._server = server
        self._next_body = next_body
        self._head = (
            f"POST {server.path} HTTP/1.1\r\nhost: {server.host}\r\ncontent-type: application/json\r\ncontent-length: "
        ).encode()
        self._poll = select.epoll()
        self._connections = {}
        for _ in range(connections):
            connection = _Connection(server)
            self._connections[connection.socket.fileno()] = connection
            self._poll.register(connection.socket, select.EPOLLIN)
        self._answers: dict[bytes, int] = {}
        self._idle = list(self._connections.values())

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.socket.close()
        self._poll.close()

    def run(self, seconds: float) -> Load:
        """Load the server for `seconds`, then wait for outstanding responses."""
        load = Load()
        cpu = self._server.cpu_seconds()
        start = now = time.perf_counter()
        end = start + seconds
        waiting = 0
        for connection in self._idle:
            self._post(connection, now)
            waiting += 1
        self._idle = []
        while waiting:
            ready = self._poll.poll(10)
            if not ready:
                raise SystemExit(f"{self._server.name} has not answered for 10 s.")
            for descriptor, flags in ready:
                connection = self._connections[descriptor]
                if flags & select.EPOLLOUT and connection.send(connection.left):
                    self._poll.modify(descriptor, select.EPOLLIN)
                if not flags & (select.EPOLLIN | select.EPOLLHUP) or (status := self._answer(connection)) == 0:
                    continue
                now = time.perf_counter()
                load.statuses[status] += 1
                load.latencies.append(now - connection.sent_at)
                if now < end:
                    self._post(connection, now)
                else:
                    self._idle.append(connection)
                    waiting -= 1
        load.seconds = time.perf_counter() - start
        load.cpu_seconds = self._server.cpu_seconds() - cpu
        load.requests = sum(load.statuses.values())
        return load

    def _post(self, connection: _Connection, now: float) -> None:
        body = self._next_body()
        connection.sent_at = now
        if not connection.send(b"%b%d\r\n\r\n%b" % (self._head, len(body), body)):
            self._poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _answer(self, connection: _Connection) -> int:
        """The status of a complete response, or 0 while some of it is missing."""
        data = connection.socket.recv(262_144)
        if not data:
            raise SystemExit(f"{self._server.name} closed a connection.")
        data = connection.received + data if connection.received else data
        status = self._answers.get(data)
        if status is None:
            end = data.find(b"\r\n\r\n")
            length = _LENGTH.search(data, 0, end + 2) if end >= 0 else None
            if end < 0 or len(data) < end + 4 + (int(length[1]) if length else 0):
                connection.received = data
                return 0
            status = int(data[9:12])
            if len(self._answers) < _KNOWN_ANSWERS_MAX:
                self._answers[data] = status
        connection.received = b""
        return status
