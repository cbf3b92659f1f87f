"""In the order of arrival, a clock that is far ahead of those around it is not believed, and a pause is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.processing.batch.clocks import AHEAD_MS_MAX, with_times_of_arrival
from headwater.processing.batch.sorting import Entry

MINUTE, DAY = 60_000, 86_400_000


def times_of(times: list[int], *, is_dated: bool = False) -> list[int]:
    entries = [Entry(at, number, "t", b"x") for number, at in enumerate(times)]
    found = list(with_times_of_arrival(iter(entries), is_dated=lambda: is_dated))
    assert [entry.number for entry in found] == list(range(len(times)))
    return [entry.time_ms for entry in found]


def test_one_clock_ahead_counts_at_the_time_of_those_around_it() -> None:
    usual = [minute * MINUTE for minute in range(100)]
    for place in (0, 1, 50, 98):
        found = times_of([*usual[:place], usual[place] + DAY, *usual[place:]])
        assert found[:place] + found[place + 1 :] == usual
        assert found[place] <= usual[-1]


def test_several_of_them_one_after_the_other_do_not_agree() -> None:
    usual = [minute * MINUTE for minute in range(100)]
    found = times_of([*usual[:10], *[usual[10] + DAY] * 5, *usual[10:]])
    assert max(found) == usual[-1]


def test_after_a_pause_all_are_believed_and_so_are_clocks_that_are_a_little_ahead() -> None:
    pause = [0, MINUTE, DAY, DAY + MINUTE, 9 * DAY]
    assert times_of(pause) == pause
    a_little = [0, MINUTE, AHEAD_MS_MAX, 2 * MINUTE, 3 * MINUTE]
    assert times_of(a_little) == a_little


def test_two_sorted_files_are_taken_as_they_are() -> None:
    day = [hour * 3_600_000 for hour in range(24)]
    assert times_of([*day, *day]) == [*day, *day]


def test_the_times_of_a_log_are_those_of_receipt() -> None:
    assert times_of([0, 2 * DAY, 1, 2, 3], is_dated=True) == [0, 2 * DAY, 1, 2, 3]


@given(st.lists(st.integers(0, 5 * DAY), max_size=80))
def test_no_time_is_made_later_and_input_in_order_is_not_changed(times: list[int]) -> None:
    assert all(found <= given for found, given in zip(times_of(times), times, strict=True))
    assert times_of(sorted(times)) == sorted(times)
