"""Appends a file of events to an Iceberg table by PyIceberg alone: `TARGET MODE FILE PLACE`; prints its times."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import sink_events
from headwater_load import COLUMNS
from pyiceberg.catalog import load_catalog

from headwater.connectors.registry import sink_spec

TYPES = {
    "text": pyarrow.string(),
    "integer": pyarrow.int64(),
    "real": pyarrow.float64(),
    "boolean": pyarrow.bool_(),
    "timestamp": pyarrow.timestamp("us", "UTC"),
}


def load(file: Path, place: str) -> None:
    """Append all events, of which nothing is checked, as many in a commit as Headwater's sink."""
    schema = pyarrow.schema([(name, TYPES[kind]) for name, (kind, _) in COLUMNS.items()])
    catalog = load_catalog("default", type="sql", uri=f"sqlite:///{place}/catalog.db", warehouse=f"file://{place}")
    catalog.create_namespace("headwater")
    table = catalog.create_table("headwater.events", schema)
    for events in sink_events.batches(file, sink_spec("iceberg").batch.rows_max):
        columns = [
            pyarrow.array([_value(event, kind, path) for event in events], TYPES[kind])
            for kind, path in COLUMNS.values()
        ]
        table.append(pyarrow.Table.from_arrays(columns, schema=schema))


def _value(event: dict[str, Any], kind: str, path: str) -> Any:
    found: Any = event
    for part in path.split("."):
        found = found[part]
    return datetime.fromisoformat(found) if kind == "timestamp" else found


def main() -> None:
    """Run one load."""
    file, place = sys.argv[3:]
    started = (time.process_time(), time.perf_counter())
    load(Path(file), place)
    print(json.dumps({"cpu": time.process_time() - started[0], "wall": time.perf_counter() - started[1]}))


main()
