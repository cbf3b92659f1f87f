"""The rows of a step are read when they are needed, kept in memory up to a limit, and committed one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from headwater.jobs.cells import NO_CELL, Cell
from headwater.jobs.steps import Timer
from headwater.log.contract import StateChange
from headwater.processing.embedded.row_state import KEY_BYTES, PAGE_ROWS, RowState
from headwater.processing.stores.contract import LogStore
from headwater.testing.oracle_log import OracleLog

CELL = Cell.of(has_rows=True)


class Store(LogStore):
    """Counts how often it is scanned."""

    scans = 0

    async def state_scan(self, namespace: str, *, after: bytes = b"", rows_max: int = 1000) -> Any:
        self.scans += 1
        return await super().state_scan(namespace, after=after, rows_max=rows_max)


@pytest.fixture
async def store() -> Store:
    log = OracleLog()
    await log.open()
    return Store(log, "job.j")


def rows_in(store: Store, cached_bytes_max: int = 1_000_000) -> RowState:
    return RowState(store, "j", "step", cached_bytes_max=cached_bytes_max)


async def commit(store: Store, state: RowState) -> Sequence[StateChange]:
    changes = state.changes()
    await store.commit([], "", changes)
    state.committed()
    return changes


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, PAGE_ROWS, PAGE_ROWS + 17, 2 * PAGE_ROWS + 50])
async def test_rows_are_read_whole_and_apart_from_those_of_other_keys(store: Store, count: int) -> None:
    keys = [b'"a"', b'"a!"', b'"aa"', b"1", b"12"]
    state = rows_in(store)
    await state.load((key, NO_CELL) for key in keys)
    for key in keys:
        for number in range(count):
            state.of(key)[f"{number:05}"] = [key.decode(), number]
    await commit(store, state)
    again = rows_in(store)
    await again.load((key, CELL) for key in keys)
    for key in keys:
        assert list(again.of(key).values()) == [[key.decode(), number] for number in range(count)]


async def test_only_changed_rows_are_committed(store: Store) -> None:
    state = rows_in(store)
    await state.load([(b"1", NO_CELL)])
    state.of(b"1").update({"a": 1, "b": 2, "c": 3})
    await commit(store, state)
    await state.load([(b"1", CELL)])
    rows = state.of(b"1")
    rows["a"] = 1
    rows["b"] = 5
    del rows["c"]
    rows["d"] = 4
    rows["e"] = 5
    del rows["e"]
    changes = await commit(store, state)
    assert changes == [
        StateChange("job/j/step/rows", b"1\0b", b"5"),
        StateChange("job/j/step/rows", b"1\0c", None),
        StateChange("job/j/step/rows", b"1\0d", b"4"),
    ]


async def test_rows_in_memory_are_not_read_again(store: Store) -> None:
    state = rows_in(store)
    for number in range(5):
        await state.load([(b"1", CELL if number else NO_CELL), (b"2", NO_CELL)])
        state.of(b"1")[f"{number}"] = number
        await commit(store, state)
    assert store.scans == 0


@pytest.mark.parametrize("state", [None, 1, {"a": [1.5]}, 2**70, "é", "\ud800"])
@pytest.mark.parametrize("timers", [{}, {"t": Timer(1)}])
async def test_the_cell_of_a_key_says_that_it_has_rows_whatever_its_state(
    store: Store, state: Any, timers: Any
) -> None:
    rows = rows_in(store)
    await rows.load([(b"1", NO_CELL)])
    rows.of(b"1")["a"] = 1
    await commit(store, rows)
    again = rows_in(store)
    await again.load([(b"1", Cell.decode(Cell.of(state, timers, has_rows=True).encode()))])
    assert dict(again.of(b"1")) == {"a": 1}


async def test_keys_without_rows_are_not_read(store: Store) -> None:
    state = rows_in(store)
    await state.load([(b"1", Cell.of({"n": 1})), (b"2", NO_CELL)])
    assert (dict(state.of(b"1")), dict(state.of(b"2")), store.scans) == ({}, {}, 0)


async def test_the_rows_used_longest_ago_leave_memory_first(store: Store) -> None:
    state = rows_in(store, cached_bytes_max=2 * KEY_BYTES + 200)
    for key in (b"1", b"2", b"1", b"3"):
        await state.load([(key, CELL)])
        state.of(key)["row"] = "x" * 50
        await commit(store, state)
    scans = store.scans
    await state.load([(b"1", CELL), (b"3", CELL)])
    assert store.scans == scans
    await state.load([(b"2", CELL)])
    assert store.scans == scans + 1
    assert dict(state.of(b"2")) == {"row": "x" * 50}
