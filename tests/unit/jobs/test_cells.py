"""A cell is stored in the form that earlier versions wrote, and read back as it was."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import JobInvalid
from headwater.event import WrittenNumber, encode_kept
from headwater.jobs.cells import NO_CELL, Cell
from headwater.jobs.steps import TIMER_MS_MAX, Timer
from headwater.schemas.json_value import identified, identity

# Text that looks like the parts of a cell, among any other.
TEXTS = st.text() | st.sampled_from(['","t":{', ',"t":{}', '"r":1}', "\\", '"', "é\u2028"])
NUMBERS = (
    st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(WrittenNumber("0.1000000000000000055"))
)
STATES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
TIMERS = st.dictionaries(
    TEXTS.filter(lambda name: "\0" not in name),
    st.builds(
        Timer,
        st.integers(-TIMER_MS_MAX, TIMER_MS_MAX),
        fires_when_idle=st.booleans(),
        clock=st.sampled_from(["event", "wall"]),
    ),
    max_size=3,
)


def stored(state: Any, timers: dict[str, Timer], has_rows: bool) -> bytes:
    """The stored form, which must never change."""
    listed = {
        name: [at_ms, not when_idle, *([] if clock == "event" else [clock])]
        for name, (at_ms, when_idle, clock) in timers.items()
    }
    return encode_kept({"s": state, "t": listed, **({"r": 1} if has_rows else {})})


@given(STATES, TIMERS, st.booleans())
def test_a_cell_is_stored_in_one_form_and_read_back(state: Any, timers: dict[str, Timer], has_rows: bool) -> None:
    cell = Cell.of(state, timers, has_rows=has_rows)
    encoded = cell.encode()
    if state is None and not timers and not has_rows:
        assert encoded is None
    else:
        assert encoded == stored(state, timers, has_rows)
    again = Cell.decode(encoded)
    assert again == cell
    assert (repr(again.state), dict(again.timers), again.has_rows) == (repr(cell.state), timers, has_rows)
    assert again.encode() == encoded
    assert (cell.stored_bytes, Cell.decode(cell.encode()).stored_bytes) == (len(cell.encode() or b""),) * 2


def test_a_cell_does_not_change_with_what_it_was_made_of() -> None:
    state, timers = {"seen": [1]}, {"over": Timer(5)}
    cell = Cell.of(state, timers)
    state["seen"].append(2)
    timers["more"] = Timer(6)
    cell.state["seen"].append(3)
    assert (cell.state, dict(cell.timers)) == ({"seen": [1]}, {"over": Timer(5)})


def test_what_does_not_change_a_cell_gives_the_same_one() -> None:
    cell = Cell.of({"n": 1}, {"over": Timer(5)})
    assert cell.changed({"n": 1}, {"over": Timer(5)}, has_rows=False) is cell
    assert cell.changed({"n": 2}, {"over": Timer(5)}, has_rows=False).timers is cell.timers
    assert cell.changed({"n": 1}, {"over": Timer(5)}, has_rows=True) != cell
    assert cell.without_timer("over") == Cell.of({"n": 1}) != cell
    assert Cell.of() == NO_CELL


@pytest.mark.parametrize(("name", "at_ms"), [("a\0b", 1), ("a", TIMER_MS_MAX + 1), ("a", 1.5), ("a", True), ("a", "1")])
def test_an_invalid_timer_is_refused(name: str, at_ms: Any) -> None:
    with pytest.raises(JobInvalid, match="not a time"):
        Cell.of(1, {name: Timer(at_ms)})


def test_a_kept_value_takes_no_more_memory_than_its_text() -> None:
    tracemalloc.start()
    try:
        kept = [(encode_kept([number]), identity([number]), *identified([number, "a"])) for number in range(2_000)]
        used_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used_bytes / len(kept) < 1_000, "not the 4 KB of the buffer that each was written into"
