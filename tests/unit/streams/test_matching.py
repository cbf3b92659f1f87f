"""The legacy rules case by case, as the original's own code answered them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.streams import matching as legacy
from requirements import at_least_one


@pytest.fixture(scope="module")
def cases(fixtures_dir: Path) -> dict[str, list[dict[str, Any]]]:
    loaded: dict[str, list[dict[str, Any]]] = json.loads(
        (fixtures_dir / "streams/streamconfig_unit_cases.json").read_text()
    )
    return loaded


def test_topics_follow_as_in_the_original(cases: dict[str, list[dict[str, Any]]]) -> None:
    found = [legacy.topics(case["stream"], case["settings"], case["target"]) for case in at_least_one(cases["topics"])]
    assert [case["value"] for case in at_least_one(cases["topics"])] == found


def test_names_match_as_in_the_original(cases: dict[str, list[dict[str, Any]]]) -> None:
    found = [legacy.matches(case["stream"], case["name"]) for case in at_least_one(cases["matches"])]
    assert [case["value"] for case in at_least_one(cases["matches"])] == found


def test_defaults_merge_as_in_the_original(cases: dict[str, list[dict[str, Any]]]) -> None:
    found = [legacy.merge(case["defaults"], case["settings"]) for case in at_least_one(cases["defaults_merge"])]
    assert [case["value"] for case in at_least_one(cases["defaults_merge"])] == found


def test_entries_are_refused_where_the_original_refuses_them(cases: dict[str, list[dict[str, Any]]]) -> None:
    refused = [
        legacy.check_entry(case["stream"], case["settings"]) is not None for case in at_least_one(cases["construct"])
    ]
    assert ["error" in case for case in at_least_one(cases["construct"])] == refused


def test_a_list_over_a_map_merges_by_key() -> None:
    assert legacy.merge({"a": 1, "0": 2}, ["x"]) == {"a": 1, "0": "x"}
    assert legacy.merge(["a", "b"], {"1": "x"}) == ["a", "x"]


def test_merging_changes_neither_side() -> None:
    defaults, entry = {"a": {"b": [1, 2]}}, {"a": {"b": [3]}}
    assert legacy.merge(defaults, entry) == {"a": {"b": [3, 2]}}
    assert (defaults, entry) == ({"a": {"b": [1, 2]}}, {"a": {"b": [3]}})


def test_a_pattern_or_a_name_of_any_length_costs_nothing() -> None:
    with pytest.raises(ValueError, match="longer than"):
        legacy.compile_family("/" + "a" * legacy.FAMILY_CHARS_MAX + "/")
    assert not legacy.matches("/a/", "a" * (legacy.NAME_CHARS_MAX + 1))
