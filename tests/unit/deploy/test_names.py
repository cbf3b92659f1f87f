"""Names of objects in Kubernetes, for any name of a job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.deploy.names import APPLICATION_CHARACTERS_MAX, LABEL, label, require_distinct
from headwater.errors import ConfigInvalid

JOB_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", fullmatch=True)


@given(JOB_NAMES, st.sampled_from([63, APPLICATION_CHARACTERS_MAX]))
def test_every_name_of_a_job_becomes_a_label(name: str, characters_max: int) -> None:
    made = label("shop", name, characters_max=characters_max)
    assert LABEL.fullmatch(made)
    assert len(made) <= characters_max
    assert made == label("shop", name, characters_max=characters_max)


def test_names_stay_readable() -> None:
    assert label("page_content.html") == "page-content-html"
    assert label("2026", "Jobs") == "x-2026-jobs"


def test_long_names_remain_different() -> None:
    one, other = label("x" * 80), label("x" * 79 + "y")
    assert one != other
    assert len(one) == len(other) == 63


def test_two_names_that_become_one_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="page_content and page-content would have the same name"):
        require_distinct(["other", "page_content", "page-content"], "jobs")
    require_distinct(["a", "b", "a"], "jobs")
