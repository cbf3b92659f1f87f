"""Fuzz targets for text in URLs: filters, resume tokens and requests to the legacy stream API."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.consumption.filter import TEXT_CHARS_MAX, parse_filter
from headwater.consumption.resume import parse_legacy, parse_since
from headwater.errors import FilterInvalid, TimestampInvalid, TokenInvalid
from headwater.log.contract import Position
from headwater.streams.legacy.api import Parameters, answer
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.testing.fuzzing.campaign import Outcome
from headwater.testing.fuzzing.target import STRANGERS_SECONDS_MAX, FromNetwork

_QUESTION_BYTES_MAX = 16_384


class Filters(FromNetwork):
    """Filter expressions, and the events they are applied to."""

    name = "filters"
    modules: Sequence[str] = ("headwater.consumption.filter",)
    examples: Sequence[bytes] = (
        b'wiki == "enwiki" and (bytes > 100 or not bot)',
        b'page.title ~ "A*b?" && a in ["x", 1, null]',
        b'list contains 5 or title startswith "x" or title endswith "y" and !(a != -1.5e3)',
        b'list contains "x" and not (page.title <= "b" || a >= 9007199254740993) and bot in [true, false]',
    )
    words: Sequence[bytes] = (
        *(b" and ", b" or ", b" not ", b" in ", b" contains ", b" startswith ", b" endswith ", b"true", b"null"),
        *(
            b"(",
            b")",
            b",",
            b"[",
            b"]",
            b"==",
            b"!=",
            b"<=",
            b">",
            b"&&",
            b"||",
            b"!",
            b"~",
            b'"',
            b"a.b.c",
            b'"*a*a*a*a*b"',
        ),
        *(b"not not not ", b"((((((((", b"page.title", b"list", b'"\\u0041"', b"title"),
    )
    _EVENTS: tuple[Any, ...] = (
        {"wiki": "enwiki", "bytes": 5, "bot": True, "page": {"title": "a" * 2_000}, "list": list(range(500)), "a": 1.0},
        {"title": None, "list": {}, "a": [], "page": "x"},
        {"title": "xy", "list": ["x", None, {"a": 1}], "a": 9_007_199_254_740_993, "page": {"title": ["b"]}},
        {},
    )

    def run(self, data: bytes) -> Outcome:
        try:
            parsed = parse_filter(data.decode("utf-8", "replace"))
        except FilterInvalid:
            return Outcome("refused")
        if len(parsed.text) <= TEXT_CHARS_MAX and parse_filter(parsed.text).text != parsed.text:
            raise AssertionError(f"the canonical text of a filter is another filter: {parsed.text!r}")
        matched = [parsed.matches(event) for event in self._EVENTS]
        return Outcome("matches" if any(matched) else "matches nothing")


class Tokens(FromNetwork):
    """Resume tokens, legacy arrays and start times."""

    name = "tokens"
    modules: Sequence[str] = ("headwater.consumption.resume", "headwater.times")
    examples: Sequence[bytes] = (
        Position({("eqiad.demo.edit", 0): 5, ("x", 11): 2**40}).token().encode(),
        b'[{"topic":"eqiad.demo.edit","partition":0,"offset":5},{"topic":"a","partition":1,"timestamp":1700000000000}]',
        b'["a","b"]',
        b'"[{\\"topic\\":\\"a\\",\\"partition\\":0,\\"offset\\":-1}]"',
        b"2026-01-01T00:00:00.123Z",
        b"20260101T000000+01",
        b"Thu, 01 Jan 2026 00:00:00 +0100",
        b"1700000000000",
    )
    words: Sequence[bytes] = (
        *(b"hw1", b";", b":", b"=", b",", b'"topic"', b'"offset":', b'"partition":', b'"timestamp":', b"-1", b"null"),
        *(b"+24:00", b"GMT", b"T", b"%2F", b"%", b"2026-02-29", b"Feb", b"-"),
    )

    def run(self, data: bytes) -> Outcome:
        text = data.decode("utf-8", "replace")
        what = []
        with contextlib.suppress(TokenInvalid):
            position = Position.parse(text)
            if Position.parse(position.token()) != position:
                raise AssertionError("a token read and written is another position")
            what.append("token")
        with contextlib.suppress(TokenInvalid):
            parse_legacy(text)
            what.append("legacy token")
        with contextlib.suppress(TimestampInvalid):
            parse_since(text)
            what.append("time")
        return Outcome(" and ".join(what) or "refused")


class StreamConfigs:
    """Query strings and forms of the legacy stream API, with its nested constraints; a line break divides the two."""

    name = "streamconfigs"
    modules: Sequence[str] = ("headwater.streams.legacy.api", "headwater.streams.legacy.constraints")
    stall_seconds_max = STRANGERS_SECONDS_MAX
    examples: Sequence[bytes] = (
        b"action=streamconfigs&format=json&constraints=destination_event_service%3Da%7Cproducers%5Bx%5D%5By%5D%3D1",
        b"action=streamconfigs&streams=demo.edit%7Cjobs.a&all_settings=1&formatversion=2&requestid=x\nstreams=a&ascii=1",
        b"streams=%1Fdemo.edit%1Fjobs.a&constraints[]=a&constraints=sample%5Brate%5D%3D0.5&topics_only=true",
        b"constraints=stream%3D%2F%5Ejobs%2F&format=php&errorformat=plaintext&uselang=de",
    )
    words: Sequence[bytes] = (
        *(b"constraints=", b"streams=", b"action=", b"format=", b"all_settings=1", b"&", b"=", b"%5B", b"%5D", b"%7C"),
        *(b"|", b"[", b"]", b"%1F", b"%3D", b"stream", b"producers", b"[0]", b"[a][b][c]", b"demo.edit", b"\n"),
    )
    _STREAMS: Mapping[str, bytes] = {
        "demo.edit.yaml": b"stream: demo.edit\nschema_title: demo/edit\nproduce: {destination_event_service: a}\n"
        b"extra: {producers: {x: {y: 1}}, list: [1, 2.5, null], map: {a: {b: 1}}}\n",
        "families/jobs.yaml": b"stream: /^jobs\\..+/\nschema_title: job\nextra: {consumers: {x: {y: '1'}}}\n",
    }

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "families").mkdir()
            for file, text in self._STREAMS.items():
                (Path(name) / file).write_bytes(text)
            self._entries: Sequence[Stream] = StreamRegistry.load(Path(name)).entries()
        yield

    def run(self, data: bytes) -> Outcome:
        # It is answered in a thread, so only disproportionate times count.
        data = data[:_QUESTION_BYTES_MAX]
        query, _, form = data.decode("latin-1").partition("\n")
        answered = answer(self._entries, Parameters.parse(query, form))
        return Outcome(answered.error_code or f"streams as {answered.content_type.partition(';')[0]}")
