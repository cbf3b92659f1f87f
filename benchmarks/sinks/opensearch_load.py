"""Loads a file of events with the bulk helper of opensearch-py alone: `TARGET MODE FILE PLACE`; prints the times.

It sends the fields as they are, unchecked and without a position, in requests of as many documents as Headwater's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import opensearchpy
import sink_events
from opensearchpy import helpers

FIELDS = ("wiki", "page_id", "rev", "title", "at", "ratio", "is_bot", "body")
INDEX = "events"
CHUNK_ROWS = 5_000


def operations(mode: str, file: Path) -> Iterator[dict[str, Any]]:
    """An operation for each event."""
    for events in sink_events.batches(file):
        for event in events:
            document = {name: event[name] for name in FIELDS} | {"id": event["meta"]["id"]}
            operation = {"_index": INDEX, "_source": document}
            if mode == "upsert":
                key = f"{event['wiki']}:{event['page_id']}"
                operation |= {"_id": key, "version": event["rev"], "version_type": "external_gte"}
            yield operation


def main() -> None:
    """Run one load."""
    _, mode, file, place = sys.argv[1:]
    started = (time.process_time(), time.perf_counter())
    with opensearchpy.OpenSearch([place], timeout=60) as client:
        helpers.bulk(client, operations(mode, Path(file)), chunk_size=CHUNK_ROWS)
    print(json.dumps({"cpu": time.process_time() - started[0], "wall": time.perf_counter() - started[1]}))


main()
