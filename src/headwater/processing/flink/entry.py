"""Starts one job on Flink: `python -m headwater.processing.flink.entry --project DIR --job NAME …`.

It runs in Flink's own Python environment: as a child of `headwater job run NAME --on flink`, by `flink run -pym`, or as
the entry of a FlinkDeployment on Kubernetes, where the arguments are the same (`asked.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from headwater.errors import HeadwaterError
from headwater.processing.flink.asked import LOCAL, parse_arguments
from headwater.processing.flink.submit import start, wait

STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the job; in this process, run it until it has ended. Returns the exit code."""
    asked = parse_arguments(arguments)
    try:
        client = start(asked)
        print(f"Flink runs the job {asked.job} as {client.get_job_id()}.", file=sys.stderr, flush=True)
        if asked.cluster == LOCAL or asked.until_end:
            wait(client, asked.job)
    except HeadwaterError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"  → {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
