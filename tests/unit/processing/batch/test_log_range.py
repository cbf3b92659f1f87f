"""The records of a range of a log, read where an event loop runs already, as in a run in the order of arrival."""

from __future__ import annotations

from headwater.log.contract import Record, TopicSettings
from headwater.processing.batch.log_range import LogRange
from headwater.streams.stream import Stream
from headwater.testing.oracle_log import OracleLog

STREAMS = (Stream("a", schema_title="a", partitions=2), Stream("b", schema_title="b"))
# What is received when: the topic and its key, the second of receipt and that of the event.
RECEIVED = (
    ("a", b"1", 10, 1),
    ("b", b"x", 11, 9),
    ("a", b"2", 11, 3),
    ("a", b"1", 12, 11),
    ("b", b"x", 12, 12),
    ("a", b"3", 14, 10),
    ("b", b"x", 13, 2),
)


async def log_with(received: tuple[tuple[str, bytes, int, int], ...]) -> OracleLog:
    log = OracleLog()
    await log.open()
    for stream in STREAMS:
        await log.ensure_topic(stream.topics[0], TopicSettings(partitions=stream.partitions))
    for topic, key, seconds, at in received:
        headers = (("dt", b"1970-01-01T00:00:%02dZ" % at),)
        await log.append([Record(topic, b"{}", key, headers=headers, timestamp_ms=seconds * 1000)])
    await log.close()
    return log


async def test_records_of_several_partitions_come_as_they_were_received() -> None:
    log = await log_with(RECEIVED)
    found = [
        (record.topic, record.timestamp_ms // 1000, int(record.headers[0][1][17:19]))
        for record, _ in LogRange(log, STREAMS).records()
    ]
    expected = sorted(((topic, received, at) for topic, _, received, at in RECEIVED), key=lambda one: one[1:])
    assert found == expected


async def test_a_range_ends_where_the_log_ended_when_it_was_found() -> None:
    log = await log_with(RECEIVED[:3])
    some = LogRange(log, STREAMS)
    end = some.find_end()
    await log.open()
    await log.append([Record("b", b"{}", b"x")])
    await log.close()
    assert len(list(some.records())) == 3
    assert len(list(LogRange(log, STREAMS, end=end).records())) == 3
    assert len(list(LogRange(log, STREAMS).records())) == 4


async def test_a_range_that_is_not_read_to_its_end_closes_the_log() -> None:
    log = await log_with(RECEIVED)
    records = iter(LogRange(log, STREAMS).records())
    next(records)
    records.close()  # type: ignore[attr-defined]
    assert len(list(LogRange(log, STREAMS).records())) == len(RECEIVED)
