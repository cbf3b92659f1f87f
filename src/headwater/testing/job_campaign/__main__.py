"""Runs the job campaign from the command line.

python -m headwater.testing.job_campaign --rounds 30
python -m headwater.testing.job_campaign --rounds 1000 --seed 7 --log sqlite --log kafka://localhost:9092
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from headwater.testing.job_campaign.campaign import EVENTS_EACH, ROUNDS_EACH, JobCampaign


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if anything differs, else 0. In that case the projects concerned are kept, and their directory printed."""
    parser = argparse.ArgumentParser(
        prog="python -m headwater.testing.job_campaign",
        description="Kill the processes of platforms whose jobs are of every kind, and compare all that they made.",
    )
    parser.add_argument("--rounds", type=int, default=30, help="how often to kill (default 30)")
    parser.add_argument(
        "--seed", type=int, help="the seed of the first life; each further one has the next (default: a random one)"
    )
    parser.add_argument(
        "--log",
        action="append",
        help="sqlite, or the address of a Kafka, such as kafka://localhost:9092; several are used in turn (default: "
        "sqlite)",
    )
    parser.add_argument("--processes", type=int, help="the setting jobs.processes (default: that of the platform)")
    parser.add_argument(
        "--rounds-each", type=int, default=ROUNDS_EACH, help=f"how often to kill each (default {ROUNDS_EACH})"
    )
    parser.add_argument(
        "--events-each", type=int, default=EVENTS_EACH, help=f"how many events each gets (default {EVENTS_EACH})"
    )
    parser.add_argument("--directory", type=Path, help="for the projects (default: a temporary one)")
    given = parser.parse_args(arguments)
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    directory = given.directory or Path(tempfile.mkdtemp(prefix="headwater-jobs-"))
    directory.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}", flush=True)
    # Leave no process of a platform behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    campaign = JobCampaign(
        directory,
        seed,
        logs=[None if log == "sqlite" else log for log in given.log or ["sqlite"]],
        processes=given.processes,
        rounds_each=given.rounds_each,
        events_each=given.events_each,
    )
    report = asyncio.run(campaign.run(given.rounds, say=_say))
    print(json.dumps({field.name: getattr(report, field.name) for field in fields(report)}, indent=2))
    if report.problems:
        print(f"What differs was kept in {directory}. Each of these runs such a life again: {report.failed_seeds}")
    elif given.directory is None:
        shutil.rmtree(directory)
    return 1 if report.problems else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
