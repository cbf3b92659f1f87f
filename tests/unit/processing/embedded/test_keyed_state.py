"""The cells of a step: what is read from the store, what is remembered, and which timers are due."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headwater.jobs.cells import NO_CELL, Cell
from headwater.jobs.steps import Timer
from headwater.processing.embedded.keyed_state import (
    CELL_BYTES,
    FIRST_CELLS_MAX,
    KeyedState,
    TimerKind,
    kind_of,
)
from headwater.processing.stores.contract import LogStore
from headwater.testing.oracle_log import OracleLog


class Store(LogStore):
    """Notes which cells are read."""

    def __init__(self) -> None:
        self.log = OracleLog()
        super().__init__(self.log, "job.j")
        self.read: list[bytes] = []

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        self.read += keys
        return await super().state_get(namespace, keys)


async def opened() -> Store:
    store = Store()
    await store.log.open()
    return store


async def commit(store: Store, state: KeyedState) -> None:
    await store.commit([], "", state.changes())
    state.committed()


async def put(store: Store, state: KeyedState, cells: Mapping[bytes, Cell]) -> None:
    await state.load(cells)
    for key, cell in cells.items():
        state.put(key, cell)
    await commit(store, state)


async def test_a_step_that_begins_reads_no_cell() -> None:
    store = await opened()
    state = KeyedState(store, "j", "step")
    await put(store, state, {b"1": Cell.of(1), b"2": Cell.of(2)})
    await put(store, state, {b"1": Cell.of(3), b"2": NO_CELL, b"3": Cell.of(4)})
    await state.load([b"1", b"2", b"3", b"4"])
    assert [state.get(key).state for key in (b"1", b"2", b"3", b"4")] == [3, None, 4, None]
    assert store.read == []


async def test_one_that_continues_with_few_cells_reads_them_once() -> None:
    store = await opened()
    await put(store, KeyedState(store, "j", "step"), {b"%d" % number: Cell.of(number) for number in range(100)})
    state = KeyedState(store, "j", "step")
    await state.load([b"7", b"new"])
    await state.load([b"99"])
    assert [state.get(key).state for key in (b"7", b"new", b"99")] == [7, None, 99]
    assert store.read == []


async def test_one_that_continues_with_many_reads_those_it_needs() -> None:
    store = await opened()
    many = {b"%05d" % number: Cell.of(number) for number in range(FIRST_CELLS_MAX + 100)}
    await put(store, KeyedState(store, "j", "step"), many)
    state = KeyedState(store, "j", "step")
    await state.load([b"00001", b"%05d" % (FIRST_CELLS_MAX + 99), b"new"])
    assert state.get(b"%05d" % (FIRST_CELLS_MAX + 99)).state == FIRST_CELLS_MAX + 99
    assert store.read == [b"%05d" % (FIRST_CELLS_MAX + 99), b"new"]
    await commit(store, state)
    await state.load([b"%05d" % (FIRST_CELLS_MAX + 99)])
    assert len(store.read) == 2


async def test_the_cells_used_longest_ago_leave_memory_first() -> None:
    store = await opened()
    state = KeyedState(store, "j", "step", cached_bytes_max=2 * (CELL_BYTES + 100))
    for key in (b"1", b"2", b"1", b"3"):
        await put(store, state, {key: Cell.of("x" * 50)})
    assert store.read == []
    await state.load([b"1", b"3", b"2"])
    assert store.read == [b"2"]
    assert state.get(b"2").state == "x" * 50


async def test_a_timer_that_is_deleted_and_set_again_before_the_commit_is_due() -> None:
    store = await opened()
    state = KeyedState(store, "j", "step")
    await put(store, state, {b"1": Cell.of(1, {"a": Timer(5)})})
    await state.load([b"1"])
    for timers in ({}, {"a": Timer(5)}, {"a": Timer(6)}, {"b": Timer(5)}, {"a": Timer(5)}):
        state.put(b"1", Cell.of(1, timers))
        found = await state.due(9, TimerKind.EVENT_OR_IDLE, timers_max=10)
        assert found == [(timer.at_ms, b"1", name) for name, timer in timers.items()]
    await commit(store, state)
    assert await KeyedState(store, "j", "step").due(9, TimerKind.EVENT_OR_IDLE, timers_max=10) == [(5, b"1", "a")]


TIMERS = [Timer(0), Timer(1), Timer(0, fires_when_idle=False), Timer(1, clock="wall")]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.integers(0, 2),
            st.integers(0, 2),
            st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(TIMERS), max_size=2),
        ),
        st.tuples(st.just("due"), st.integers(-2, 2), st.sampled_from(list(TimerKind))),
        st.tuples(st.just("commit")),
        st.tuples(st.just("begin again")),
    ),
    max_size=40,
)


@given(STEPS, st.sampled_from([0, 2 * CELL_BYTES, 1_000_000]))
def test_whatever_is_cached_cells_and_due_timers_are_those_of_a_plain_mapping(
    steps: Any, cached_bytes_max: int
) -> None:
    asyncio.run(_compare(steps, cached_bytes_max))


def due_of(cells: Mapping[bytes, Cell], until_ms: int, kind: TimerKind) -> list[tuple[int, bytes, str]]:
    """The due timers of a plain mapping."""
    timers = [(timer, key, name) for key, cell in cells.items() for name, timer in cell.timers.items()]
    return sorted(
        (timer.at_ms, key, name) for timer, key, name in timers if kind_of(timer) is kind and timer.at_ms <= until_ms
    )


async def _compare(steps: Sequence[Any], cached_bytes_max: int) -> None:
    store = await opened()
    state = KeyedState(store, "j", "step", cached_bytes_max=cached_bytes_max)
    now: dict[bytes, Cell] = {}
    committed: dict[bytes, Cell] = {}
    for what, *given_with in steps:
        match what:
            case "put":
                number, value, timers = given_with
                key = b"%d" % number
                await state.load([key])
                assert state.get(key) == now.get(key, NO_CELL)
                cell = Cell.of(value or None, timers)
                state.put(key, cell)
                now[key] = cell
            case "due":
                until_ms, kind = given_with
                assert await state.due(until_ms, kind, timers_max=1000) == due_of(now, until_ms, kind)
            case "commit":
                await commit(store, state)
                committed = dict(now)
            case "begin again":
                state = KeyedState(store, "j", "step", cached_bytes_max=cached_bytes_max)
                now = dict(committed)
        for kind in TimerKind:
            assert await state.due(2, kind, timers_max=1000) == due_of(now, 2, kind)
    page = await store.state_scan("job/j/step/cells")
    assert dict(page) == {key: cell.encode() for key, cell in committed.items() if cell != NO_CELL}
