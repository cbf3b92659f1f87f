"""Loads a file of events with dlt: `TARGET MODE FILE PLACE`; prints the times that it took.

The format of its files is the fastest one of each target: CSV, which it copies, for PostgreSQL, and Parquet for DuckDB
and for the target `parquet`, a directory.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import dlt
import sink_events


def main() -> None:
    """Run one load, in one process: two of its threads have nothing more to do on two cores."""
    target, mode, file, place = sys.argv[1:]
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    # Its strategy `upsert` fails when a key comes twice in one load.
    merge = {
        "write_disposition": {"disposition": "merge", "strategy": "delete-insert"},
        "primary_key": ["wiki", "page_id"],
        "columns": {"rev": {"dedup_sort": "desc"}},
    }

    @dlt.resource(name="events", **(merge if mode == "upsert" else {"write_disposition": "append"}))
    def events():  # type: ignore[no-untyped-def]
        yield from sink_events.batches(Path(file))

    started = (_cpu(), time.perf_counter())
    destination = {
        "postgres": lambda: dlt.destinations.postgres(place),
        "duckdb": lambda: dlt.destinations.duckdb(place),
        "parquet": lambda: dlt.destinations.filesystem(f"file://{place}"),
    }[target]()
    pipeline = dlt.pipeline("bench", destination=destination, dataset_name="bench", pipelines_dir=f"{file}.pipelines")
    pipeline.run(events(), loader_file_format="csv" if target == "postgres" else "parquet")
    print(json.dumps({"cpu": _cpu() - started[0], "wall": time.perf_counter() - started[1]}))


def _cpu() -> float:
    """Of this process and its children, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


main()
