"""An element is the same after the exchange between two operators, whatever a function returned."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import JobInvalid
from headwater.event import WrittenNumber
from headwater.jobs.operators.windows import Window
from headwater.jobs.steps import Element
from headwater.log.contract import StoredRecord
from headwater.processing.flink.exchange import Travelling, decode_element, encode_element

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)
_records = st.builds(
    StoredRecord,
    st.text(),
    st.integers(0, 100),
    st.integers(0, 2**40),
    st.integers(0, 2**42),
    st.none() | st.binary(),
    st.lists(st.tuples(st.text(), st.binary()), max_size=3).map(tuple),
    st.binary(),
)
_elements = st.builds(
    Element,
    _json,
    st.integers(-(2**62), 2**62),
    st.text(),
    st.none() | st.text(),
    st.none() | _records,
    st.none() | st.dictionaries(st.text(), _json, max_size=3),
    st.none() | st.text(),
)


@dataclasses.dataclass
class Point:
    """A class of a job's own."""

    x: float
    at: datetime


@given(_elements, st.none() | st.text())
def test_an_element_is_the_same_after_the_exchange(element: Element, resume: str | None) -> None:
    assert decode_element(encode_element(element, resume)) == Travelling(element, resume)


@pytest.mark.parametrize(
    "value",
    [
        Point(1.5, datetime(2026, 1, 2, tzinfo=UTC)),
        Window(["a", 1], 0, 60_000, {"edits": 3}),
        {"big": 2**70, "keys": {1: "one"}, "set": {1, 2}, "pair": (1, 2)},
    ],
)
def test_what_is_not_json_is_the_same_too(value: Any) -> None:
    after = decode_element(encode_element(Element(value, 1, "a"))).element.value
    assert repr(after) == repr(value)
    assert type(after) is type(value)


def test_a_number_keeps_the_digits_it_was_written_with() -> None:
    written = WrittenNumber("0.1000000000000000000001")
    after = decode_element(encode_element(Element({"n": written}, 1, "a"))).element.value["n"]
    assert after.text == written.text


def test_a_value_that_is_the_source_still_is() -> None:
    event = {"page": 1}
    after = decode_element(encode_element(Element(event, 1, "a", source=event))).element
    assert after.value is after.source


def test_a_value_that_cannot_be_passed_on_is_named() -> None:
    with pytest.raises(JobInvalid, match="function cannot be passed on") as refused:
        encode_element(Element(lambda: None, 1, "a"))
    assert "JSON" in (refused.value.hint or "")
