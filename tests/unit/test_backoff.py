"""Tests of the pauses between attempts: they grow up to a maximum, with jitter, and begin small again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.backoff import Backoff

SHARES = st.floats(0, 1)


def pauses(backoff: Backoff) -> Iterator[float]:
    while True:
        yield backoff.next_pause()


def test_pauses_grow_up_to_the_maximum_and_begin_small_again_after_a_success() -> None:
    backoff = Backoff(0.5, 3.0, random=lambda: 1.0)
    assert list(itertools.islice(pauses(backoff), 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert list(itertools.islice(pauses(backoff), 2)) == [0.5, 1.0]


def test_another_factor_grows_faster() -> None:
    backoff = Backoff(1.0, 100.0, factor=3.0, spread=(1, 1))
    assert list(itertools.islice(pauses(backoff), 4)) == [1.0, 3.0, 9.0, 27.0]


def test_the_first_pause_is_not_longer_than_the_maximum() -> None:
    assert Backoff(5.0, 2.0, spread=(1, 1)).next_pause() == 2.0


def test_a_lower_maximum_holds_for_one_pause() -> None:
    backoff = Backoff(1.0, 60.0, spread=(1, 1))
    assert [backoff.next_pause(4.0) for _ in range(5)] == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert backoff.next_pause() == 8.0


@pytest.mark.parametrize(("spread", "drawn", "pause"), [((0.5, 1.0), 0, 1), ((0.7, 1.3), 0.5, 2), ((0, 1), 0.25, 0.5)])
def test_chance_chooses_between_two_shares_of_a_pause(spread: tuple[float, float], drawn: float, pause: float) -> None:
    backoff = Backoff(2.0, 60.0, spread=spread, random=lambda: drawn)
    assert backoff.jittered(2.0) == pytest.approx(pause)
    assert backoff.next_pause() == pytest.approx(pause)


@given(st.floats(0.001, 10), st.floats(0.001, 100), st.floats(1, 5), st.lists(SHARES, min_size=1, max_size=50))
def test_no_pause_is_longer_than_the_maximum_nor_shorter_than_half_of_the_first(
    first: float, most: float, factor: float, drawn: list[float]
) -> None:
    backoff = Backoff(first, most, factor=factor, random=iter(drawn).__next__)
    for _ in drawn:
        assert min(first, most) / 2 <= backoff.next_pause() <= most
