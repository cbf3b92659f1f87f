"""Runs a kill campaign from the command line.

python -m headwater.testing.campaign --kills 60
python -m headwater.testing.campaign --kills 60 --seed 7 --log kafka://localhost:9092/campaign.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from headwater.testing.campaign.campaign import Campaign


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if anything differs, else 0. In that case the project is kept, and its directory printed."""
    parser = argparse.ArgumentParser(
        prog="python -m headwater.testing.campaign",
        description="Kill a whole platform again and again while clients retry, and compare everything afterwards.",
    )
    parser.add_argument("--kills", type=int, default=60, help="how often to kill (default 60)")
    parser.add_argument("--seed", type=int, help="the seed of the schedule and the requests (default: a random one)")
    parser.add_argument("--log", help="the URL of an empty log (default: SQLite, in the project)")
    parser.add_argument(
        "--directory", type=Path, help="the directory of the project, which must be empty (default: a temporary one)"
    )
    given = parser.parse_args(arguments)
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    directory = given.directory or Path(tempfile.mkdtemp(prefix="headwater-campaign-"))
    print(f"seed {seed}", flush=True)
    overrides = {} if given.log is None else {"log.url": given.log}
    report = asyncio.run(Campaign(directory, seed, overrides).run(given.kills, say=_say))
    print(json.dumps(asdict(report), indent=2))
    if report.problems:
        print(f"The project was kept in {directory}; --seed {seed} runs the same schedule again.")
    elif given.directory is None:
        shutil.rmtree(directory)
    return 1 if report.problems else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
