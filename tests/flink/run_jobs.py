"""Starts several jobs on one Flink cluster, and waits until they have ended. Run with the Python of Flink.

Standard input has a JSON list: of each job its `arguments` and the variables that it is started with, `environment`.
Standard output gets a JSON list with the `id` of each on the cluster, and the `reason` of those that have failed. One
process starts all, since each would take seconds to start its Java.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from headwater.errors import HeadwaterError
from headwater.processing.flink.asked import parse_arguments
from headwater.processing.flink.submit import start, wait

# So many jobs run at a time: as many as the cluster has slots for.
AT_A_TIME = 4


def main() -> None:
    asked: list[dict[str, Any]] = json.load(sys.stdin)
    ends: list[dict[str, Any]] = [{"id": None, "reason": None} for _ in asked]
    running: dict[int, Any] = {}

    def end_first() -> None:
        number = next(iter(running))
        try:
            wait(running.pop(number), parse_arguments(asked[number]["arguments"]).job)
        except HeadwaterError as error:
            ends[number]["reason"] = str(error)
        report(number, "ended")

    def report(number: int, what: str) -> None:
        text = f"{time.monotonic():.1f} {what} {asked[number]['arguments']} {ends[number]['reason']}"
        print(text, file=sys.stderr, flush=True)

    for number, one in enumerate(asked):
        os.environ.update(one["environment"])
        while len(running) >= AT_A_TIME:
            end_first()
        try:
            running[number] = start(parse_arguments(one["arguments"]))
            ends[number]["id"] = str(running[number].get_job_id())
        except HeadwaterError as error:
            ends[number]["reason"] = str(error)
        report(number, "started")
    while running:
        end_first()
    json.dump(ends, sys.stdout)


if __name__ == "__main__":
    main()
