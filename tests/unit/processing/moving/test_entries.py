"""An entry of state is the same after it was a line, and the sum of entries does not depend on their order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import StateMismatch
from headwater.event import decode_json, encode_json
from headwater.jobs.cells import Cell
from headwater.jobs.steps import TIMER_MS_MAX, Timer
from headwater.processing.moving.entries import Entry, StepSum, entry_of, stored_in

PREFIX = "job/shop/"
TEXT = st.text(max_size=12).filter(lambda text: text.isprintable())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TIMERS = st.dictionaries(
    TEXT.filter(bool),
    st.builds(
        Timer,
        st.integers(-TIMER_MS_MAX, TIMER_MS_MAX),
        fires_when_idle=st.booleans(),
        clock=st.sampled_from(["event", "wall"]),
    ),
    max_size=3,
)
STEPS = st.sampled_from(["function", "join", "a/b"])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(["cell", "row", "parked"]))
    if kind == "parked":
        return Entry("", "parked", draw(st.integers(0, 2**63)).to_bytes(8, "big"), "", draw(st.binary()))
    key = encode_json(draw(JSON))
    if kind == "row":
        return Entry(draw(STEPS), "row", key, draw(TEXT), draw(JSON.map(encode_json)))
    encoded = Cell.of(draw(JSON), draw(TIMERS), has_rows=draw(st.booleans())).encode()
    return Entry(draw(STEPS), "cell", key, "", encoded or Cell.of(1).encode() or b"")


@given(entries())
def test_an_entry_is_the_same_after_it_was_a_line(entry: Entry) -> None:
    line = entry.line()
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert Entry.of_line(line) == entry


@given(entries())
def test_an_entry_is_the_same_after_it_was_stored(entry: Entry) -> None:
    namespace, key = stored_in(PREFIX, entry)
    assert entry_of(PREFIX, namespace, key, entry.value) == entry


@given(st.lists(entries(), max_size=6), st.randoms())
def test_a_sum_does_not_depend_on_the_order(several: list[Entry], chance: random.Random) -> None:
    mixed = list(several)
    chance.shuffle(mixed)
    sums = StepSum(), StepSum()
    for total, some in zip(sums, (several, mixed), strict=True):
        for entry in some:
            total.add(entry)
    assert sums[0] == sums[1] == StepSum.of_json(decode_json(encode_json(sums[0].as_json())))
    assert sums[0].entries == len(several)


def test_a_sum_counts_keys_timers_and_rows_and_differs_if_any_differs() -> None:
    cell = Entry("function", "cell", b'"a"', "", Cell.of({"n": 1}, {"t": Timer(5), "u": Timer(6)}).encode() or b"")
    row = Entry("function", "row", b'"a"', "r", b"1")
    total = StepSum()
    total.add(cell)
    total.add(row)
    assert (total.keys, total.timers, total.rows) == (1, 2, 1)
    for other in (row._replace(value=b"2"), row._replace(name="s"), row._replace(key=b'"b"'), row._replace(step="x")):
        different = StepSum()
        different.add(cell)
        different.add(other)
        assert different.digest != total.digest


def test_indexes_and_progress_are_no_entries() -> None:
    assert entry_of(PREFIX, "job/shop/function/timers", b"\0", b"1") is None
    assert entry_of(PREFIX, "job/shop/progress", b"progress", b"{}") is None


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"1", b'{"step":"a"}', b'{"step":"a","key":"1"}', b'{"parked":-1,"event":""}', b'{"parked":1}'],
)
def test_a_line_that_is_no_entry_is_refused(line: Any) -> None:
    with pytest.raises(StateMismatch, match="is not one of state"):
        Entry.of_line(line)
