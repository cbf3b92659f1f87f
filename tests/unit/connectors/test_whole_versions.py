"""Versions as whole numbers sort as the versions do, and what cannot be one is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.rows import INTEGER_MAX
from headwater.connectors.whole_versions import whole_version
from headwater.errors import EventMalformed
from headwater.times import utc_of

VERSIONS = {
    "integer": st.integers(0, INTEGER_MAX),
    "real": st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    "text": st.datetimes().map(utc_of),
}


def age(version: Any) -> Any:
    """As rows compare versions: a time with a fraction is later than the one without."""
    return version.rstrip("Z") if isinstance(version, str) else version


@pytest.mark.parametrize("kind", VERSIONS)
@given(data=st.data())
def test_numbers_sort_as_versions_do(kind: str, data: Any) -> None:
    one, other = data.draw(VERSIONS[kind]), data.draw(VERSIONS[kind])
    first, second = whole_version(one, path="at"), whole_version(other, path="at")
    assert 0 <= min(first, second) <= max(first, second) < 2**63
    if age(one) <= age(other):
        assert first <= second
    if kind != "real":
        assert (first == second) == (one == other)


def test_a_difference_in_all_but_the_last_bit_of_a_number_counts() -> None:
    assert whole_version(1.0, path="at") < whole_version(1.0 + 2**-51, path="at")


@pytest.mark.parametrize("bad", [-1, "yesterday", "", "2026"])
def test_what_is_no_version_is_named(bad: Any) -> None:
    with pytest.raises(EventMalformed, match=r"meta\.dt"):
        whole_version(bad, path="meta.dt")
