"""Loads a file of events with a sink of Headwater: `TARGET MODE FILE PLACE`; prints the times that it took."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import sink_events

from headwater.connectors.contract import Column, ColumnType, Delivery, TableShape
from headwater.connectors.registry import sink_spec

COLUMNS: dict[str, tuple[ColumnType, str]] = {
    "id": ("text", "meta.id"),
    "wiki": ("text", "wiki"),
    "page_id": ("integer", "page_id"),
    "rev": ("integer", "rev"),
    "title": ("text", "title"),
    "at": ("timestamp", "at"),
    "ratio": ("real", "ratio"),
    "is_bot": ("boolean", "is_bot"),
    "body": ("text", "body"),
}


def options(target: str, place: str) -> dict[str, Any]:
    """The options of the sink."""
    match target:
        case "postgres":
            return {"dsn": place}
        case "parquet":
            return {"location": place}
        case "opensearch":
            return {"url": place}
        case "iceberg":
            return {"catalog": {"type": "sql", "uri": f"sqlite:///{place}/catalog.db", "warehouse": place}}
        case _:
            return {"path": place}


async def load(target: str, mode: str, file: Path, place: str) -> None:
    """Write all events, checked, as many in a transaction as a job does that is behind."""
    columns = tuple(Column(name, kind, path) for name, (kind, path) in COLUMNS.items())
    keyed = mode == "upsert"
    shape = TableShape("events", columns, ("wiki", "page_id") if keyed else (), version="rev" if keyed else "")
    spec = sink_spec(target)
    sink = spec.make(spec.options(**options(target, place)), shape, Path())
    await sink.open()
    for number, events in enumerate(sink_events.batches(file, spec.batch.rows_max)):
        deliveries = [Delivery(event) for event in events]
        for delivery in deliveries:
            sink.check(delivery)
        await sink.write(deliveries, f"{number}")
    await sink.close()


def main() -> None:
    """Run one load."""
    target, mode, file, place = sys.argv[1:]
    started = (time.process_time(), time.perf_counter())
    asyncio.run(load(target, mode, Path(file), place))
    print(json.dumps({"cpu": time.process_time() - started[0], "wall": time.perf_counter() - started[1]}))


if __name__ == "__main__":
    main()
