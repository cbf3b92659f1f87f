"""What the metrics and the status of a job say about the table of the lake that it fills."""

from __future__ import annotations

from collections.abc import Callable

from headwater.connectors.lake.options import OnStored, Stored
from headwater.telemetry import Telemetry, bounded, declared


def shows_stored(telemetry: Telemetry, job: str, show: Callable[[int | None], None]) -> OnStored:
    """Counts what the sink of `job` reports; `show` is called with the end of its last complete hour (epoch
    milliseconds), None as long as there is none."""
    complete = telemetry.gauge(
        "headwater_lake_complete_timestamp_seconds",
        "The end of the last hour of a stream that is complete in the lake, epoch seconds.",
        (declared("job"), bounded("datacenter")),
    )
    undeclared = telemetry.counter(
        "headwater_lake_undeclared_fields",
        "Fields of events that the lake has no column for, and left out.",
        (declared("job"), bounded("field")),
    )
    duplicates = telemetry.counter(
        "headwater_lake_duplicates", "Events that the lake had stored before, and left out.", (declared("job"),)
    ).labels(job)

    def stored(what: Stored) -> None:
        for datacenter, until_ms in what.complete_ms.items():
            if until_ms is not None:
                complete.labels(job, datacenter).set(until_ms / 1000)
        for path, count in what.undeclared.items():
            undeclared.labels(job, path).inc(count)
        if what.duplicates:
            duplicates.inc(what.duplicates)
        known = [until_ms for until_ms in what.complete_ms.values() if until_ms is not None]
        show(min(known) if known and len(known) == len(what.complete_ms) else None)

    return stored
