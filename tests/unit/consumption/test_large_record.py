"""A large event reaches its readers as a small one would, without being decoded as a whole; and in slices of time."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.consumption.filter import parse_filter
from headwater.consumption.framing import SLICE_SECONDS, Framer, Selection
from headwater.consumption.large_record import COMPARED_BYTES_MAX, LARGE_BYTES, NotPlain, text_of
from headwater.event import EXACT, EXACT_HEADER, decode_event, encode_event, encode_json
from headwater.log.contract import Position, StoredRecord

TOPIC = "area.thing"
FILTERS = (
    None,
    *("a == 1", 'a.b == "x"', "meta.offset == 7", "not z", "a.0", 'meta.domain ~ "*.org"', "a > 1.5"),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from(["a", "b"]), inner, max_size=4),
    max_leaves=8,
)
EVENTS = st.dictionaries(TEXTS | st.sampled_from(["a", "z", "meta", "é"]), JSON, max_size=6)


def record(text: bytes, flags: int = 0, key: bytes | None = None) -> StoredRecord:
    headers = (EXACT_HEADER,) if flags & EXACT else ()
    return StoredRecord(TOPIC, 0, 7, 0, key, headers, text)


@given(EVENTS, st.sampled_from(FILTERS), st.booleans(), st.none() | st.binary(max_size=4))
def test_an_event_reads_the_same_whether_it_is_decoded_as_a_whole(
    event: dict[str, Any], expression: str | None, canaries: bool, key: bytes | None
) -> None:
    stored = record(*encode_event(event), key)
    wanted = None if expression is None else parse_filter(expression)

    try:
        found = text_of(stored, wanted, canaries=canaries)
    except NotPlain:
        return

    value = Selection(wanted, canaries).value_of(stored)
    assert found == (None if value is None else encode_json(value))


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,\n"b":2}',
        b'{"a":1,\r"b":2}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":1',
        b"[1]",
        b'{"meta":{}} {}',
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_what_no_intake_has_written_is_left_to_the_usual_way(text: bytes) -> None:
    with pytest.raises(NotPlain):
        text_of(record(text), None, canaries=True)


def test_a_canary_is_left_out_of_large_events_too() -> None:
    event = {"meta": {"domain": "canary"}, "x": "y" * LARGE_BYTES}

    assert Selection().text_of(record(orjson.dumps(event))) is None
    assert Selection(canaries=True).text_of(record(orjson.dumps(event))) is not None


@pytest.mark.parametrize("many", [[""] * 400_000, {str(number): 1 for number in range(100_000)}])
def test_an_event_is_given_where_its_filter_would_look_through_too_much(many: Any) -> None:
    text = orjson.dumps({"a": many, "b": 1})
    assert len(text) > COMPARED_BYTES_MAX

    assert Selection(parse_filter('a contains "x"')).text_of(record(text)) is not None
    assert Selection(parse_filter("b == 2")).text_of(record(text)) is None


@pytest.mark.measures
def test_a_large_event_costs_a_reader_a_fraction_of_decoding_it() -> None:
    text = orjson.dumps({"a": [[]] * 1_000_000})
    selection = Selection(parse_filter("a contains 1"))

    began = time.process_time()
    assert selection.text_of(record(text)) is not None
    used = time.process_time() - began

    began = time.process_time()
    assert selection.value_of(record(text)) is not None
    assert used < (time.process_time() - began) / 2


def test_numbers_of_many_digits_stay_as_they_are() -> None:
    text = b'{"a":0.12345678901234567890,"meta":{"n":123456789012345678901234567890},"x":"%b"}' % (b"y" * LARGE_BYTES)
    _, kept, flags = decode_event(text)

    found = Selection().text_of(record(kept, flags))

    assert found is not None
    assert b'"a":0.12345678901234567890,' in found
    assert b'"n":123456789012345678901234567890,' in found


def test_frames_are_made_in_slices_of_time_and_none_is_lost() -> None:
    """A filter may look through a hundred thousand items in each event, and hundreds of events are read at once."""
    wanted = parse_filter(" or ".join(["a contains 1"] * 100))
    text = json.dumps({"a": [""] * 900 + [1]}, separators=(",", ":")).encode()
    records = [StoredRecord(TOPIC, 0, offset, 0, None, (), text) for offset in range(100)]
    start = Position({(TOPIC, 0): 0})
    framer, whole = Framer("json", Selection(wanted), start), Framer("json", Selection(wanted), start).frames(records)

    done, chunks = 0, []
    while done < len(records):
        chunk, done = framer.some_frames(records, done, SLICE_SECONDS)
        chunks.append(chunk)

    assert len(chunks) > 1
    assert b"".join(chunk.data for chunk in chunks) == whole.data
    assert framer.position == whole.position
