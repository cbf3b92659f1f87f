"""Long bodies and long answers: divided and written in parts, with the same result as at once."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import load_config
from headwater.errors import EventMalformed, RequestTooLarge
from headwater.event import WrittenNumber, decode_event, has_written_numbers
from headwater.intake.judging import ON_THE_LOOP_BYTES_MAX, Judging
from headwater.intake.outcome import Refused
from headwater.platform import build
from headwater.testing.service_kit import served_project, write_project
from headwater.web.events import COMMAS_MAX, sliced
from headwater.web.http.body import slice_at_brackets

AS_JSON = {"content-type": "application/json"}
DRAFT_07 = "http://json-schema.org/draft-07/schema#"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize("member", [b"[]", b"{}", b"1", b'""', b"[1,2]"])
async def test_too_many_members_are_refused_before_they_are_made(member: bytes) -> None:
    body = b"[" + b",".join([member] * (COMMAS_MAX + 2)) + b"]"

    with pytest.raises(RequestTooLarge):
        await sliced(body, 1_000)


async def test_an_array_with_very_many_commas_within_its_events_is_divided_as_any_other() -> None:
    events = [b'{"a":[%b]}' % b",".join([b"1"] * COMMAS_MAX), b"{}", b"[1,2]"]

    assert await sliced(b"[" + b",".join(events) + b"]", 3) == events


@given(st.lists(JSON, max_size=6), st.integers(1, 6))
def test_members_are_counted_while_they_are_looked_for(values: list[object], most: int) -> None:
    body = orjson.dumps(values)

    try:
        found = slice_at_brackets(body, most)
    except RequestTooLarge:
        assert len(values) > most
    else:
        assert len(values) <= most
        assert [orjson.loads(one) for one in found if one] == values


@given(JSON, st.booleans())
def test_written_numbers_are_found_as_by_looking_at_each_part(value: object, has_one: bool) -> None:
    given_value = [value, {"a": [WrittenNumber("0.12345678901234567890")]}] if has_one else [value]

    assert has_written_numbers(given_value) is has_one


def test_a_long_text_that_has_to_be_read_slowly_is_refused_where_there_is_no_time_for_it() -> None:
    exact = b'{"a":0.12345678901234567890,"b":"%b"}' % (b"x" * 100)

    assert decode_event(exact, len(exact))[1] == exact
    with pytest.raises(EventMalformed, match="too long to read"):
        decode_event(exact, len(exact) - 1)
    # All others are read at once, however long they are.
    assert decode_event(b'{"a":1}', 0)[1] == b'{"a":1}'


def test_events_judged_in_threads_are_stored_and_refused_as_all_others(tmp_path: Path) -> None:
    properties = {"$schema": {"type": "string"}, "meta": {"type": "object"}, "a": {"items": {"type": "number"}}}
    schema = {"title": "list", "$id": "/list/1.0.0", "$schema": DRAFT_07, "type": "object", "properties": properties}
    write_project(tmp_path, [schema], [{"stream": "lists", "schema_title": "list"}])
    event = {"$schema": "/list/1.0.0", "meta": {"stream": "lists"}}
    texts = [
        orjson.dumps(event | {"a": [1] * count})[:-2] + b"," + last + b"]}"
        for count in (5, ON_THE_LOOP_BYTES_MAX) * 2
        for last in (b"1", b"0.12345678901234567890", b'"no number"', b"NaN")
    ]

    with served_project(tmp_path) as (url, _):
        answer = httpx.post(f"{url}/v1/events", content=b"[" + b",".join(texts) + b"]", headers=AS_JSON)
        counted = httpx.get(f"{url}/metrics").text

    document = answer.json()
    assert answer.reason_phrase.startswith("8 out of 16 events were accepted")
    assert [len(one["event"]["a"]) for one in document["invalid"]] == [6, ON_THE_LOOP_BYTES_MAX + 1] * 2
    assert ["NaN" in one["context"]["message"] for one in document["error"]] == [True] * 4
    assert answer.content == orjson.dumps(document)
    assert re.search(r"accepted.* 8(.0)?$", counted, re.MULTILINE)


def test_refusals_are_no_cycles_of_references(tmp_path: Path) -> None:
    write_project(tmp_path, [], [{"stream": "lists", "schema_title": "list"}])
    platform = build(load_config(tmp_path, environment={}, overrides={"log": {"url": f"sqlite:///{tmp_path}/log.db"}}))
    known = b'{"$schema":"/error/1.0.0","meta":{"stream":"%b"}}'
    texts = [
        b"{}",
        b"[]",
        b'{"a":x}',
        b'{"a":NaN}',
        b'{"a":1e400}',
        known % b"none",
        known % b"lists",
        known % b"_hidden",
    ]
    judging = Judging(platform.intake.gate)
    gc.collect()
    gc.disable()
    try:
        verdicts = judging.all(texts * 10, {})
        refused = sum(type(one) is Refused for one in verdicts)
        del verdicts
        left = sum(type(one) is Refused for one in gc.get_objects())
    finally:
        gc.enable()

    assert refused >= 50
    assert left == 0
