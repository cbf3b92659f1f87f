"""Documents that would cost memory or time are refused while they are read."""

from __future__ import annotations

import time

import pytest

from headwater.errors import SchemaInvalid
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits, bytes_may_exceed_depth, depth_exceeds

LIMITS = ValidationLimits()


def parse(text: str, limits: ValidationLimits = LIMITS) -> object:
    return parse_document(text.encode(), "/test/1.0.0", limits)


def test_yaml_and_json_give_the_same_value() -> None:
    assert parse('{"a": [1, 1.5, null, true, "x"]}') == parse("a:\n  - 1\n  - 1.5\n  - null\n  - true\n  - x\n")


def test_yaml_scalars_are_those_of_yaml_1_2() -> None:
    text = "a: no\nb: 2020-01-01\nc: 12:30\nd: 0x10\ne: 1e3\nf: ~\ng: 010\nh: '1'\n1: x\nno: y\ntrue: z\n"
    assert parse(text) == {
        "a": "no",
        "b": "2020-01-01",
        "c": "12:30",
        "d": 16,
        "e": 1000.0,
        "f": None,
        "g": "010",
        "h": "1",
        "1": "x",
        "no": "y",
        "true": "z",
    }


def test_merge_keys_and_aliases_work() -> None:
    assert parse("a: &x {t: 1}\nb:\n  <<: *x\n  u: 2\nc: *x\n") == {"a": {"t": 1}, "b": {"t": 1, "u": 2}, "c": {"t": 1}}


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    started = time.monotonic()
    with pytest.raises(SchemaInvalid, match="aliases"):
        parse("\n".join(lines))
    assert time.monotonic() - started < 30


def test_an_alias_bomb_of_merge_keys_is_refused() -> None:
    lines = ["a0: &a0 {x: 1, y: 2, z: 3}"]
    lines += [f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}, <<: *a{i - 1}}}" for i in range(1, 30)]
    with pytest.raises(SchemaInvalid, match="aliases"):
        parse("\n".join(lines))


def test_a_document_that_contains_itself_is_refused() -> None:
    with pytest.raises(SchemaInvalid, match="contains itself"):
        parse("a: &a\n  b: *a\n")


@pytest.mark.parametrize("opening", ["[", '{"a":', "- "])
def test_a_deep_document_is_refused(opening: str) -> None:
    with pytest.raises(SchemaInvalid):
        parse(opening * 5_000)
    with pytest.raises(SchemaInvalid):
        parse(opening * 200 + "1" + {"[": "]", '{"a":': "}"}.get(opening, "") * 200)


def test_a_large_document_is_refused() -> None:
    with pytest.raises(SchemaInvalid, match="larger"):
        parse("a: " + "x" * 2_000_000)
    with pytest.raises(SchemaInvalid, match="values"):
        parse("[" + "1," * 100_000 + "1]")
    with pytest.raises(SchemaInvalid, match="values"):
        parse("- 1\n" * 250_000)


@pytest.mark.parametrize(
    "text", ["title: [unclosed", "a: 1\na: 2\n", "!!python/object/apply:os.system ['true']", "? [a]\n: 1\n", "a: b: c"]
)
def test_text_that_is_no_plain_yaml_is_refused(text: str) -> None:
    with pytest.raises(SchemaInvalid):
        parse(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SchemaInvalid):
        parse_document(b"\xff\xfe\x00\x01{", "/test/1.0.0", LIMITS)


def test_depth_is_counted_in_levels_of_containers() -> None:
    assert not depth_exceeds({"a": [1]}, 2)
    assert depth_exceeds({"a": [[1]]}, 2)
    assert not depth_exceeds("text", 0)
    assert bytes_may_exceed_depth(b'{"a":[[1]]}', 2)
    assert not bytes_may_exceed_depth(b'{"a":[1]}', 2)
