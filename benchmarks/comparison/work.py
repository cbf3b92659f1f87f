"""The work that each engine of the comparison does: its events, its tasks, and the results that all must agree on.

How this works: it needs only Python's own library, so that each engine reads it in its own environment. An event has
1 KB. The results of a task are known beforehand, so that an engine that does less, or something else, is noticed:
`expected` gives how many there are, and a sum of checksums that does not depend on their order. The windows that end
after the last event are left out of it: engines differ in whether they emit them.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

TASKS = ("stateless", "keyed", "windowed", "joined", "async")
KEYS = {"windowed": 50}
KEYS_OTHERWISE = 1_000
# Between two events of a stream, in event time.
STEP_MS = 50
WINDOW_MS = 60_000
# How long after an event of the left stream the event of the right one comes that it is joined with; and the bound.
LAG_MS, WITHIN_MS = 1_000, 5_000
LOOKUP_SECONDS = 0.02
CONCURRENCY = 1_000
PADDING = "x" * 760
SCHEMA_URI = "/benchmark/in/1.0.0"


@dataclass(frozen=True, slots=True)
class Run:
    """What one process of an engine is to do: read `count` events from each of `inputs`, and write to `output`."""

    task: str
    count: int
    start_ms: int
    inputs: tuple[str, ...]
    output: str
    # HOST:PORT of a Kafka broker; empty if the engine needs none.
    brokers: str
    # A directory for state.
    folder: str


def read_run() -> Run:
    """The run that the command line describes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--start-ms", type=int, required=True)
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--brokers", default="")
    parser.add_argument("--folder", required=True)
    given = parser.parse_args()
    inputs = tuple(given.inputs.split(","))
    return Run(given.task, given.count, given.start_ms, inputs, given.output, given.brokers, given.folder)


def arguments_of(run: Run) -> list[str]:
    """The command line that describes a run."""
    options = {"count": run.count, "start-ms": run.start_ms, "inputs": ",".join(run.inputs), "output": run.output}
    options |= {"brokers": run.brokers, "folder": run.folder}
    return [run.task, *(text for name, value in options.items() for text in (f"--{name}", str(value)))]


def key_of(task: str, number: int) -> str:
    """The key of the event of this number; in a join, each pair has its own."""
    return str(number) if task == "joined" else f"key {number * 7919 % KEYS.get(task, KEYS_OTHERWISE)}"


def time_of(side: int, number: int, start_ms: int) -> int:
    return start_ms + number * STEP_MS + side * LAG_MS


def event_of(task: str, side: int, number: int, start_ms: int) -> dict[str, Any]:
    """The event of this number in the stream `side`, which is 1 for the right one of a join."""
    at = datetime.fromtimestamp(time_of(side, number, start_ms) / 1000, UTC)
    meta = {
        "id": f"{side:08}-0000-4000-8000-{number:012}",
        "dt": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
        "stream": "benchmark.right" if side else "benchmark.in",
    }
    shown = {"number": number, "key": key_of(task, number), "size": number % 977}
    return {"$schema": SCHEMA_URI, "meta": meta, **shown, "pad": PADDING}


def events_of(run: Run, side: int) -> Iterator[tuple[str, int, bytes]]:
    """The key, the time in epoch milliseconds, and the JSON of each event of a stream."""
    for number in range(run.count):
        event = event_of(run.task, side, number, run.start_ms)
        yield event["key"], time_of(side, number, run.start_ms), json.dumps(event, separators=(",", ":")).encode()


def time_ms(event: Mapping[str, Any]) -> int:
    """The event time, for engines that have to be given it."""
    return int(datetime.fromisoformat(event["meta"]["dt"]).timestamp() * 1000)


def passed(event: Mapping[str, Any]) -> dict[str, Any]:
    """The result of the stateless and of the async task."""
    return {"key": event["key"], "number": event["number"], "pad": event["pad"]}


def counted(event: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The result of the keyed task: how many events of the key there were so far."""
    return {"key": event["key"], "number": count, "pad": event["pad"]}


def window(key: str, start_ms: int, count: int, total: int) -> dict[str, Any]:
    """The result of the windowed task."""
    return {"key": key, "number": count, "total": total, "start_ms": start_ms}


def joined(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The result of the joined task."""
    return {"key": left["key"], "number": left["number"], "total": right["size"], "pad": left["pad"]}


def checked(run: Run, results: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """How many results there are, and their checksum."""
    count = checksum = 0
    end_ms = time_of(0, run.count - 1, run.start_ms)
    for result in results:
        if run.task == "windowed" and result["start_ms"] + WINDOW_MS > end_ms:
            continue
        parts = [
            result["key"],
            result["number"],
            result.get("total"),
            result.get("start_ms"),
            len(result.get("pad", "")),
        ]
        count += 1
        checksum = (checksum + zlib.crc32(json.dumps(parts).encode())) % 2**32
    return count, checksum


def expected(run: Run) -> tuple[int, int]:
    """As `checked`, of the right results."""
    return checked(run, _right_results(run))


def _right_results(run: Run) -> Iterator[dict[str, Any]]:
    counts: Counter[str] = Counter()
    windows: dict[tuple[str, int], list[int]] = {}
    for number in range(run.count):
        event = event_of(run.task, 0, number, run.start_ms)
        match run.task:
            case "keyed":
                counts[event["key"]] += 1
                yield counted(event, counts[event["key"]])
            case "joined":
                yield joined(event, event_of(run.task, 1, number, run.start_ms))
            case "windowed":
                at = time_of(0, number, run.start_ms)
                found = windows.setdefault((event["key"], at - at % WINDOW_MS), [0, 0])
                found[0] += 1
                found[1] += event["size"]
            case _:
                yield passed(event)
    for (key, start_ms), (count, total) in windows.items():
        yield window(key, start_ms, count, total)
