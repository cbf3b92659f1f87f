"""Aggregates: their results, whatever the order of the events and however they are divided, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import JobInvalid
from headwater.jobs import tumbling
from headwater.jobs.operators.accumulation import INLINE_MAX, Accumulation
from headwater.jobs.operators.windows import Windows
from headwater.jobs.rows import KeyRows

FINITE = st.floats(-1e300, 1e300)
NUMBERS = st.lists(st.one_of(st.integers(-(2**70), 2**70), FINITE, st.booleans()), max_size=30)
JSON = st.recursive(
    st.one_of(
        st.booleans(), st.integers(-9, 9), st.sampled_from([1.0, 0.5, -0.0, 2**70]), st.text('a1t"[-é', max_size=3)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=3,
)


def results(windows: Windows, values: Sequence[Any], rows: KeyRows | None = None) -> dict[str, Any]:
    """What the aggregates make of events with these values at `v`, a millisecond apart."""
    made = Accumulation(windows.aggregates, rows)
    for at, value in enumerate(values):
        made.add({"v": value}, at)
    return made.results()


def result(windows: Windows, values: Sequence[Any], rows: KeyRows | None = None) -> Any:
    (found,) = results(windows, values, rows).values()
    return found


WINDOW = tumbling("1m")
ALL = (
    WINDOW.count("n")
    .sum("sum", "v")
    .mean("mean", "v")
    .min("min", "v")
    .max("max", "v")
    .first("first", "v")
    .last("last", "v")
    .collect("some", "v", 3)
    .count_distinct("kinds", "v")
    .top_k("top", "v", 3)
    .percentiles("sizes", "v", (0, 0.25, 0.5, 1))
)


@given(st.lists(st.tuples(st.integers(0, 9), st.one_of(st.integers(-99, 99), st.floats(-1e9, 1e9)))), st.data())
def test_parts_in_any_order_merge_to_the_whole(dated: list[tuple[int, Any]], data: st.DataObject) -> None:
    whole = Accumulation(ALL.aggregates, None)
    for at, value in dated:
        whole.add({"v": value}, at)
    rows = KeyRows()
    parts = [Accumulation(ALL.aggregates, rows, f"{number}/") for number in range(3)]
    for at, value in data.draw(st.permutations(dated)):
        data.draw(st.sampled_from(parts)).add({"v": value}, at)
    merged = Accumulation(ALL.aggregates, None)
    for part in data.draw(st.permutations(parts)):
        merged.absorb(part)
    assert merged.results() == whole.results()


@given(NUMBERS)
def test_a_sum_is_exact_and_rounded_once(values: list[Any]) -> None:
    exact = sum((Fraction(value) for value in values), Fraction(0))
    found = result(WINDOW.sum("sum", "v"), values)
    assert found == (exact if isinstance(found, int) else float(exact))
    mean = result(WINDOW.mean("mean", "v"), values)
    assert (mean is None) if not values else math.isclose(mean, float(exact) / len(values), abs_tol=1e-300)


def test_sums_that_json_cannot_express_are_refused() -> None:
    with pytest.raises(OverflowError, match="sum"):
        result(WINDOW.sum("sum", "v"), [1e308, 1e308])


def test_a_sum_continues_one_that_an_earlier_version_kept() -> None:
    kept = Accumulation(WINDOW.sum("sum", "v").count_distinct("kinds", "v").aggregates, None, values=[0.5, {"a": 1}])
    kept.add({"v": 0.25}, 0)
    assert kept.results() == {"sum": 0.75, "kinds": 2}


@pytest.mark.parametrize("value", ["1", [1], {"a": 1}])
def test_only_numbers_are_added_up(value: Any) -> None:
    with pytest.raises(TypeError):
        result(WINDOW.sum("sum", "v"), [value])
    with pytest.raises(TypeError, match="percentiles are of numbers"):
        result(WINDOW.percentiles("p", "v"), [value])


@given(st.lists(st.one_of(st.integers(-(10**9), 10**9), st.floats(-1e12, 1e12)), min_size=1, max_size=60))
def test_percentiles_are_within_one_percent_of_the_value_at_that_rank(values: list[float]) -> None:
    quantiles = (0, 0.1, 0.5, 0.9, 0.99, 1)
    found = result(WINDOW.percentiles("p", "v", quantiles), values)
    ordered = sorted(values)
    for q in quantiles:
        rank = q * (len(values) - 1)
        about = {ordered[math.floor(rank)], ordered[math.ceil(rank)]}
        assert any(abs(found[f"{q:g}"] - value) <= 0.0101 * abs(value) + 1e-300 for value in about)


@given(st.lists(JSON, max_size=12))
def test_values_are_counted_as_json_compares_them(values: list[Any]) -> None:
    def same(one: Any, other: Any) -> bool:
        if isinstance(one, bool) or isinstance(other, bool):
            return one is other
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(same, one, other))
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
        return (
            type(one) in (int, float, str, list, dict)
            and one == other
            and isinstance(one, str) == isinstance(other, str)
        )

    kinds: list[list[Any]] = []
    for value in values:
        of_kind = next((kind for kind in kinds if same(kind[0], value)), None)
        if of_kind is None:
            kinds.append([value])
        else:
            of_kind.append(value)
    assert result(WINDOW.count_distinct("kinds", "v"), values) == len(kinds)
    top = result(WINDOW.top_k("top", "v", 100), values)
    assert sorted(one["count"] for one in top) == sorted(map(len, kinds))
    assert all(any(same(one["value"], kind[0]) and one["count"] == len(kind) for kind in kinds) for one in top)


def test_equal_counts_are_in_order_of_the_values() -> None:
    values = ["b", 2, [1], "a", True, 1.5, False, {"a": 1}, "z", "z"]
    top = result(WINDOW.top_k("top", "v", 9), values)
    assert [one["value"] for one in top] == ["z", False, True, 1.5, 2, "a", "b", [1], {"a": 1}]


@pytest.mark.parametrize("count", [INLINE_MAX - 1, INLINE_MAX, INLINE_MAX + 1, 500])
def test_many_values_are_stored_one_by_one(count: int) -> None:
    windows = WINDOW.count_distinct("kinds", "v").top_k("top", "v", 2)
    rows = KeyRows()
    values = [f"value {number}" for number in range(count)] + ["x" * 5_000, "x" * 5_000, "x" * 5_001]
    found = results(windows, values, rows)
    assert found["kinds"] == count + 2
    assert found["top"] == [{"value": "x" * 5_000, "count": 2}, {"value": "value 0", "count": 1}]
    assert len(rows) == (0 if count + 2 <= INLINE_MAX else 2 * (count + 2))
    if count == 500:
        rows.committed()
        kept = Accumulation(windows.aggregates, rows, values=[502, 502])
        kept.add({"v": "value 7"}, 0)
        assert len(list(rows.changes())) == 1
        assert kept.results()["top"][0] == {"value": "value 7", "count": 2}
        kept.delete()
        assert dict(rows) == {}


def test_more_different_values_than_may_be_kept_are_refused() -> None:
    windows = WINDOW.top_k("top", "v", 2, values_max=70)
    assert result(windows, [*range(70), *range(70)], KeyRows())[0] == {"value": 0, "count": 2}
    with pytest.raises(JobInvalid, match="values_max"):
        result(windows, range(71), KeyRows())


def test_without_a_value_there_is_no_result() -> None:
    assert results(ALL, [None, None]) == {
        "n": 2,
        "sum": 0,
        "mean": None,
        "min": None,
        "max": None,
        "first": None,
        "last": None,
        "some": [],
        "kinds": 0,
        "top": [],
        "sizes": None,
    }


@pytest.mark.parametrize(
    ("add", "complaint"),
    [
        (lambda: WINDOW.percentiles("p", "v", ()), "quantiles"),
        (lambda: WINDOW.percentiles("p", "v", (50,)), "quantiles"),
        (lambda: WINDOW.percentiles("p", "v", "0.5"), "quantiles"),
        (lambda: WINDOW.top_k("t", "v", 0), "positive"),
        (lambda: WINDOW.top_k("t", "v", 3, values_max=0), "positive"),
        (lambda: WINDOW.collect("c", "v", 0), "collects"),
        (lambda: WINDOW.collect("c", "v", 1_001), "collects"),
        (lambda: WINDOW.count("n").mean("n", "v"), "already"),
    ],
)
def test_an_aggregate_that_cannot_be_is_refused(add: Any, complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint):
        add()
