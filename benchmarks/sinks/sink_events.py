"""The events of the benchmark of sinks: JSON lines of 1 KB, and how a target is counted; it needs no other package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BODY_CHARACTERS = 780
BATCH_ROWS = 1_000


def write_events(path: Path, count: int, keys: int) -> None:
    """Events of 1 KB about `keys` pages, the versions of a page in order."""
    with path.open("w") as file:
        for number in range(count):
            event = {
                "$schema": "/bench/edit/1.0.0",
                "meta": {"id": f"{number:032x}", "stream": "bench.edits", "dt": "2026-01-31T12:00:00.123Z"},
                "wiki": "enwiki",
                "page_id": number % keys,
                "rev": number,
                "title": f"Page {number % keys}, with 'quotes'",
                "at": f"2026-01-{1 + number % 28:02d}T12:{number % 60:02d}:00.{number % 1000:03d}Z",
                "ratio": number / 7,
                "is_bot": number % 3 == 0,
                "body": ("Lorem ipsum\tdolor sit amet, " * 40)[:BODY_CHARACTERS],
            }
            file.write(json.dumps(event, separators=(",", ":")) + "\n")


def batches(path: Path, rows_max: int = BATCH_ROWS) -> Iterator[list[dict[str, Any]]]:
    """The events as a program reads them, `rows_max` at a time."""
    import orjson

    some: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for line in file:
            some.append(orjson.loads(line))
            if len(some) == rows_max:
                yield some
                some = []
    if some:
        yield some
