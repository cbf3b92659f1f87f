"""The small searches under the verdicts: automata against an engine, and numbers against trying them all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.schemas.compatibility.expressions import MATCHED, Automaton, Unsupported, automaton
from headwater.schemas.compatibility.semantic_diff import changes
from headwater.schemas.validation.formats import FORMAT_PATTERNS, compile_pattern

EXPRESSIONS = (
    *(
        "",
        "a",
        "^a",
        "a$",
        "^$",
        "^a|b$",
        "(ab)+",
        "^(ab?)*c{2,3}$",
        "[^a-c]",
        r"^\d+\.\w*$",
        r"\s",
        r"^\S+$",
        "^.{2}$",
    ),
    *(
        "a{0}b",
        "(?:x|y)z?",
        r"[\d-]",
        "[a-]",
        r"\x41",
        r"\u0042",
        "^(a|b)*abb$",
        r"\/",
        "(?<n>a)b",
        "a+?",
        "^a{2,}$",
        "$^",
    ),
    *FORMAT_PATTERNS.values(),
)


def walked(expression: str, text: str) -> bool:
    """Whether the automaton finds the expression in a text."""
    one = Automaton(expression)
    if not text:
        return one.accepts_empty()
    state = one.start
    for character in text:
        state = one.step(state, ord(character))
    return state == MATCHED or one.accepts(state)


@given(
    st.sampled_from(EXPRESSIONS),
    st.text("abcxyzAB019 .-:/TZ#@\n_é", max_size=6)
    | st.sampled_from(("2020-02-29T00:00:00Z", "2021-02-29", "a@b.example", "1.2.3.4", "::1", "http://a/b#c", "")),
)
def test_an_automaton_and_the_engine_find_the_same(expression: str, text: str) -> None:
    assert walked(expression, text) == compile_pattern(expression)(text)


@pytest.mark.parametrize("expression", ["(?=a)", r"(a)\1", r"\bword", "(?i)a", r"\p{L}", "a{", "[[a]]", "(" * 3, "a**"])
def test_what_is_not_regular_or_not_agreed_on_has_no_automaton(expression: str) -> None:
    with pytest.raises(Unsupported):
        Automaton(expression)
    assert automaton(expression) is None


def test_an_expression_that_multiplies_itself_is_refused_and_not_built() -> None:
    with pytest.raises(Unsupported, match="too large"):
        Automaton("((((a{50}){50}){50}){50}){50}")


def test_changes_are_listed_by_field_and_annotations_last() -> None:
    old = {
        "title": "t",
        "type": "object",
        "properties": {"a": {"type": "string", "maxLength": 5}, "gone": {"type": "string"}, "e": {"enum": ["x", "y"]}},
        "required": ["gone"],
    }
    new = {
        "title": "u",
        "type": "object",
        "properties": {"a": {"type": "string", "maxLength": 9}, "come": {"type": "boolean"}, "e": {"enum": ["y", "z"]}},
        "required": ["a", "come"],
    }
    told = [(change.kind, change.pointer) for change in changes(old, new)]
    assert told == [
        ("rule changed", "/a"),
        ("field added", "/come"),
        ("values changed", "/e"),
        ("field removed", "/gone"),
        ("field required", "/a"),
        ("annotation changed", ""),
    ]
    assert changes(old, new)[1].sentence == "The required field /come was added (boolean)."


def test_the_order_of_branches_names_and_types_is_no_change() -> None:
    old = {"type": ["string", "null"], "required": ["a", "b"], "oneOf": [{"minLength": 1}, {"type": "null"}]}
    new = {"type": ["null", "string"], "required": ["b", "a"], "oneOf": [{"type": "null"}, {"minLength": 1}]}
    assert changes(old, new) == []
