"""The cost of an idle platform, and the time from its start to the first accepted event."""

from __future__ import annotations

import argparse
import statistics
import time
import urllib.request

import figures
import machine
import sample
from machine import Server


def accept_one(server: Server) -> None:
    """Post one event; raises if it is not accepted."""
    request = urllib.request.Request(
        f"http://{server.host}:{server.port}{server.path}",
        data=sample.body_maker(1)(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        if answer.status != 201:
            raise SystemExit(f"{server.name} answered {answer.status}")


def main() -> None:
    """Start the platform several times, let it idle, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="to idle in each round")
    options = parser.parse_args()
    machine.pin_load()
    figures.conditions(f"{options.rounds} rounds, idle for {options.seconds:g} s, one event accepted before")
    starts, shares, sizes = [], [], []
    for number in range(options.rounds):
        figures.progress(f"round {number + 1} of {options.rounds}")
        begin = time.perf_counter()
        with machine.headwater() as server:
            accept_one(server)
            starts.append(time.perf_counter() - begin)
            time.sleep(1.0)
            cpu = server.cpu_seconds()
            time.sleep(options.seconds)
            shares.append((server.cpu_seconds() - cpu) / options.seconds)
            sizes.append(server.resident_bytes() / 1e6)
    figures.table(
        ["start to first accepted, s", "idle CPU", "idle RSS MB"],
        [[figures.spread(starts), f"{statistics.median(shares):.2%}", f"{statistics.median(sizes):.0f}"]],
    )


if __name__ == "__main__":
    main()
