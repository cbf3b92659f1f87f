"""Clients whose position is of a replaced log: they get a notice, and never events of the wrong place."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import ConsumptionConfig
from headwater.consumption.framing import NOTICE_STREAM, TokenWriter
from headwater.consumption.hub import StreamHub
from headwater.consumption.offset_ranges import OffsetRanges
from headwater.consumption.resume import find_start
from headwater.errors import PositionLost, TokenInvalid
from headwater.log.contract import Log, Position, Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.log.token_marks import holds, mark_of, marked, marks_in, marks_of, replaced
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.oracle_log import OracleLog
from headwater.testing.stream_kit import RawAnswer, request, serving_streams

TOPICS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
MARKS = st.dictionaries(TOPICS, st.binary(max_size=9).map(lambda one: mark_of(one.hex())), max_size=4)


@given(st.dictionaries(st.tuples(TOPICS, st.integers(0, 99)), st.integers(0, 10**12), max_size=6), MARKS, st.booleans())
def test_a_marked_token_is_the_same_position_and_says_its_marks(
    offsets: dict[tuple[str, int], int], marks: dict[str, str], again: bool
) -> None:
    position = Position(offsets)
    token = marked(position.token(), marks)
    if again:
        token = marked(token, marks)
    assert Position.parse(token) == position
    assert marks_in(token) == {topic: mark for topic, mark in marks.items() if topic in position.topics()}
    assert TokenWriter(position, marks=marks).token().decode() == token
    assert marked(token, {}) == position.token()
    assert marks_in(position.token()) == {}
    legacy = json.loads(TokenWriter(position, legacy=True, marks=marks).token())
    assert {(one["topic"], one["partition"]): one["offset"] for one in legacy} == offsets
    assert {one["topic"]: one["log"] for one in legacy if "log" in one} == marks_in(token)


@pytest.mark.parametrize("mark", ["@", "@é", "@a=b", "@a b", "@a@b", "@%41"])
def test_an_invalid_mark_is_refused(mark: str) -> None:
    with pytest.raises(TokenInvalid):
        Position.parse(f"hw1;edits{mark}:0=1")


def test_of_what_carries_no_mark_nothing_is_known() -> None:
    nothing = Position()
    assert replaced(nothing, {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"}, {}) == {"b"}
    assert replaced(nothing, {}, {"a": "1"}, {}) == frozenset()


def test_positions_of_a_log_that_was_copied_hold_up_to_the_end_of_the_copy() -> None:
    former = {"a": {"its id": {0: 5, 1: 7}}}
    for one in ("its id", mark_of("its id")):
        assert holds(former, "a", one, Position({("a", 0): 5, ("a", 1): 0, ("b", 0): 99}))
        assert not holds(former, "a", one, Position({("a", 0): 6}))
        assert not holds(former, "a", one, Position({("a", 2): 0}))
    assert not holds(former, "a", "another", Position({("a", 0): 0}))
    assert not holds(former, "b", "its id", Position())


async def _filled(log: Log, count: int, *, topics: tuple[str, ...] = ("edits",), first: int = 0) -> Log:
    await log.open()
    for topic in topics:
        await log.ensure_topic(topic, TopicSettings())
        await log.append(
            [
                Record(topic, orjson.dumps({"meta": {}, "n": n}), timestamp_ms=1000 + n)
                for n in range(first, first + count)
            ]
        )
    return log


@contextlib.asynccontextmanager
async def _old_and_new(kind: str, path: Path, new: int) -> AsyncIterator[tuple[Log, Log]]:
    """A log of ten events, and another one of `new` that took its place."""
    logs: list[Log] = [OracleLog(), OracleLog()]
    if kind == "sqlite":
        logs = [SqliteLog(path / "old.db"), SqliteLog(path / "new.db")]
    old, there = await _filled(logs[0], 10), await _filled(logs[1], new, first=100)
    yield old, there
    await old.close()
    await there.close()


def _hub(log: Log, **settings: Any) -> StreamHub:
    config = ConsumptionConfig(heartbeat_seconds=0.4, **settings)
    return StreamHub(log, StreamRegistry([Stream("edits"), Stream("other")]), config, Telemetry())


@contextlib.asynccontextmanager
async def _client(log: Log, path: str, headers: dict[str, str], **settings: Any) -> AsyncIterator[RawAnswer]:
    async with serving_streams(_hub(log, **settings)) as port:
        answer = await request(port, path, headers)
        yield answer
        answer.hang_up()


async def _last_id(log: Log, form: str, count: int = 5) -> str:
    """The id that a client of `log` has after `count` events."""
    async with _client(log, f"/v2/stream/edits?since=0&id={form}", {}) as answer:
        assert await answer.until(b'"n":%d' % (count - 1))
        ids = [frame.id for frame in answer.frames() if frame.data is not None]
        return ids[count - 1] or ""


@pytest.mark.parametrize(("kind", "form"), [("sqlite", "token"), ("sqlite", "legacy"), ("oracle", "token")])
@pytest.mark.parametrize("new", [1, 5, 30], ids=["shorter", "as long", "longer"])
@pytest.mark.parametrize("since", ["", "&since=0"], ids=["", "since"])
async def test_a_client_of_a_replaced_log_gets_a_notice_and_begins_as_one_without_a_position(
    kind: str, form: str, new: int, since: str, tmp_path: Path
) -> None:
    async with _old_and_new(kind, tmp_path, new) as (old, there):
        last_id = await _last_id(old, form)
        path = f"/v2/stream/edits?x=1{since}"
        async with _client(there, path, {"last-event-id": last_id}) as answer:
            assert await answer.until(b"position-lost")
            await there.append([Record("edits", b'{"meta":{},"n":200}')])
            assert await answer.until(b'"n":200')
            frames = [frame for frame in answer.frames() if frame.data is not None]
        told = frames[0]
        resumed = 0 if since else new
        assert told.event == "position-lost"
        assert told.value() == {
            "topic": "edits", "partition": 0, "asked": 5, "resumed": resumed, "reason": "log_replaced",
        }  # fmt: skip
        expected = [*range(100, 100 + new), 200] if since else [200]
        assert [frame.value()["n"] for frame in frames[1:]] == expected
        # What the notice has for an id is a position of the log there is.
        async with _client(there, "/v2/stream/edits", {"last-event-id": told.id or ""}) as again:
            assert await again.until(b'"n":200')
            assert b"position-lost" not in again.body


@pytest.mark.parametrize(
    ("kind", "form", "where", "method"),
    [
        ("sqlite", "token", "last-event-id", "GET"),
        ("sqlite", "legacy", "last_event_id", "GET"),
        ("oracle", "token", "lastEventId", "GET"),
        ("oracle", "legacy", "last-event-id", "HEAD"),
    ],
)
async def test_where_it_is_to_stop_a_client_of_another_log_is_refused_before_the_stream_begins(
    kind: str, form: str, where: str, method: str, tmp_path: Path
) -> None:
    async with _old_and_new(kind, tmp_path, 30) as (old, there):
        last_id = await _last_id(old, form)
        hub = _hub(there, on_replaced_log="stop")
        async with serving_streams(hub) as port:
            query = "" if where == "last-event-id" else f"?{where}={orjson.dumps(last_id).decode().replace(' ', '')}"
            query = query.replace('"', "%22").replace(";", "%3B")
            headers = {"last-event-id": last_id} if where == "last-event-id" else {}
            answer = await request(port, f"/v2/stream/edits{query}", headers, method=method)
            await answer.to_end()
            assert answer.status == 410
            if method == "GET":
                problem = json.loads(answer.body)
                assert (problem["type"], problem["status"]) == ("position_lost", 410)
                assert "since" in problem["hint"]
            answer.hang_up()
            good = await request(port, "/v2/stream/edits?since=0", {})
            assert good.status == 200
            good.hang_up()


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "application/cloudevents+json"])
async def test_readers_of_lines_get_the_notice_as_a_line(accept: str, tmp_path: Path) -> None:
    async with _old_and_new("sqlite", tmp_path, 30) as (old, there):
        last_id = await _last_id(old, "token")
        async with _client(there, "/v2/stream/edits", {"last-event-id": last_id, "accept": accept}) as answer:
            assert await answer.until(b"log_replaced")
            line = next(json.loads(one) for one in answer.body.split(b"\n") if one)
    if "cloudevents" in accept:
        assert line["type"] == NOTICE_STREAM
        assert {"specversion", "id", "source"} <= line.keys()
        line = line["data"]
    assert line["meta"]["stream"] == NOTICE_STREAM
    assert (line["notice"], line["topic"], line["asked"], line["resumed"]) == ("position-lost", "edits", 5, 30)
    assert Position.parse(line["last_event_id"]) == Position({("edits", 0): 30})


@pytest.mark.parametrize("stops", [False, True])
async def test_tokens_without_marks_and_those_of_the_log_itself_go_on_where_they_were(stops: bool) -> None:
    log = await _filled(OracleLog(), 10)
    offset_range = await OffsetRanges(log).of(["edits"])
    marks = await marks_of(log, ["edits"])
    legacy = {"topic": "edits", "partition": 0, "offset": 5}
    for last_event_id in (
        "hw1;edits:0=5",
        marked("hw1;edits:0=5", marks),
        json.dumps([legacy]),
        json.dumps([{**legacy, "log": marks["edits"]}]),
        json.dumps([{**legacy, "log": 7}]),
    ):
        start = await find_start(log, offset_range, last_event_id=last_event_id, since=None, stops=stops)
        assert (start.position, start.lost) == (Position({("edits", 0): 5}), ())


@pytest.mark.parametrize(
    "entry", [{"timestamp": 1004}, {"offset": -1}, {"offset": -2}], ids=["a time", "the end", "the beginning"]
)
async def test_what_a_legacy_array_says_without_an_offset_is_of_any_log(entry: dict[str, int]) -> None:
    log = await _filled(OracleLog(), 10)
    array = json.dumps([{"topic": "edits", "partition": 0, "log": "ffffffff", **entry}])
    start = await find_start(log, await OffsetRanges(log).of(["edits"]), last_event_id=array, since=None, stops=True)
    assert start.lost == ()


class _MadeAgain(OracleLog):
    """As a cluster: each topic has an id of its own."""

    async def topic_ids(self, topics: Any) -> dict[str, str]:
        return {name: f"{name} {self.again.get(name, 0)}" for name in topics if name in self._settings}

    again: dict[str, int]


@pytest.mark.parametrize("partitions", [1, 3], ids=["fewer partitions than before", "more partitions than before"])
async def test_of_several_topics_only_the_recreated_one_begins_again(partitions: int) -> None:
    log = _MadeAgain()
    log.again = {}
    await _filled(log, 10, topics=("edits", "other"))
    token = marked("hw1;edits:0=5,1=2;other:0=4", await marks_of(log, ["edits", "other"]))
    log.again["edits"] = 1
    await log.ensure_topic("edits", TopicSettings(partitions=partitions))
    offset_range = await OffsetRanges(log).of(["edits", "other"])
    start = await find_start(log, offset_range, last_event_id=token, since=None)
    assert start.position == Position({**offset_range.next, ("other", 0): 4})
    assert {lost.topic for lost in start.lost} == {"edits"}
    with pytest.raises(PositionLost, match="edits"):
        await find_start(log, offset_range, last_event_id=token, since=None, stops=True)


async def test_where_it_is_to_stop_a_position_beyond_the_end_is_refused_but_none_that_retention_overtook() -> None:
    now = 1_700_000_000.0
    log = OracleLog(clock=lambda: now)
    await log.open()
    await log.ensure_topic("edits", TopicSettings(retention_seconds=10))
    await log.append([Record("edits", b"{}")])
    now += 100
    await log.append([Record("edits", b"{}")])
    await log.trim()
    offset_range = await OffsetRanges(log).of(["edits"])
    with pytest.raises(PositionLost):
        await find_start(log, offset_range, last_event_id="hw1;edits:0=9", since=None, stops=True)
    start = await find_start(log, offset_range, last_event_id="hw1;edits:0=0", since=None, stops=True)
    assert [lost.resumed for lost in start.lost] == [1]
