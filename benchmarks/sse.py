"""The cost of live events for many clients: messages per second, processor time per message, and latency.

How this works: this process connects all clients on one epoll and also posts the events, each carrying the moment it
was sent, so that both ends of a latency come from one clock. Of every client the messages are counted; of some of them,
spread over the order in which they connected, every message is read for its latency. A server under test needs the
benchmark's stream (see sample.py). With `--log kafka://…` the server keeps its events there, on a broker that runs.

A case is `CLIENTSxRATE` or `CLIENTSxRATE/TOPICS`: then events go to so many streams in turn, and each client reads one
of them, so that with as many clients as streams every event has one reader, however many streams there are.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import figures
import machine
import sample
from machine import Server

SENT = re.compile(rb'"sent_ns":(\d+)')
MARK = b"\ndata: "
STREAM_FIELD = b'"stream":"%b"' % sample.STREAM.encode()
SAMPLED_CLIENTS = 10
# A server answers one connection's requests in order: with only one, each event would wait for the one before.
PRODUCERS = 16
WARM_UP_SECONDS = 1.0
DRAIN_SECONDS = 3.0
IDLE_AFTER_SECONDS = 5.0


@dataclass(slots=True)
class Client:
    """One connection that reads the stream; only a sampled one keeps what it has not parsed yet."""

    socket: socket.socket
    sampled: bool
    rest: bytes = b""


@dataclass(slots=True)
class Result:
    """What the clients saw between start and end."""

    sent: int = 0
    expected: int = 0
    received: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    resident_bytes: int = 0
    latencies: list[float] = field(default_factory=list)


class FanOut:
    """All clients of one stream, and the producers."""

    def __init__(self, server: Server, clients: int, path: str, streams: Sequence[str]) -> None:
        """`streams`: those that events go to in turn, and that clients read, each one of them at `path`/NAME."""
        self._server = server
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._streams = itertools.cycle([b'"stream":"%b"' % name.encode() for name in streams])
        self._readers = itertools.cycle([len(range(number, clients, len(streams))) for number in range(len(streams))])
        every = max(1, clients // SAMPLED_CLIENTS)
        for number in range(clients):
            place = f"{path}/{streams[number % len(streams)]}"
            request = f"GET {place} HTTP/1.1\r\nhost: {server.host}\r\naccept: text/event-stream\r\n\r\n".encode()
            connection = socket.create_connection((server.host, server.port), timeout=30)
            connection.sendall(request)
            self._clients[connection.fileno()] = Client(connection, number % every == 0)
        for client in self._clients.values():
            head = client.socket.recv(65_536)
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"{server.name} does not stream: {head[:300]!r}")
            client.socket.setblocking(False)
            self._poll.register(client.socket, select.EPOLLIN)
        self._producers = itertools.cycle([self._producer() for _ in range(PRODUCERS)])
        self._body = sample.body_maker(1)
        self._result = Result()

    def run(self, per_second: float, seconds: float) -> Result:
        """Post `per_second` events, evenly spaced, and read until all have arrived or nothing comes any more."""
        result = self._result = Result()
        cpu, start = self._server.cpu_seconds(), time.perf_counter()
        for sent in range(1, int(per_second * seconds) + 1):
            due = start + sent / per_second
            while (left := due - time.perf_counter()) > 0:
                self._read(min(left, 0.01))
            self._post()
            result.sent, result.expected = sent, result.expected + next(self._readers)
        deadline = time.perf_counter() + DRAIN_SECONDS
        while result.received < result.expected and time.perf_counter() < deadline:
            self._read(0.01)
        result.seconds = time.perf_counter() - start
        result.cpu_seconds = self._server.cpu_seconds() - cpu
        result.resident_bytes = self._server.resident_bytes()
        return result

    def idle(self, seconds: float) -> float:
        """The share of a core that the server takes while all are connected and nothing happens."""
        # What was under way when the last event came is over by then.
        self._wait(IDLE_AFTER_SECONDS)
        cpu, start = self._server.cpu_seconds(), time.perf_counter()
        self._wait(seconds)
        return (self._server.cpu_seconds() - cpu) / (time.perf_counter() - start)

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.socket.close()
        for producer in itertools.islice(self._producers, PRODUCERS):
            producer.close()
        self._poll.close()

    def _wait(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._read(left)

    def _producer(self) -> socket.socket:
        connection = socket.create_connection((self._server.host, self._server.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        return connection

    def _post(self) -> None:
        producer = next(self._producers)
        body = self._body().replace(STREAM_FIELD, next(self._streams), 1)
        body = b'%b,"sent_ns":%d}' % (body[:-1], time.perf_counter_ns())
        head = f"POST {self._server.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        with contextlib.suppress(BlockingIOError):
            producer.recv(262_144)
        producer.send(b"%bcontent-length: %d\r\n\r\n%b" % (head.encode(), len(body), body))

    def _read(self, timeout: float) -> None:
        for descriptor, _ in self._poll.poll(timeout):
            client = self._clients[descriptor]
            data = client.socket.recv(1_048_576)
            now = time.perf_counter_ns()
            if not data:
                raise SystemExit(f"{self._server.name} closed a stream.")
            data = client.rest + data
            if not client.sampled:
                self._result.received += data.count(MARK)
                # A mark may be cut in two; fewer bytes than one are kept, so that none is counted twice.
                client.rest = data[-(len(MARK) - 1) :]
                continue
            whole, _, client.rest = data.rpartition(b"\n\n")
            self._result.received += (b"\n" + whole).count(MARK) if whole else 0
            self._result.latencies += [(now - int(moment)) / 1e6 for moment in SENT.findall(whole)]


@dataclass(frozen=True, slots=True)
class Case:
    """So many clients, events a second, and streams that they are divided over."""

    clients: int
    per_second: float
    topics: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """`CLIENTSxRATE` or `CLIENTSxRATE/TOPICS`."""
        load, _, topics = text.partition("/")
        clients, _, rate = load.partition("x")
        return cls(int(clients), float(rate), int(topics or 1))

    @property
    def streams(self) -> list[str]:
        return sample.streams(self.topics)

    def __str__(self) -> str:
        return f"{self.clients} × {self.per_second:g}/s" + (f", {self.topics} topics" if self.topics > 1 else "")


def measure(server: Server, case: Case, options: argparse.Namespace) -> list[str]:
    """One line of the table."""
    figures.progress(f"{server.name}: {case}")
    fan_out = FanOut(server, case.clients, options.path, case.streams)
    try:
        fan_out.run(case.per_second, WARM_UP_SECONDS)
        results = [fan_out.run(case.per_second, options.seconds) for _ in range(options.rounds)]
        idle = f"{fan_out.idle(options.idle):.1%}" if options.idle else "–"
    finally:
        fan_out.close()
    latencies = [latency for result in results for latency in result.latencies]
    received, expected = sum(result.received for result in results), sum(result.expected for result in results)
    return [
        server.name,
        str(case),
        f"{received / expected:.1%}",
        figures.spread([result.received / result.seconds for result in results]),
        figures.spread([result.cpu_seconds / max(result.received, 1) * 1e6 for result in results]),
        figures.spread([result.cpu_seconds / result.sent * 1e6 for result in results]),
        f"{figures.percentile(latencies, 0.5):.1f}/{figures.percentile(latencies, 0.99):.1f}",
        f"{max(result.resident_bytes for result in results) / 1e6:.0f}",
        idle,
    ]


def main() -> None:
    """Read the options, start the servers, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running server (its POST URL; default: start one)")
    parser.add_argument("--other", metavar="URL", help="another server, measured in turn")
    parser.add_argument("--log", metavar="URL", help="kafka://HOST:PORT of a running broker (default: SQLite)")
    parser.add_argument("--path", default="/v2/stream", help="path of the streams")
    parser.add_argument("--cases", default="1x1000,100x400,1000x40", help="separated by commas, see above")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each measurement")
    parser.add_argument(
        "--idle", type=float, default=0.0, help="seconds to measure what the connected clients cost idle"
    )
    options = parser.parse_args()
    machine.pin_load()
    figures.conditions(
        f"1.9 KB events, {options.rounds} rounds of {options.seconds:g} s, acknowledged when durable"
        + (f", log {options.log}, broker on the load's core" if options.log else "")
    )
    lines = []
    for case in map(Case.parse, options.cases.split(",")):
        with contextlib.ExitStack() as stack:
            place = machine.from_url(options.url) if options.url else None
            servers = [place or stack.enter_context(machine.with_streams(case.streams, options.log))]
            servers += [machine.from_url(options.other)] if options.other else []
            lines += [measure(server, case, options) for server in servers]
    head = [
        "server",
        "clients × rate",
        "arrived",
        "messages/s",
        "CPU µs each",
        "per event",
        "p50/p99 ms",
        "RSS MB",
        "idle",
    ]
    figures.table(head, lines)


if __name__ == "__main__":
    main()
