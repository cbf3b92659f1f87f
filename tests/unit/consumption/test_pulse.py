"""What many followed topics and many clients cost: an event wakes only its readers, and one look is for all tails."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headwater.config import ConsumptionConfig
from headwater.consumption.framing import Framer, Selection
from headwater.consumption.hub import Connection, StreamHub, StreamRequest
from headwater.consumption.tail import LiveTail
from headwater.log.contract import Position, Record, StoredRecord, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.other_writers import POLL_SECONDS_MAX
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.eventually import eventually, let_others_run
from headwater.testing.oracle_log import OracleLog

NAMES = [f"topic{number}" for number in range(20)]
STREAMS = StreamRegistry([Stream(name, topics=(name,)) for name in NAMES])
HEARTBEAT_SECONDS = 0.4


class CountingLog(OracleLog):
    """Counts what it is asked, and hides topics that are marked as gone."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.gone: set[str] = set()

    async def partition_counts(self, topics: Iterable[str]) -> Mapping[str, int]:
        self.asked["partition_counts"] += 1
        counts = await super().partition_counts(topics)
        return {name: count for name, count in counts.items() if name not in self.gone}

    async def first(self, topics: Iterable[str]) -> Position:
        self.asked["first"] += 1
        return await super().first(topics)

    async def last(self, topics: Iterable[str]) -> Position:
        self.asked["last"] += 1
        return await super().last(topics)

    async def read(self, position: Position, **options: Any) -> Sequence[StoredRecord]:
        self.asked["read"] += 1
        return await super().read(position, **options)


@pytest.fixture
async def log() -> CountingLog:
    log = CountingLog()
    await log.open()
    for name in NAMES:
        await log.ensure_topic(name, TopicSettings())
    return log


@contextlib.asynccontextmanager
async def clients(log: Any, count: int = len(NAMES)) -> AsyncIterator[tuple[StreamHub, list[Connection]]]:
    """A client for each of the topics, that has met its live tail."""
    hub = StreamHub(log, STREAMS, ConsumptionConfig(heartbeat_seconds=HEARTBEAT_SECONDS), Telemetry())
    connections = [await hub.connect(StreamRequest(hub.resolve([name]))) for name in NAMES[:count]]
    try:
        for connection in connections:
            assert b"retry" in (await connection.reader.next() or b"")
        assert await asyncio.gather(*(one.reader.next() for one in connections)) == [b":\n"] * count
        assert all(one.reader.is_live for one in connections)
        yield hub, connections
    finally:
        for connection in connections:
            await hub.disconnect(connection)
        await hub.close()


