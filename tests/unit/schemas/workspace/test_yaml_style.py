"""The text of materialized schemas: quoting, blocks, key order, numbers."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.workspace.yaml_style import json_text, key_order, number_text, sorted_keys, yaml_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain words", "a: plain words\n"),
        ("", "a: ''\n"),
        ("has: colon", "a: 'has: colon'\n"),
        ("it's", "a: it's\n"),
        ("it's, quoted", "a: 'it''s, quoted'\n"),
        ("a #b", "a: 'a #b'\n"),
        ("a#b", "a: a#b\n"),
        (" leading", "a: ' leading'\n"),
        ("trailing ", "a: 'trailing '\n"),
        ("- dash", "a: '- dash'\n"),
        ("=", "a: '='\n"),
        ("true", "a: 'true'\n"),
        ("yes", "a: 'yes'\n"),
        ("0x1F", "a: '0x1F'\n"),
        ("1_000", "a: '1_000'\n"),
        ("1_", "a: '1_'\n"),
        ("08", "a: 08\n"),
        ("010", "a: '010'\n"),
        ("1e3", "a: '1e3'\n"),
        ("1.2.3", "a: 1.2.3\n"),
        ("2020-01-01", "a: '2020-01-01'\n"),
        ("<<", "a: '<<'\n"),
        ("tab\there", 'a: "tab\\there"\n'),
        ("bell\x07", 'a: "bell\\a"\n'),
        ("\U0001f600 grin", 'a: "\\U0001F600 grin"\n'),
        ("größe", "a: größe\n"),
        ("two\nlines", "a: |-\n  two\n  lines\n"),
        ("two\nlines\n", "a: |\n  two\n  lines\n"),
        ("two\n\n", "a: |+\n  two\n\n"),
        ("  indented\ntext", "a: |2-\n    indented\n  text\n"),
        (None, "a: null\n"),
        (True, "a: true\n"),
        ({}, "a: {}\n"),
        ([], "a: []\n"),
        ([{"b": 1, "c": [2]}, [3]], "a:\n  - b: 1\n    c:\n      - 2\n  - - 3\n"),
    ],
)
def test_a_value_is_written_as_the_original_writes_it(value: Any, text: str) -> None:
    assert yaml_text({"a": value}) == text


def test_a_long_line_is_folded_at_the_last_space_that_fits() -> None:
    words = " ".join(["word"] * 30)

    lines = yaml_text({"a": words}).splitlines()

    assert lines[0] == "a: >-"
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(line.strip() for line in lines[1:]) == words
    assert len(lines[1]) + len(" word") > 80


def test_a_word_longer_than_the_line_stays_whole_and_breaks_between_paragraphs_are_doubled() -> None:
    assert yaml_text({"a": "x" * 90 + " y\nsecond\n"}) == "a: >\n  " + "x" * 90 + "\n  y\n\n  second\n"


def test_what_is_one_object_twice_is_written_once() -> None:
    shared = {"b": 1}

    assert yaml_text(sorted_keys({"x": shared, "y": shared})) == "x: &ref_0\n  b: 1\n'y': *ref_0\n"


def test_known_keys_come_first_and_the_rest_as_in_a_dictionary() -> None:
    names = ["zeta", "allOf", "Beta", "beta", "_a", "$schema", "alpha", "title", "1", "type", "é", "f", "a-b", "ab"]

    assert sorted(names, key=key_order) == [
        *("title", "$schema", "type", "allOf"),
        *("_a", "1", "a-b", "ab", "alpha", "beta", "Beta", "é", "f", "zeta"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**64, "18446744073709552000"),
        (9007199254740991, "9007199254740991"),
        (1.0, "1"),
        (0.15, "0.15"),
        (-0.5, "-0.5"),
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (0.000001, "0.000001"),
        (123456.789, "123456.789"),
        (0, "0"),
    ],
)
def test_a_number_is_written_as_javascript_writes_it(value: float, text: str) -> None:
    assert number_text(value) == text


def test_json_is_indented_and_empty_containers_take_two_lines() -> None:
    assert json_text({"a": {}, "b": [1, "é"]}) == '{\n  "a": {\n  },\n  "b": [\n    1,\n    "é"\n  ]\n}'


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.text("ab :,#'\"-\n |>0", max_size=200)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_what_is_written_is_read_back_the_same(value: Any) -> None:
    document = {"a": value}

    text = yaml_text(sorted_keys(document))

    assert yaml.safe_load(text) == document
    assert parse_document(text.encode(), "written", ValidationLimits()) == document
