"""Upserts and deletions in any order, repeated and in any batches, leave the rows that plain Python computes."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.connectors.contract import Delivery, TableShape
from headwater.connectors.sinks.duckdb import DuckdbSink
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.connectors.spec import TableSink
from headwater.testing.memory_sink import MemorySink, MemoryTarget
from headwater.testing.suites.sink_deletes import NOTES, note, notes_after, notes_of

SINKS: dict[str, Callable[[Path, TableShape], TableSink]] = {
    "memory": lambda path, shape: MemorySink(MemoryTarget(), shape),
    "sqlite": lambda path, shape: SqliteSink(path / "tables.db", shape),
    "duckdb": lambda path, shape: DuckdbSink(path / "tables.duckdb", shape),
}
NOTE = st.builds(note, st.integers(0, 3), st.integers(0, 5), st.sampled_from(["edit", "delete"]))
BATCHES = st.lists(st.lists(NOTE, max_size=8), max_size=6)
# Each of its own version, so that the order does not matter.
DISTINCT = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["edit", "delete"])), max_size=16).map(
    lambda parts: [note(page, rev, kind) for rev, (page, kind) in enumerate(parts)]
)
NAMES = itertools.count()
SLOW = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def left_by(kind: str, path: Path, shape: TableShape, batches: list[list[Delivery]]) -> list[tuple[object, ...]]:
    """The rows of a new table after these batches."""

    async def fill() -> list[tuple[object, ...]]:
        sink = SINKS[kind](path, dataclasses.replace(shape, name=f"notes_{next(NAMES)}"))
        await sink.open()
        for number, batch in enumerate(batches):
            await sink.write(batch, f"token {number}")
        rows = notes_of(sink)
        await sink.close()
        return rows

    return asyncio.run(fill())


@pytest.mark.parametrize("has_version", [True, False])
@pytest.mark.parametrize("kind", SINKS)
@SLOW
@given(batches=BATCHES)
def test_batches_change_what_their_events_change_one_by_one(
    tmp_path: Path, kind: str, has_version: bool, batches: list[list[Delivery]]
) -> None:
    shape = NOTES if has_version else dataclasses.replace(NOTES, version="")
    one_by_one = [delivery for batch in batches for delivery in batch]
    assert left_by(kind, tmp_path, shape, batches) == notes_after(one_by_one, has_version=has_version)


@pytest.mark.parametrize("kind", SINKS)
@SLOW
@given(data=st.data(), events=DISTINCT)
def test_the_order_of_arrival_does_not_matter(
    tmp_path: Path, kind: str, data: st.DataObject, events: list[Delivery]
) -> None:
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=6)) if events else []
    arrived = data.draw(st.permutations([*events, *repeated]))
    size = data.draw(st.integers(1, 9))
    batches = [arrived[start : start + size] for start in range(0, len(arrived), size)]
    assert left_by(kind, tmp_path, NOTES, batches) == notes_after(events)
