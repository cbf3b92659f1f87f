"""What a filter may look at in one event is bounded: large lists and texts cost milliseconds, and lose no event."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.consumption.filter import WORK_MAX, parse_filter

MANY = 70
# What a filter says again and again, and what it meets.
COSTLY: dict[str, tuple[str, Any]] = {
    "a list": ("a contains 1", [""] * 1_300_000),
    "a list of equal values of another type": ("a contains 1", [True] * 1_300_000),
    "a list of lists": ("a contains 1", [[1]] * 500_000),
    "a text": ('a contains "ab"', "a" * 4_000_000),
    "a text and a long part": (f'a contains "{"a" * 12}b"', "a" * 4_000_000),
    "a pattern": ('a ~ "*b*a"', "a" * 4_000_000),
    "a list within the bound": ("a contains 1", [""] * (WORK_MAX // MANY)),
    "a text in": ('a in ["b"]', "a" * 4_000_000),
    "a text that is compared": ('a < "b"', "a" * 4_000_000),
}


@pytest.mark.measures
@pytest.mark.parametrize("what", COSTLY)
@pytest.mark.parametrize("word", [" or ", " and not ", " and "])
def test_no_event_costs_a_filter_much(what: str, word: str) -> None:
    test, value = COSTLY[what]
    matches = parse_filter(word.join([test] * MANY)).matches
    began = time.process_time()

    matches({"a": value})

    assert time.process_time() - began < 0.1


def test_an_event_that_takes_too_much_work_is_given_and_the_next_one_is_filtered_again() -> None:
    matches = parse_filter('a contains "x"').matches

    assert matches({"a": ["y"] * (WORK_MAX + 1)})
    assert not matches({"a": ["y"] * WORK_MAX})
    assert matches({"a": [*["y"] * (WORK_MAX - 1), "x"]})
    assert not matches({"a": ["y"]})


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, 0.5]), st.sampled_from(["", "1", "x"])
)


@given(
    st.lists(st.one_of(SCALARS, st.lists(SCALARS, max_size=2))),
    st.sampled_from([True, False, None, 0, 1, 1.0, 0.5, "x", "1"]),
)
def test_a_list_contains_what_is_equal_and_of_the_same_type(items: list[Any], wanted: Any) -> None:
    def kind(value: Any) -> object:
        return "number" if type(value) in (int, float) else type(value)

    spelled = (
        {True: "true", False: "false", None: "null"}[wanted]
        if wanted is None or type(wanted) is bool
        else repr(wanted).replace("'", '"')
    )

    assert parse_filter(f"a contains {spelled}").matches({"a": items}) == any(
        item == wanted and kind(item) == kind(wanted) for item in items
    )
