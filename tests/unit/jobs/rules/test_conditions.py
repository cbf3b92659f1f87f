"""The conditions of rules: what holds for which values, and what is captured."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.jobs.rules.conditions import Match, expected_of

json_values = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=3)


def holds(written: Any, value: Any) -> dict[str, str] | None:
    return Match((("at.field", expected_of(written)),)).captures({"at": {"field": value}})


@pytest.mark.parametrize(
    ("written", "value", "captured"),
    [
        ("edit", "edit", {}),
        ("edit", "edits", None),
        (1, 1.0, {}),
        (1, True, None),
        (True, True, {}),
        ("1", 1, None),
        (None, None, {}),
        (None, "", None),
        ("/ed/", "edits", {}),
        ("/^ed$/", "edits", None),
        ("/ED/i", "edits", {}),
        ("/ED/", "edits", None),
        ("/^/", 7, None),
        (
            r"/^https:\/\/(?<host>[^\/]+)\/wiki\/(?<title>.+)$/",
            "https://w.example/wiki/A/B",
            {"host": "w.example", "title": "A/B"},
        ),
        ("/(?P<first>a)|(?P<second>b)/", "b", {"second": "b"}),
        ("/(?<!x)a/", "xa", None),
        ("/a/b/", "a/b", {}),
        ("/no end", "/no end", {}),
        (["a"], ["b", "a"], {}),
        (["a", "c"], ["b", "a"], None),
        (["/^b(?<n>[0-9])/"], ["a", "b7"], {"n": "7"}),
        (["a"], "a", None),
        ([], [], {}),
    ],
)
def test_what_holds_and_what_is_captured(written: Any, value: Any, captured: Any) -> None:
    assert holds(written, value) == captured


@pytest.mark.parametrize(("written", "error"), [("/(/", re.error), ("/a/q", re.error), ([["a"]], ValueError)])
def test_what_is_no_condition(written: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        expected_of(written)


def test_all_fields_have_to_hold_and_an_absent_one_does_not() -> None:
    match = Match((("a", expected_of("/(?<x>.)/")), ("b.c", expected_of("/(?<y>.)/"))))
    assert match.captures({"a": "1", "b": {"c": "2"}}) == {"x": "1", "y": "2"}
    assert match.captures({"a": "1", "b": "c"}) is None
    assert match.captures({"a": "1"}) is None


@given(json_values, json_values)
def test_any_value_has_an_answer(written: Any, value: Any) -> None:
    try:
        expected = expected_of(written)
    except re.error:
        return
    assert Match((("f", expected),)).captures({"f": value}) in (None, {})
