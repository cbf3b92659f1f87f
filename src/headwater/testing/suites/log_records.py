"""Records for the suites of logs, and what a log has of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headwater.log.contract import Log, Record, StateChange, StoredRecord


def records(topic: str, count: int, *, start: int = 0, key: bytes | None = None) -> list[Record]:
    """Distinct records."""
    return [Record(topic, b"%s %d" % (topic.encode(), number), key) for number in range(start, start + count)]


def values(found: Sequence[StoredRecord]) -> list[bytes]:
    return [record.value for record in found]


async def read_all(log: Log, topics: Sequence[str], *, records_max: int = 1000) -> list[StoredRecord]:
    """Everything kept in `topics`."""
    position = await log.first(topics)
    everything: list[StoredRecord] = []
    while found := await log.read(position, records_max=records_max):
        everything.extend(found)
        for record in found:
            position = position.after(record)
    return everything


def needs(log: Log, feature: str) -> None:
    """Skip the test where the log declares that it lacks this feature."""
    if not getattr(log.features, feature):
        pytest.skip(f"this log declares that it has no {feature}")


def change(log: Log, *changes: StateChange) -> tuple[StateChange, ...]:
    """The changes, for a log that keeps state."""
    return changes if log.features.keyed_state else ()
