"""What `split_optimistically` gives is either no JSON, or exactly what the parser finds."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.web.http.body import slice_events, split_optimistically

TOKENS = (
    rb"""{"$schema":  },{"$schema":  }, {"$schema":  "$  },{"$  "},{\\"$"  }  {  ]  [  ,  "a":  "  1  null  $""".split(
        b"  "
    )
)
TEXTS = st.text(st.sampled_from('{}[]",:$\\ aü'), max_size=8)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("$schema") | TEXTS, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(lambda schema, rest: {"$schema": schema, **rest}, VALUES, st.dictionaries(TEXTS, VALUES, max_size=3))


def parsed(slices: list[bytes]) -> list[object] | None:
    try:
        return [orjson.loads(one) for one in slices]
    except orjson.JSONDecodeError:
        return None


@given(st.lists(st.sampled_from([*TOKENS, b" ", b"\n", b"\\\\"]), max_size=12).map(b"".join))
def test_a_guess_that_parses_is_what_the_body_says_whatever_the_body_is(middle: bytes) -> None:
    body = b'[{"$schema":' + middle + b"}]"
    values = parsed(split_optimistically(body))
    if values is not None:
        assert orjson.loads(body) == values


@given(st.lists(EVENTS, min_size=1, max_size=5), st.sampled_from([(",", ":"), (", ", ": "), (",", ": "), (" , ", ":")]))
def test_a_guess_that_parses_gives_the_bytes_the_parser_gives(
    events: list[dict[str, object]], separators: tuple[str, str]
) -> None:
    body = json.dumps(events, separators=separators).encode()
    slices = split_optimistically(body)
    if parsed(slices) is not None:
        assert slices == slice_events(body, 100)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_plain_events_are_guessed_right(separators: tuple[str, str]) -> None:
    events = [{"$schema": "/a/1.0.0", "price": "5 $", "list": [{"a": 1}, {"$b": {}}]}, {"$schema": "/a/1.0.0"}]
    body = json.dumps(events, separators=separators).encode()
    assert split_optimistically(body) == slice_events(body, 100)


@pytest.mark.parametrize("body", [b"[]", b'[{"a":1}]', b'{"$schema":1}', b' [{"$schema":1}]', b'[{"$schema":1},2]'])
def test_what_does_not_look_like_such_an_array_is_left_to_the_parser(body: bytes) -> None:
    assert split_optimistically(body) == []
