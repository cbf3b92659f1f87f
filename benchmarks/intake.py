"""How many events per second, and per second of processor time, an intake accepts: ours and another, in turns.

    python benchmarks/intake.py                            # ours and the Node yardstick
    python benchmarks/intake.py --other http://host:port/v1/events
    python benchmarks/intake.py --url http://127.0.0.1:8080/v1/events --no-other
    python benchmarks/intake.py --log kafka://127.0.0.1:9092 --workers 2 --connections 4,32
    python benchmarks/intake.py --no-other --sizes 100 --topics 10,100,1000 --skew 1

Each round measures both servers, the order changing every round, so that a machine that speeds up or slows down does
not favour one of them. The result is the ratio of events per second of server processor time. With `--log kafka://…`
the yardstick produces to the same broker; only the servers' own processes are measured, not the broker.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import figures
import machine
import sample
from load import Generator, Load
from machine import Server

WARM_UP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of one server."""

    load: Load
    events: int
    resident_bytes: int

    @property
    def per_second(self) -> float:
        return self.events / self.load.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.events / self.load.cpu_seconds if self.load.cpu_seconds else 0.0


def started(
    options: argparse.Namespace, workers: int, topics: int, stack: contextlib.ExitStack, log: str | None
) -> list[Server]:
    """Our server and the one it is compared with, running until `stack` is closed."""
    if options.url:
        servers = [machine.from_url(options.url)]
    else:
        name = "headwater" if workers == 1 else f"headwater, {workers} workers"
        names = sample.streams(topics)
        ours = machine.with_streams(names, log, name, workers, LOG_DURABILITY=options.durability)
        servers = [stack.enter_context(ours)]
    if options.other:
        servers.append(machine.from_url(options.other))
    elif not options.no_other:
        brokers = log.removeprefix("kafka://") if log else None
        servers.append(stack.enter_context(machine.yardstick(brokers, options.yardstick_poll_ms)))
    return servers


def measure(server: Server, bodies: Callable[[], bytes], per_request: int, seconds: float, connections: int) -> Round:
    """Load one server; stops the benchmark at any response other than 201 (or 204, 202)."""
    generator = Generator(server, bodies, connections)
    try:
        generator.run(WARM_UP_SECONDS)
        load = generator.run(seconds)
    finally:
        generator.close()
    refused = {status: count for status, count in load.statuses.items() if status not in (201, 202, 204)}
    if refused:
        raise SystemExit(f"{server.name} did not accept everything: {refused}")
    return Round(load, load.requests * per_request, server.resident_bytes())


def compare(
    servers: list[Server], per_request: int, connections: int, topics: int, options: argparse.Namespace
) -> dict[str, list[Round]]:
    """`options.rounds` rounds, each with every server, in changing order."""
    bodies = sample.body_maker(per_request, sample.streams(topics), skew=options.skew)
    rounds: dict[str, list[Round]] = {server.name: [] for server in servers}
    for number in range(options.rounds):
        figures.progress(
            f"{per_request} per request, {connections} connections, {topics} topics, "
            f"round {number + 1} of {options.rounds}"
        )
        for server in servers if number % 2 == 0 else servers[::-1]:
            rounds[server.name].append(measure(server, bodies, per_request, options.seconds, connections))
    return rounds


def rows(
    per_request: int, connections: int, topics: int, servers: list[Server], rounds: dict[str, list[Round]]
) -> list[list[str]]:
    """The lines of the table for one request size; ratios are to the last server."""
    baseline = rounds[servers[-1].name]
    lines = []
    for server in servers:
        mine = rounds[server.name]
        latencies = [latency for one in mine for latency in one.load.latencies]
        ratios = [a.per_cpu_second / b.per_cpu_second for a, b in zip(mine, baseline, strict=True) if b.per_cpu_second]
        p50, p99 = (figures.percentile(latencies, share) * 1000 for share in (0.5, 0.99))
        lines.append(
            [
                str(per_request),
                str(connections),
                str(topics),
                server.name,
                figures.spread(ratios) if ratios and server is not servers[-1] else "1",
                f"{statistics.median(one.per_cpu_second for one in mine):,.0f}",
                f"{1e6 / statistics.median(one.per_cpu_second for one in mine):.1f}" if mine[0].per_cpu_second else "",
                f"{statistics.median(one.per_second for one in mine):,.0f}",
                f"{p50:.1f}/{p99:.1f}",
                f"{max(one.resident_bytes for one in mine) / 1e6:.0f}",
            ]
        )
    return lines


def main() -> None:
    """Read the options, start the servers, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="our server, if it is running (default: start one)")
    parser.add_argument("--other", metavar="URL", help="the server to compare with (default: the Node yardstick)")
    parser.add_argument("--no-other", action="store_true", help="measure only ours")
    parser.add_argument(
        "--durability", choices=("fsync", "os"), default="fsync", help="durability of the started server"
    )
    parser.add_argument("--sizes", default="1,10,100", help="events per request (default 1,10,100)")
    parser.add_argument("--connections", default="32", help="keep-alive connections (default 32)")
    parser.add_argument("--log", metavar="URL", help="kafka://HOST:PORT of a running broker (default: SQLite)")
    parser.add_argument("--workers", default="1", help="worker processes of the started server (default 1)")
    parser.add_argument("--topics", default="1", help="number of streams, chosen at random for each event (default 1)")
    parser.add_argument(
        "--skew",
        type=float,
        default=0.0,
        help="0: all streams are equally frequent; 1: the n-th has 1/n of the first one's events",
    )
    parser.add_argument(
        "--yardstick-poll-ms", type=int, default=100, help="how often Node asks for delivery reports (EventGate: 100)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    options = parser.parse_args()
    machine.pin_load()
    log = options.log if options.log and options.log.startswith("kafka://") else None
    figures.conditions(
        f"{options.rounds} rounds of {options.seconds:g} s, "
        + (f"log {log}, broker on the load's core, " if log else f"durability {options.durability}, ")
        + f"server on core {machine.SERVER_CORE}, load on core {machine.LOAD_CORE}"
    )
    lines = []
    for workers, topics in itertools.product(numbers(options.workers), numbers(options.topics)):
        with contextlib.ExitStack() as stack:
            servers = started(options, workers, topics, stack, log)
            for connections, size in itertools.product(numbers(options.connections), numbers(options.sizes)):
                rounds = compare(servers, size, connections, topics, options)
                lines += rows(size, connections, topics, servers, rounds)
    head = [
        "per request",
        "connections",
        "topics",
        "server",
        "ratio per CPU-s",
        "events/CPU-s",
        "CPU µs each",
        "events/s",
        "p50/p99 ms",
        "RSS MB",
    ]
    figures.table(head, lines)


def numbers(text: str) -> list[int]:
    """`1,10,100` as whole numbers."""
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
