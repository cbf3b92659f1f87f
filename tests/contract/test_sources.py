"""Every source keeps the contract; the streams of a log are one, whatever log it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from contract.kinds_of_logs import OnBrokers, OnOracleLog
from headwater.connectors.stream_source import StreamSource
from headwater.event import json_bytes
from headwater.log.contract import Commit, Log, Record, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.testing.clock import ManualClock
from headwater.testing.memory_source import MemoryPlace, MemorySource
from headwater.testing.oracle_log import OracleLog
from headwater.testing.suites.source import NewSource, Put, PutInto, SourceSuite, event, read_all

PARTITIONS = 3


class StreamSourceSuite(SourceSuite):
    @pytest.fixture
    async def topic(self, log: Log) -> None:
        await log.ensure_topic("edits.topic", TopicSettings(retention_seconds=60.0, partitions=PARTITIONS))

    @pytest.fixture
    def new_source(self, log: Log, topic: None) -> NewSource:
        return lambda: StreamSource(log, {"edits.topic": "edits"})

    @pytest.fixture
    def put(self, log: Log, topic: None) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            # One transaction each, so that there are gaps where the log makes them.
            for one in events:
                await log.append([Record("edits.topic", json_bytes(dict(one)), partition=0)], commit=Commit("g", "t"))

        return put

    @pytest.fixture
    def put_into(self, log: Log, topic: None) -> PutInto:
        async def put_into(partition: str, *events: Mapping[str, Any]) -> None:
            number = int(partition.removeprefix("edits.topic/"))
            await log.append([Record("edits.topic", json_bytes(dict(one)), partition=number) for one in events])

        return put_into


class TestStreamSourceOnOracleLog(OnOracleLog, StreamSourceSuite):
    implementations = (StreamSource,)


class TestStreamSourceOnBrokers(OnBrokers, StreamSourceSuite):
    implementations = (StreamSource,)


class TestStreamSourceOnSqlite(StreamSourceSuite):
    implementations = (StreamSource,)

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def log(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Log]:
        log = SqliteLog(tmp_path / "events.db", durability="os", clock=clock)
        await log.open()
        yield log
        await log.close()

    @pytest.fixture
    def lose(self, log: Log, clock: ManualClock) -> Callable[[], Awaitable[None]]:
        async def lose() -> None:
            clock.advance(3600)
            await log.trim()

        return lose


class TestMemorySource(SourceSuite):
    implementations = (MemorySource,)

    @pytest.fixture
    def place(self) -> MemoryPlace:
        return MemoryPlace()

    @pytest.fixture
    def new_source(self, place: MemoryPlace) -> NewSource:
        return lambda: MemorySource(place)

    @pytest.fixture
    def put(self, place: MemoryPlace) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            for one in events:
                place.put(one, next(iter(place.changes)))

        return put

    @pytest.fixture
    def position(self, place: MemoryPlace) -> Callable[[], Awaitable[str]]:
        async def position() -> str:
            return ",".join(f"{name}={len(changes)}" for name, changes in place.changes.items())

        return position

    @pytest.fixture
    def lose(self, place: MemoryPlace) -> Callable[[], Awaitable[None]]:
        async def lose() -> None:
            place.forgotten = {name: len(changes) for name, changes in place.changes.items()}

        return lose


class TestMemorySourceWithPartitions(TestMemorySource):
    @pytest.fixture
    def place(self) -> MemoryPlace:
        return MemoryPlace(("a", "b", "c"))

    @pytest.fixture
    def put_into(self, place: MemoryPlace) -> PutInto:
        async def put_into(partition: str, *events: Mapping[str, Any]) -> None:
            for one in events:
                place.put(one, partition)

        return put_into


async def test_a_stream_source_reads_all_partitions_and_passes_over_what_is_no_event() -> None:
    log = OracleLog()
    await log.open()
    await log.ensure_topic("a", TopicSettings(partitions=2))
    await log.ensure_topic("b", TopicSettings())
    values = [json_bytes(event(0)), b"", b"no json", b"[]", json_bytes(event(1))]
    await log.append([Record("a", value, partition=number % 2) for number, value in enumerate(values)])
    await log.append([Record("b", json_bytes(event(2)))])
    source = StreamSource(log, {"a": "edits", "b": "others"})
    await source.open(None)
    found = [delivery for delivery, _ in await read_all(source, deliveries_max=1)]
    assert sorted((delivery.stream, delivery.event_id) for delivery in found) == [
        ("edits", "id-0"),
        ("edits", "id-1"),
        ("others", "id-2"),
    ]
    assert source.malformed == 2
