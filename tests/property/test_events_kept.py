"""What an event says is what is kept of it: numbers, text and members of objects, or the event is refused."""

from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.errors import EventMalformed
from headwater.event import (
    EXACT,
    EXACT_HEADER,
    REPAIRED,
    WrittenNumber,
    decode_event,
    decode_json,
    decode_kept,
    decode_stored,
    encode_event,
    encode_json,
    encode_kept,
)
from headwater.schemas.json_value import identity

NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})([.][0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
KNOWN = ["1e400", "-1e400", "1e-400", "123456789012345678901234567890", "18446744073709551615", "18446744073709551616"]
KNOWN += [
    "-9223372036854775808",
    "-9223372036854775809",
    "-0",
    "-0.0",
    "1E5",
    "0.10000000000000001",
    "5e-324",
    "1.7e-323",
]
KNOWN += ["9007199254740993", "9007199254740993.0", "0.1000000000000000055511151231257827", "0e-999", "1e22", "1.0"]


def exactly(text: bytes) -> Any:
    """JSON with its numbers as decimals, read by a parser that is not ours."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def refusal(sent: bytes) -> EventMalformed | None:
    try:
        decode_event(sent)
    except EventMalformed as error:
        return error
    return None


def spelled(literal: str, style: int) -> bytes:
    """An event with this number, as different programs write it."""
    return (
        f'{{"n":{literal},"s":"é"}}',
        f'{{"n": {literal}, "list": [{literal}, 1.5]}}',
        f'\n{{"a":{{"b":[{{"n":{literal}}}]}},\t"s":"\\u00e9"}}',
    )[style].encode()


@given(NUMBERS, st.integers(0, 2))
@example("1e400", 0)
def test_a_number_is_kept_or_refused_by_a_message_about_it(literal: str, style: int) -> None:
    sent = spelled(literal, style)
    error = refusal(sent)
    if error is not None:
        assert literal[:40] in str(error)
        assert float(literal) in (float("inf"), float("-inf"), 0.0)
        assert Decimal(literal) != 0
        assert error.value is not None
        return
    value, kept, flags = decode_event(sent)
    assert exactly(kept) == exactly(sent)
    assert b"\n" not in kept
    # However it goes on: filled in and written again, kept in a state, read from the log or by a client.
    assert exactly(encode_event({**value, "filled": 1})[0]) == {**exactly(sent), "filled": 1}
    assert exactly(encode_json(decode_kept(encode_kept(value)))) == exactly(sent)
    assert exactly(encode_json(decode_json(kept))) == exactly(sent)
    assert exactly(encode_json(decode_stored(kept, (("dt", b""), EXACT_HEADER) if flags & EXACT else ()))) == exactly(
        sent
    )
    assert decode_event(kept) == (value, kept, flags & EXACT)


@pytest.mark.parametrize("literal", KNOWN)
@pytest.mark.parametrize("style", [0, 1, 2])
def test_numbers_that_others_change_are_kept_or_refused(literal: str, style: int) -> None:
    test_a_number_is_kept_or_refused_by_a_message_about_it.hypothesis.inner_test(literal, style)  # type: ignore[attr-defined]


@given(
    st.integers()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-1000, max_value=1000)
)
def test_numbers_a_program_made_are_kept(number: float | Decimal) -> None:
    kept, flags = encode_event({"n": number, "none": None})
    wanted = number if isinstance(number, Decimal) else Decimal(repr(number))
    assert exactly(kept)["n"] == wanted
    assert exactly(encode_json(decode_stored(kept, (EXACT_HEADER,) if flags & EXACT else ())))["n"] == wanted


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("1e400"), 10**1500]
)
@pytest.mark.parametrize("around", [lambda n: {"n": n}, lambda n: {"a": [{"n": (1, n)}], "null": None}])
def test_numbers_json_has_not_are_refused_from_programs(number: Any, around: Any) -> None:
    with pytest.raises(EventMalformed, match="n"):
        encode_event(around(number))


def test_a_written_number_is_a_float_that_keeps_its_text() -> None:
    number = WrittenNumber("0.10000000000000001")
    assert number == 0.1
    assert [copy.deepcopy(number).text, pickle.loads(pickle.dumps(number)).text] == [number.text] * 2


@given(NUMBERS, NUMBERS)
@example("100000000000000000000", "1e20")
@example("12345678901234567890123.0", "12345678901234567890123")
@example("0.10000000000000001", "0.100000000000000010")
@example("123456789012345678901234567890", "123456789012345678901234567891")
def test_what_numbers_are_told_apart_by_is_one_for_all_spellings_and_no_other_number(left: str, right: str) -> None:
    if refusal(left.encode()) or refusal(right.encode()):
        return
    names = [identity(decode_json(one)) for one in (left, right)]
    assert (names[0] == names[1]) == (Decimal(left) == Decimal(right))


TEXTS = st.text(st.characters(codec=None) | st.sampled_from("\ud800\udbff\udc00\udfff\U0001f600é"), max_size=12)


def repaired(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(TEXTS, TEXTS, st.booleans())
def test_text_that_is_not_unicode_is_repaired_and_told(name: str, text: str, raw: bool) -> None:
    value = {name: [text], "other": "kept"}
    sent = json.dumps(value, ensure_ascii=not raw).encode("utf-8", "surrogatepass")
    found, kept, flags = decode_event(sent)
    assert found == {repaired(name): [repaired(text)], "other": "kept"}
    assert orjson.loads(kept) == found
    assert bool(flags & REPAIRED) == (repaired(name) != name or repaired(text) != text or _is_split(sent))
    made, flags = encode_event(value)
    assert (orjson.loads(made), bool(flags & REPAIRED)) == (found, (name, text) != (repaired(name), repaired(text)))


def _is_split(sent: bytes) -> bool:
    """Whether a character beyond the first plane is written as two surrogates of three bytes each."""
    try:
        sent.decode()
    except UnicodeDecodeError:
        return True
    return False


MEMBERS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9) | st.text(max_size=3)), max_size=6)


@given(MEMBERS, MEMBERS, st.sampled_from([(",", ":"), (", ", ": ")]))
def test_what_is_validated_of_repeated_names_is_what_is_kept(
    outer: list[tuple[str, Any]], inner: list[tuple[str, Any]], separators: tuple[str, str]
) -> None:
    comma, colon = separators

    def written(members: list[tuple[str, str]]) -> str:
        return "{" + comma.join(f'"{name}"{colon}{text}' for name, text in members) + "}"

    within = written([(name, json.dumps(value)) for name, value in inner])
    sent = written([*((name, json.dumps(value)) for name, value in outer), ("in", f"[{within}]")]).encode()
    value, kept, _ = decode_event(sent)
    assert value == {**dict(outer), "in": [dict(inner)]}
    assert json.loads(kept, object_pairs_hook=list) == _pairs(value)


def _pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return [(name, _pairs(child)) for name, child in value.items()]
    return [_pairs(child) for child in value] if isinstance(value, list) else value


@pytest.mark.parametrize("depth", [100, 300, 1_500, 100_000])
def test_values_of_any_depth_are_read_or_refused(depth: int) -> None:
    sent = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    error = refusal(sent)
    if error is None:
        assert decode_event(sent)[1] == sent
    else:
        assert "too deeply" in str(error)
        assert depth > 1_000


@pytest.mark.parametrize(
    "text", ["{", "", "tru", '{"a" 1}', '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a":1.}', '{"a":"\x01"}']
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(EventMalformed, match="not JSON"):
        decode_event(text.encode())
