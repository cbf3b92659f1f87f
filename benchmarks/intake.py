"""How many events per second, and per second of processor time, an intake takes: ours beside another, in turns.

    python benchmarks/intake.py                            # ours beside the Node yardstick
    python benchmarks/intake.py --other http://host:port/v1/events
    python benchmarks/intake.py --url http://127.0.0.1:8080/v1/events --no-other

Each round measures both servers, the order changing every round, so that a machine that speeds up or slows down does
not favour one of them. What counts is the ratio of events per second of server processor time.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
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


def measure(server: Server, per_request: int, seconds: float, connections: int) -> Round:
    """Load one server; stops the benchmark when anything but 201 (or 204, 202) comes back."""
    generator = Generator(server, sample.body_maker(per_request), connections)
    try:
        generator.run(WARM_UP_SECONDS)
        load = generator.run(seconds)
    finally:
        generator.close()
    refused = {status: count for status, count in load.statuses.items() if status not in (201, 202, 204)}
    if refused:
        raise SystemExit(f"{server.name} did not accept everything: {refused}")
    return Round(load, load.requests * per_request, server.resident_bytes())


def compare(servers: list[Server], per_request: int, options: argparse.Namespace) -> dict[str, list[Round]]:
    """`options.rounds` rounds, each with every server, in changing order."""
    rounds: dict[str, list[Round]] = {server.name: [] for server in servers}
    for number in range(options.rounds):
        figures.progress(f"{per_request} per request, round {number + 1} of {options.rounds}")
        for server in servers if number % 2 == 0 else servers[::-1]:
            rounds[server.name].append(measure(server, per_request, options.seconds, options.connections))
    return rounds


def rows(per_request: int, servers: list[Server], rounds: dict[str, list[Round]]) -> list[list[str]]:
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
                server.name,
                figures.spread(ratios) if ratios and server is not servers[-1] else "1",
                f"{statistics.median(one.per_cpu_second for one in mine):,.0f}",
                f"{statistics.median(one.per_second for one in mine):,.0f}",
                f"{p50:.1f}/{p99:.1f}",
                f"{max(one.resident_bytes for one in mine) / 1e6:.0f}",
            ]
        )
    return lines


def main() -> None:
    """Read the options, start what is to be started, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="our server, if it runs already; by default one is started")
    parser.add_argument("--other", metavar="URL", help="the server to compare with; by default the Node yardstick")
    parser.add_argument("--no-other", action="store_true", help="measure ours alone")
    parser.add_argument("--durability", choices=("fsync", "os"), default="fsync", help="of the server started here")
    parser.add_argument("--sizes", default="1,10,100", help="events per request (default 1,10,100)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    options = parser.parse_args()
    machine.pin_load()
    with contextlib.ExitStack() as stack:
        ours = machine.headwater(LOG_DURABILITY=options.durability)
        servers = [machine.from_url(options.url) if options.url else stack.enter_context(ours)]
        if not options.no_other:
            other = machine.from_url(options.other) if options.other else stack.enter_context(machine.yardstick())
            servers.append(other)
        figures.conditions(
            f"{options.connections} keep-alive connections, {options.rounds} rounds of {options.seconds:g} s, "
            f"durability {options.durability}, server on core {machine.SERVER_CORE}, load on core {machine.LOAD_CORE}"
        )
        lines = []
        for size in (int(part) for part in options.sizes.split(",")):
            lines += rows(size, servers, compare(servers, size, options))
        head = ["per request", "server", "ratio per CPU-s", "events/CPU-s", "events/s", "p50/p99 ms", "RSS MB"]
        figures.table(head, lines)


if __name__ == "__main__":
    main()
