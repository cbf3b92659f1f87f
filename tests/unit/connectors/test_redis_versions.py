"""The texts by which a Redis script compares versions sort as the versions do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.rows import INTEGER_MAX
from headwater.connectors.sinks.redis.scripts import sortable

VERSIONS = {
    "integer": st.integers(-INTEGER_MAX, INTEGER_MAX),
    # As rows have them: never -0.0.
    "real": st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    "text": st.text("0159abzé\x00-:.T", max_size=8),
}


@pytest.mark.parametrize("kind", VERSIONS)
@given(data=st.data())
def test_texts_sort_as_versions_do(kind: str, data: Any) -> None:
    one, other = data.draw(VERSIONS[kind]), data.draw(VERSIONS[kind])
    assert (sortable(one) < sortable(other)) == (one < other)
    assert (sortable(one) == sortable(other)) == (one == other)


def test_times_with_and_without_a_fraction_sort() -> None:
    times = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.25Z", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01Z"]
    assert sorted(times, key=sortable) == times
