"""Keys of rows as texts: readable, bounded, and different for different keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.row_keys import bounded_key_text, key_text

BYTES_MAX = 80
VALUES = st.one_of(st.text(":%|aé\x00", max_size=6), st.integers(), st.booleans(), st.floats(allow_nan=False))
KEYS = st.lists(st.text(":%253Ash\x00é", max_size=40), min_size=2, max_size=2)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["enwiki", 42], "enwiki:42"),
        (["a:b", "c"], "a%3Ab:c"),
        (["a", "b:c"], "a:b%3Ac"),
        (["100%", ""], "100%25:"),
        ([True, 1.5], "true:1.5"),
        (["Česko"], "Česko"),
    ],
)
def test_usual_keys_stay_readable(values: list[object], text: str) -> None:
    assert key_text(values) == text


@given(KEYS, KEYS)
def test_different_keys_have_different_texts(one: list[str], other: list[str]) -> None:
    assert (key_text(one) == key_text(other)) == (one == other)
    assert (bounded_key_text(one, BYTES_MAX) == bounded_key_text(other, BYTES_MAX)) == (one == other)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_a_bounded_text_is_never_longer(values: list[object]) -> None:
    assert len(bounded_key_text(values, BYTES_MAX).encode()) <= BYTES_MAX


def test_a_long_key_is_no_other_keys_text() -> None:
    long = bounded_key_text(["x" * 100], BYTES_MAX)
    assert long.startswith("%sha256:")
    assert bounded_key_text([long], BYTES_MAX) != long
