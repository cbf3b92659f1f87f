"""Where a client resumes: tokens, legacy arrays, `since`, and what happens to positions the log does not have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.consumption.filter import parse_filter
from headwater.consumption.framing import Framer, Selection, TokenWriter
from headwater.consumption.offset_ranges import OffsetRanges
from headwater.consumption.resume import Lost, find_start, parse_legacy, parse_since, unquoted
from headwater.consumption.subscription import Subscription
from headwater.errors import ConfigInvalid, TimestampInvalid, TokenInvalid, TopicUnknown
from headwater.log.contract import Position, Record, TopicSettings
from headwater.streams.stream import Stream
from headwater.testing.oracle_log import OracleLog

NOVEMBER_MS = 1_700_000_000_000


class _Clock:
    seconds = NOVEMBER_MS / 1000

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
async def log(clock: _Clock) -> OracleLog:
    """`a` with two partitions of 4 and 2 records, one a second; `b` with one of 3."""
    log = OracleLog(clock=clock)
    await log.open()
    await log.ensure_topic("a", TopicSettings(partitions=2))
    await log.ensure_topic("b", TopicSettings())
    for topic, partition in [("a", 0), ("a", 0), ("b", 0), ("a", 1), ("a", 0), ("b", 0), ("a", 0), ("b", 0), ("a", 1)]:
        await log.append([Record(topic, b'{"meta":{}}', partition=partition)])
        clock.seconds += 1
    return log


async def _start(log: OracleLog, *, last_event_id: str | None = None, since: str | None = None):  # type: ignore[no-untyped-def]
    return await find_start(log, await OffsetRanges(log).of(["a", "b"]), last_event_id=last_event_id, since=since)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2023-11-14T22:13:20Z", NOVEMBER_MS),
        ("2023-11-14T22:13:20", NOVEMBER_MS),
        ("2023-11-14T23:13:20+01:00", NOVEMBER_MS),
        ("2023-11-14T23:13:20 01:00", NOVEMBER_MS),
        ("2023-11-14 22:13:20", NOVEMBER_MS),
        ("2023-11-14T22:13:20.500Z", NOVEMBER_MS + 500),
        ("Tue, 14 Nov 2023 22:13:20 GMT", NOVEMBER_MS),
        ("2023-11-14", NOVEMBER_MS - 80_000_000),
        ("1700000000000", NOVEMBER_MS),
        ("1700000000", NOVEMBER_MS),
        ("1700000000.25", NOVEMBER_MS + 250),
        ("0", 0),
        ("", None),
        ("  ", None),
    ],
)
def test_since_is_an_iso_date_time_or_an_epoch_in_seconds_or_milliseconds(text: str, milliseconds: int | None) -> None:
    if text == "2023-11-14":
        milliseconds = 1_699_920_000_000
    assert parse_since(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        *("notadate", "2023-13-40", "tomorrow", "1e999", "१२३", "9" * 40, "\0"),
        *("Thu, 01 Jan " + "1" * 40 + " 00:00:00 GMT", "Thu, 99999999999 Jan 2026 00:00:00 GMT"),
    ],
)
def test_any_other_since_is_refused(text: str) -> None:
    with pytest.raises(TimestampInvalid, match="not parseable"):
        parse_since(text)


async def test_without_anything_a_client_starts_at_the_end(log: OracleLog) -> None:
    assert (await _start(log)).position == Position({("a", 0): 4, ("a", 1): 2, ("b", 0): 3})
    assert (await _start(log, since="")).position == Position({("a", 0): 4, ("a", 1): 2, ("b", 0): 3})


async def test_since_starts_every_partition_at_its_first_record_of_that_time(log: OracleLog) -> None:
    start = await _start(log, since=str(NOVEMBER_MS + 4000))
    assert start.position == Position({("a", 0): 2, ("a", 1): 1, ("b", 0): 1})
    assert (await _start(log, since="0")).position == Position({("a", 0): 0, ("a", 1): 0, ("b", 0): 0})
    assert (await _start(log, since="2100-01-01")).position == (await _start(log)).position


async def test_a_token_is_taken_exactly_and_wins_over_since(log: OracleLog) -> None:
    position = Position({("a", 0): 1, ("a", 1): 2, ("b", 0): 0})
    start = await _start(log, last_event_id=position.token(), since="0")
    assert (start.position, start.listed, start.lost) == (position, False, ())


async def test_partitions_made_since_the_token_are_read_from_their_beginning_and_added_topics_from_their_end(
    log: OracleLog,
) -> None:
    start = await _start(log, last_event_id=Position({("a", 0): 3}).token())
    assert start.position == Position({("a", 0): 3, ("a", 1): 0, ("b", 0): 3})


async def test_a_token_of_other_streams_is_refused_and_says_which_partition(log: OracleLog) -> None:
    with pytest.raises(TokenInvalid, match="zzz:0"):
        await _start(log, last_event_id=Position({("zzz", 0): 3}).token())
    with pytest.raises(TokenInvalid, match="a:7"):
        await _start(log, last_event_id=Position({("a", 7): 3}).token())


@pytest.mark.parametrize("token", ["hw1;", "hw1;a", "hw1;a:0", "hw1;a:0=x", "hw1;a:0=-1", "hw1;:0=1", "hw2;a:0=1"])
async def test_a_damaged_token_is_refused(log: OracleLog, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await _start(log, last_event_id=token)


async def test_a_position_ahead_of_the_log_moves_back_to_its_end_with_a_notice(log: OracleLog) -> None:
    token = Position({("a", 0): 99, ("a", 1): 1, ("b", 0): 3}).token()
    start = await _start(log, last_event_id=token)
    assert start.position == Position({("a", 0): 4, ("a", 1): 1, ("b", 0): 3})
    assert start.lost == (Lost("a", 0, 99, 4),)


async def test_a_position_that_retention_has_overtaken_moves_up_to_the_oldest_kept_with_a_notice(
    log: OracleLog, clock: _Clock
) -> None:
    await log.ensure_topic("b", TopicSettings(retention_seconds=1))
    clock.seconds += 1000
    await log.trim()
    first = (await log.first(["b"])).offsets["b", 0]
    assert first > 0
    start = await _start(log, last_event_id=Position({("a", 0): 0, ("a", 1): 0, ("b", 0): 0}).token())
    assert start.position.offsets["b", 0] == first
    assert start.lost == (Lost("b", 0, 0, first),)


async def test_a_legacy_array_with_offsets_follows_only_what_it_lists(log: OracleLog) -> None:
    start = await _start(log, last_event_id='[{"topic":"a","partition":0,"offset":2}]')
    assert start.position == Position({("a", 0): 2})
    assert start.listed
    whole = await _start(
        log,
        last_event_id='[{"topic":"a","partition":0,"offset":-2},{"topic":"a","partition":1,"offset":-1},'
        '{"topic":"b","partition":0,"timestamp":1700000005000,"offset":1}]',
    )
    assert whole.position == Position({("a", 0): 0, ("a", 1): 2, ("b", 0): 1})
    assert not whole.listed


async def test_a_legacy_array_with_timestamps_starts_at_the_first_record_of_that_time(log: OracleLog) -> None:
    entry = '{"topic":"a","partition":%d,"timestamp":%d}'
    start = await _start(log, last_event_id=f"[{entry % (0, NOVEMBER_MS + 1001)},{entry % (1, NOVEMBER_MS * 2)}]")
    assert start.position == Position({("a", 0): 2, ("a", 1): 2})


@pytest.mark.parametrize("text", ['["a","b"]', '"a,b"'])
async def test_topic_names_alone_start_at_their_ends(log: OracleLog, text: str) -> None:
    assert (await _start(log, last_event_id=text)).position == (await _start(log)).position


async def test_a_legacy_array_of_other_topics_is_refused(log: OracleLog) -> None:
    with pytest.raises(TopicUnknown, match="Topics x,y are not available"):
        await _start(log, last_event_id='["y","a","x"]')
    with pytest.raises(TopicUnknown, match="no partition 9"):
        await _start(log, last_event_id='[{"topic":"a","partition":9,"offset":0}]')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "5",
        "null",
        '["a", {"topic":"a","partition":0,"offset":0}]',
        '[{"partition":0,"offset":0}]',
        '[{"topic":"a","offset":0}]',
        '[{"topic":"a","partition":0}]',
        '[{"topic":"a","partition":"0","offset":0}]',
        '[{"topic":"a","partition":0,"offset":"0"}]',
        '[{"topic":"a","partition":true,"offset":0}]',
        '[{"topic":"a","partition":-1,"offset":0}]',
        '[{"topic":"a","partition":0,"offset":99999999999999999999}]',
        "[" * 100_000,
    ],
)
def test_any_other_last_event_id_is_refused(text: str) -> None:
    with pytest.raises(TokenInvalid):
        parse_legacy(text)


async def test_streams_none_of_whose_topics_exist_are_the_operators_mistake(log: OracleLog) -> None:
    with pytest.raises(ConfigInvalid, match="No topics available"):
        await OffsetRanges(log).of(["ghost"])
    assert (await OffsetRanges(log).of(["ghost", "b"])).topics() == {"b"}


@pytest.mark.parametrize(
    "offsets",
    [
        {},
        {("a", 0): 5},
        {("a", 0): 5, ("a", 1): 0, ("a", 10): 3},
        {("b.c", 0): 5, ("a;:%=,", 3): 0, ("ü", 1): 7},
    ],
)
def test_the_token_writer_writes_what_the_position_would(offsets: dict[tuple[str, int], int]) -> None:
    position = Position(offsets)
    assert TokenWriter(position).token().decode() == position.token()
    if offsets:
        assert Position.parse(TokenWriter(position).token().decode()) == position


async def test_every_token_of_a_framer_is_that_of_the_position_after_its_record(log: OracleLog) -> None:
    position = await log.first(["a", "b"])
    records = await log.read(position)
    framer = Framer("sse", Selection(), position)
    chunk = framer.frames(records)
    ids = [line[4:] for line in chunk.data.decode().split("\n") if line.startswith("id: ")]
    expected = []
    for record in records:
        position = position.after(record)
        expected.append(position.token())
    assert ids == expected
    assert chunk.position == position
    assert chunk.token.decode() == position.token()


async def test_a_subscription_gives_each_event_its_token_and_passes_what_the_filter_removes(log: OracleLog) -> None:
    streams = [Stream("a", topics=("a",)), Stream("b", topics=("b",))]
    subscription = Subscription(
        log, streams, start=await log.first(["a", "b"]), filter=parse_filter('meta.topic == "b"')
    )
    delivered = await subscription.next()
    assert delivered is not None
    assert [record.topic for record, _ in delivered.events] == ["b", "b", "b"]
    assert delivered.token == (await log.last(["a", "b"])).token()
    assert await subscription.next(wait_seconds=0) is None
    again = Subscription(log, streams, start=Position.parse(delivered.events[0][1]))
    async for batch in again:
        assert delivered.events[0][0] not in [record for record, _ in batch.events]
        break


NAMES_OF_TOPICS = st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True)
POSITIONS = st.dictionaries(st.tuples(NAMES_OF_TOPICS, st.integers(0, 40)), st.integers(0, 2**53), min_size=1)


@given(POSITIONS, st.booleans(), st.lists(st.sampled_from(["quoted", "in a list", "with space"]), max_size=3))
def test_an_id_is_the_same_however_often_it_was_made_json_text_of(
    offsets: dict[tuple[str, int], int], legacy: bool, steps: list[str]
) -> None:
    given_out = text = TokenWriter(Position(offsets), legacy=legacy).token().decode()
    for step in steps:
        as_text: Any = {"quoted": text, "in a list": [text]}.get(step)
        text = json.dumps(as_text) if as_text is not None else f" {text}\n"
    assert unquoted(text) == given_out
    if legacy:
        entries = parse_legacy(unquoted(text))
        assert {(one.topic, one.partition): one.offset for one in entries if not isinstance(one, str)} == offsets
    else:
        assert Position.parse(unquoted(text)).offsets == offsets


@given(st.text(max_size=30))
def test_whatever_else_is_given_as_an_id_stays_as_it_is(text: str) -> None:
    given_back = json.dumps(f"topic {text}")
    assert unquoted(given_back) == given_back
    assert unquoted(json.dumps([text, "b"])) == json.dumps([text, "b"])
