"""The rules of one legacy entry, as the original's own class answered them: names, topics, constraints, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.streams import matching as legacy
from headwater.streams.legacy import constraints as legacy_constraints
from requirements import at_least_one


@pytest.fixture(scope="module")
def cases(fixtures_dir: Path) -> dict[str, Any]:
    path = fixtures_dir / "streams" / "streamconfig_unit_cases.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def test_settings_meet_constraints_as_in_the_original(cases: dict[str, Any]) -> None:
    entry = cases["base_for_matches_settings"]
    found = [
        legacy_constraints.matches(entry["stream"], entry["settings"], case["constraints"])
        for case in at_least_one(cases["matches_settings"])
    ]
    assert [case["value"] for case in at_least_one(cases["matches_settings"])] == found


def test_topics_names_and_defaults_are_the_originals(cases: dict[str, Any]) -> None:
    topics = [legacy.topics(case["stream"], case["settings"], case["target"]) for case in at_least_one(cases["topics"])]
    assert [case["value"] for case in at_least_one(cases["topics"])] == topics
    names = [legacy.matches(case["stream"], case["name"]) for case in at_least_one(cases["matches"])]
    assert [case["value"] for case in at_least_one(cases["matches"])] == names
    merged = [legacy.merge(case["defaults"], case["settings"]) for case in at_least_one(cases["defaults_merge"])]
    assert [case["value"] for case in at_least_one(cases["defaults_merge"])] == merged


def test_entries_are_made_or_refused_as_by_the_original(cases: dict[str, Any]) -> None:
    for case in at_least_one(cases["construct"]):
        complaint = legacy.check_entry(case["stream"], case["settings"])
        assert (complaint is not None) == ("error" in case), case
        if complaint is None:
            assert legacy.entry(case["stream"], case["settings"]) == case["value"]


def test_no_kind_of_case_is_left_out(cases: dict[str, Any]) -> None:
    kinds = {name for name, value in cases.items() if isinstance(value, list)}
    assert kinds == {"topics", "matches", "construct", "matches_settings", "defaults_merge"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a=1&b=2"], {"a": "1", "b": "2"}),
        (["?a=x=y"], {"a": "x"}),
        (["a"], {"a": ""}),
        (["a=1", "a=2"], {"a": {0: "1", 1: "2"}}),
        (["a[b]=1&a[c]=2"], {"a": {"b": "1", "c": "2"}}),
        (["a[b][c]=1&a[b][d]=2"], {"a": {"b": {"d": "2"}}}),
        (["a[b][c]=1", "a[b][d]=2"], {"a": {"b": {"c": "1", "d": "2"}}}),
        (["a[]=1"], {"a": {"": "1"}}),
        (["a[0]=1", "a[0]=2"], {"a": {0: "1", 1: "2"}}),
        (["a=1", "a[b]=2"], {"a": {0: "1", "b": "2"}}),
        (["a=x%2526y+z"], {"a": "x%26y z"}),
        ([""], {}),
    ],
)
def test_constraints_are_read_as_php_reads_them(values: list[str], expected: dict[str, Any]) -> None:
    assert legacy_constraints.parse(values) == expected
