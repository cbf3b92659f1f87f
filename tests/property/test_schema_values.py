"""Whatever a file of a schema holds, in YAML or JSON, it is read exactly or refused in our words, with its line."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import SchemaInvalid
from headwater.event import json_bytes, read_json
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.positions import Positions
from headwater.schemas.workspace.yaml_style import yaml_text

LIMITS = ValidationLimits()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    st.none() | st.booleans() | TEXT | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)
ODD = st.sampled_from(
    [
        *("1e400", "-1e400", ".inf", "-.INF", "+.Inf", ".nan", ".NaN", "9" * 400, "-" + "9" * 5000, "0x" + "f" * 300),
        *("!!set {a, b}", "!!binary aGk=", "!!timestamp 2020-01-01", "!!omap [a: 1]", "!!pairs [a: 1]", "!own 1"),
        *("{a: 1, a: 2}", "{[a]: 1}", "{{a: 1}: 2}", "*nowhere", "&a [*a]", "{<<: 5}", "{<<: [a]}", "!!int x"),
        '"\\ud800"',
        *("[1", "{a", "'a", "@a", "%a", "!!python/object/apply:os.system [x]", "!!float x", "!!bool maybe"),
    ]
)


def same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(VALUES)
def test_json_says_what_was_meant_number_by_number(value: Any) -> None:
    document = {"default": value}
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=1)):
        assert same(parse_document(text.encode(), "f", LIMITS), document)
    assert same(read_json(json_bytes(document)), document)
    assert same(read_json(json_bytes(document, indented=True)), document)


# A double from 2^53 on is printed with the digits JavaScript needs, which are not all it has.
@given(VALUES.filter(lambda value: all(type(one) is int or abs(one) < 2**53 for one in numbers(value))))
def test_yaml_says_what_was_meant_number_by_number(value: Any) -> None:
    document = {"default": value}
    read = parse_document(yaml_text(document, exact=True).encode(), "f", LIMITS)
    # A float without a fraction is printed as JavaScript does: 1.0 is 1.
    assert read == document


def numbers(value: Any) -> list[float]:
    """The numbers of a value, in order."""
    if isinstance(value, dict | list):
        return [one for child in (value.values() if isinstance(value, dict) else value) for one in numbers(child)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


@given(ODD, st.integers(0, 3), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_what_json_has_not_is_refused_at_its_line(odd: str, before: int, newline: str, mark: str) -> None:
    lines = [*(f"k{number}: {{a: [1, x]}}" for number in range(before)), f"odd: {odd}", "after: 1", ""]
    with pytest.raises(SchemaInvalid) as refused:
        parse_document((mark + newline.join(lines)).encode(), "f.yaml", LIMITS)
    error = refused.value
    # What is not closed is noticed where the file goes on.
    assert error.line is not None, error
    assert before < error.line <= before + 3
    assert error.message.startswith(f"f.yaml:{error.line}:")


ANYTHING = st.binary(max_size=60) | st.text("{}[]:,-&*!|>'\"%@`#? \t\n\r\\a1.e+<u\ud83d\x00", max_size=40).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)


@given(ANYTHING)
def test_any_bytes_are_values_or_refused_in_our_words(data: bytes) -> None:
    try:
        value = parse_document(data, "f", LIMITS)
    except SchemaInvalid:
        return
    json.dumps(value, allow_nan=False).encode()
    Positions(data, LIMITS).of("/a/0")


@given(VALUES, st.sampled_from([math.inf, -math.inf, math.nan, "\ud800", 2**70]))
def test_the_encoder_never_fails_on_what_a_declaration_may_hold(value: Any, odd: Any) -> None:
    written = json_bytes({"a": [odd, value], "t": (1, value)})
    assert same(read_json(written)["a"][1], value)


# Line breaks of other scripts are no lines to everybody.
@given(st.dictionaries(st.text("ab:# ", max_size=5), st.text("ab:#\n '\"", max_size=9) | st.lists(st.integers())))
def test_a_position_is_that_of_the_key(value: Any) -> None:
    document = {"first": value, "last": {"b": [1, {"c": 2}]}}
    for text in (yaml.safe_dump(document, allow_unicode=True, sort_keys=False), json.dumps(document, indent=1)):
        lines = text.split("\n")
        found = Positions(text.encode(), LIMITS).of("/last")
        assert found is not None
        assert lines[found[0] - 1][found[1] - 1 :].lstrip('"').startswith("last")