async def test_an_event_wakes_only_those_who_read_its_topic(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.open()
    try:
        for name in NAMES:
            await log.ensure_topic(name, TopicSettings())
        reading = [asyncio.create_task(log.read((await log.last([name])), wait_seconds=10)) for name in NAMES]
        await eventually(lambda: log.counts.waits >= len(NAMES))
        before = log.counts.looks
        await log.append([Record(NAMES[3], b"{}")])
        assert [record.topic for record in await reading[3]] == [NAMES[3]]
        await let_others_run()
        # One for the reader that was woken; a look of a reader that is not is one for each of the others.
        assert 1 <= log.counts.looks - before < len(NAMES) // 2
        assert sum(task.done() for task in reading) == 1
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    finally:
        await log.close()


async def test_own_commits_do_not_make_the_file_be_searched_for_every_topic_and_others_are_still_noticed(
    tmp_path: Path,
) -> None:
    log, other = SqliteLog(tmp_path / "log.db"), SqliteLog(tmp_path / "log.db")
    await log.open()
    try:
        for name in NAMES:
            await log.ensure_topic(name, TopicSettings())
        reading = [asyncio.create_task(log.read(await log.last([name]), wait_seconds=30)) for name in NAMES[1:]]
        await log.append([Record(NAMES[0], b"{}")])
        await eventually(lambda: log.counts.waits >= len(reading))
        before = log.counts.searches
        # At most one look at the file's version falls between two appends; the pause lets it happen.
        for _ in range(40):
            await log.append([Record(NAMES[0], b"{}")])
            await asyncio.sleep(POLL_SECONDS_MAX)
        # Where the machine holds the writer up, its commits cannot be told from others'; not each time.
        assert log.counts.searches - before < 20
        await other.open()
        for number, name in enumerate(NAMES[1:4]):
            await other.append([Record(name, b"{}")])
            async with asyncio.timeout(5):
                assert [record.topic for record in await reading[number]] == [name]
            await log.append([Record(NAMES[0], b"{}")])
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    finally:
        await other.close()
        await log.close()


async def test_one_look_for_new_partitions_is_for_all_tails_and_asks_for_no_offsets(log: CountingLog) -> None:
    async with clients(log) as (hub, _):
        assert hub.tails == len(NAMES)
        log.asked.clear()
        await asyncio.sleep(2 * HEARTBEAT_SECONDS)
        await eventually(lambda: log.asked["partition_counts"])
        asked = dict(log.asked)
    # Not one for each of the tails.
    assert 1 <= asked.pop("partition_counts") < len(NAMES)
    assert asked == {}


async def test_a_partition_added_to_one_topic_is_followed_and_others_are_still_read(log: CountingLog) -> None:
    async with clients(log) as (_, connections):
        log.asked.clear()
        await log.ensure_topic(NAMES[5], TopicSettings(partitions=2))
        await log.append([Record(NAMES[5], b'{"n":1}', partition=1), Record(NAMES[5], b'{"n":2}', partition=0)])
        got = b""
        async with asyncio.timeout(5):
            while b'"n":1' not in got or b'"n":2' not in got:
                got += await connections[5].reader.next() or b""
        assert Position.parse(connections[5].reader.tail.token.decode()) == await log.last([NAMES[5]])
        # The two of the grown one, and that which found the event of the partition it had.
        assert log.asked["read"] <= 3


async def test_only_clients_of_a_deleted_topic_get_a_notice(log: CountingLog) -> None:
    async with clients(log, 3) as (_, connections):
        log.gone.add(NAMES[1])
        got = b""
        async with asyncio.timeout(5):
            while (data := await connections[1].reader.next()) is not None:
                got += data
        assert b"event: error" in got
        assert b"topic_unknown" in got
        assert connections[0].reader.tail.failure is None
        await log.append([Record(NAMES[0], b'{"n":1}')])
        async with asyncio.timeout(5):
            while b'"n":1' not in (await connections[0].reader.next() or b""):
                pass


async def test_a_tick_wakes_those_whose_time_has_come_and_forgets_those_who_have_gone(log: CountingLog) -> None:
    async def look() -> Any:
        raise AssertionError("nothing was lost")

    framer = Framer("sse", Selection(), await log.last([NAMES[0]]))
    tail = LiveTail(log, framer, look=look, topics=(NAMES[0],), ring_bytes_max=1000)
    tail.start()
    early, late, left, moving = tail.wait(10.0), tail.wait(20.0), tail.wait(20.0), tail.wait_to_move()
    left.cancel()
    tail.tick(15.0)
    assert (early.done(), late.done(), moving.done()) == (True, False, True)
    tail.tick(20.0)
    assert late.done()
    await tail.stop()
    assert tail.wait(99.0).done()


async def test_growing_while_events_come_neither_loses_nor_repeats_one(log: CountingLog) -> None:
    async with clients(log, 1) as (_, connections):
        tail = connections[0].reader.tail
        got = b""
        async with asyncio.timeout(10):
            for number in range(50):
                await log.ensure_topic(NAMES[0], TopicSettings(partitions=number + 2))
                await log.append([Record(NAMES[0], b'{"n":%d,"m":0}' % number, partition=0)])
                tail.grow({(NAMES[0], number + 1): 0})
                if number % 3 == 0:
                    await asyncio.sleep(0)
            while got.count(b'"m":0') < 50:
                got += await connections[0].reader.next() or b""
    assert [got.count(b'"n":%d,' % number) for number in range(50)] == [1] * 50
