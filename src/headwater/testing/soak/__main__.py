"""Runs a soak from the command line.

python -m headwater.testing.soak --minutes 30
python -m headwater.testing.soak --minutes 1 --leak-bytes 4000     see that it notices
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from headwater.testing.soak.measurements import quantile
from headwater.testing.soak.run import SoakReport, SoakSettings, soak

# Caches and pools are filled after this share of the time.
WARM_UP_SHARE = 1 / 3


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if something grew that must not, or a response was wrong; else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m headwater.testing.soak",
        description="Run a whole platform at half of its capacity while clients connect and disconnect, and "
        "measure what grows.",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long, warm-up included (default 30)")
    parser.add_argument("--warm-up-minutes", type=float, help="the time that is not measured (default: a third)")
    parser.add_argument("--rate", type=float, help="events per second (default: half of the measured capacity)")
    parser.add_argument(
        "--megabytes-per-hour-max", type=float, default=30.0, help="the most that memory may grow per hour"
    )
    parser.add_argument("--health-seconds-max", type=float, default=2.0, help="the longest response time of /healthz")
    parser.add_argument(
        "--leak-bytes", type=int, default=0, help="leak this much of each event, to show that it is detected"
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed of what clients do")
    parser.add_argument("--directory", type=Path, help="the directory of the project (default: a temporary one)")
    given = parser.parse_args(arguments)
    settings = SoakSettings(
        seconds=given.minutes * 60,
        warm_up_seconds=given.minutes * 60 * WARM_UP_SHARE
        if given.warm_up_minutes is None
        else given.warm_up_minutes * 60,
        events_per_second=given.rate,
        megabytes_per_hour_max=given.megabytes_per_hour_max,
        health_seconds_max=given.health_seconds_max,
        seed=given.seed,
        leak_bytes=given.leak_bytes,
    )
    with tempfile.TemporaryDirectory(prefix="headwater-soak-") as temporary:
        report = asyncio.run(soak(given.directory or Path(temporary), settings, say=_say))
    _show(report)
    return 1 if report.problems else 0


def _say(text: str) -> None:
    print(text, flush=True)


def _show(report: SoakReport) -> None:
    latencies = [took * 1000 for at, took in report.observed.latencies]
    third = len(latencies) // 3 or 1
    health = [took * 1000 for _, took in report.observed.health]
    print(f"{report.observed.accepted:,} events accepted, {report.events_per_second:,.0f} per second requested")
    print("visits: " + ", ".join(f"{count} {kind}" for kind, count in sorted(report.visits.items())))
    for name, found in (("memory", report.memory), ("memory without pages of files", report.own_memory)):
        if found is not None:
            print(f"{name}: {found.per_hour:+,.1f} MB/hour ± {found.uncertainty:,.1f} (95 %), after the warm-up")
    for name, part in (("first third", latencies[:third]), ("last third", latencies[-third:])):
        print(f"answers to producers, {name}: p50 {quantile(part, 0.5):.1f} ms, p99 {quantile(part, 0.99):.1f} ms")
    print(f"/healthz: p99 {quantile(health, 0.99):.1f} ms, worst {max(health, default=0.0):.1f} ms")
    handles = [one.handles for one in report.samples if one.seconds >= report.warm_up_seconds]
    threads = [one.threads for one in report.samples if one.seconds >= report.warm_up_seconds]
    if handles:
        print(f"handles: {min(handles)} to {max(handles)}; threads: {min(threads)} to {max(threads)}")
    for problem in report.problems:
        print(f"PROBLEM: {problem}")
    print("sound" if not report.problems else "not sound")


if __name__ == "__main__":
    sys.exit(main())
