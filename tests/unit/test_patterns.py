"""Regular expressions that people write: what Python warns about has the meaning it has, and no warning is shown."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.checking.fields import field_at
from headwater.patterns import compiled
from headwater.schemas.workspace.working_settings import WorkingSettings
from headwater.streams import matching

# What Python announces to change, each with a text that it finds and one that it does not.
WARNED = {
    "^[[a]$": ("[", "]"),
    "^[+--]$": (",", "z"),
    "^[a&&b]$": ("&", "c"),
    "^[a~~b]$": ("~", "c"),
    "^[a||b]$": ("|", "c"),
    "^[[:alpha:]]$": ("p]", "z"),
}
TOO_LARGE = ["a{99999999999999999999}", "(" * 5_000 + ")" * 5_000]


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> None:
    """As `python -W error`, also for what is cached otherwise."""
    compiled.cache_clear()
    matching.compile_family.cache_clear()
    warnings.simplefilter("error")


@pytest.mark.parametrize("pattern", WARNED)
def test_an_expression_that_python_warns_about_keeps_its_meaning(pattern: str) -> None:
    found, other = WARNED[pattern]
    with pytest.raises(FutureWarning):
        re.compile(pattern + "(?:)")
    assert compiled(pattern).search(found)
    assert not compiled(pattern).search(other)


@pytest.mark.parametrize("pattern", WARNED)
def test_every_place_that_takes_an_expression_takes_it_without_a_warning(pattern: str) -> None:
    found, other = WARNED[pattern]
    assert matching.matches(f"/{pattern}/", found)
    assert not matching.matches(f"/{pattern}/", other)
    assert matching.check_entry(f"/{pattern}/", {}) is None
    settings = WorkingSettings(Path(), ignore_schemas=(pattern,), skip_test_cases={pattern: ("a-rule",)})
    assert (settings.is_ignored(found), settings.is_ignored(other)) == (True, False)
    assert settings.skipped_cases(found) == frozenset({"a-rule"})
    schema = {"type": "object", "patternProperties": {pattern: {"type": "string"}}, "additionalProperties": False}
    assert (field_at(schema, found) is not None, field_at(schema, other)) == (True, None)


@pytest.mark.parametrize("pattern", TOO_LARGE)
def test_an_expression_that_is_too_large_is_refused_and_no_crash(pattern: str) -> None:
    with pytest.raises(re.error, match=r"too large|overflow|recursion"):
        compiled(pattern)
    assert field_at({"type": "object", "patternProperties": {pattern: {"type": "string"}}}, "a") is not None


def test_a_family_that_counts_too_far_is_a_fault_of_its_entry() -> None:
    found = matching.check_entry(f"/{TOO_LARGE[0]}/", {})
    assert found is not None
    assert "is not a regular expression" in found[1]


@given(st.text(alphabet="[]^-&|~:a\\(){}", max_size=12))
def test_an_expression_means_what_python_makes_of_it(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = re.compile(pattern).pattern
        except (re.error, OverflowError, RecursionError):
            with pytest.raises(re.error):
                compiled(pattern)
            return
    assert compiled(pattern).pattern == expected
