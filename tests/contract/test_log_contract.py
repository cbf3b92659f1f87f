"""Every log keeps the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.kinds_of_logs import linked_log, opened
from headwater.log.contract import Features, Log, TopicSettings
from headwater.log.sqlite.linked import LinkedLog
from headwater.log.sqlite.log import SqliteLog
from headwater.testing.clock import ManualClock
from headwater.testing.faulty_log import FaultyLog
from headwater.testing.oracle_kafka import OracleKafkaLog
from headwater.testing.oracle_log import OracleLog
from headwater.testing.suites.log import InspectableLogSuite, LogSuite


class TestOracleLog(LogSuite):
    implementations = (OracleLog,)

    @pytest.fixture
    async def log(self, clock: ManualClock) -> AsyncIterator[Log]:
        async with opened(OracleLog(clock=clock)) as log:
            yield log


class TestFaultyLog(LogSuite):
    """With none of its faults switched on."""

    implementations = (FaultyLog,)

    @pytest.fixture
    async def log(self, clock: ManualClock) -> AsyncIterator[Log]:
        async with opened(FaultyLog(clock=clock)) as log:
            yield log


class PlainLog(OracleLog):
    """Declares as little as a log can."""

    features = Features(transactional_commit=False, keyed_state=False, seek_by_time=False, compaction=True)


class TestLogWithoutFeatures(LogSuite):
    implementations = (PlainLog,)

    @pytest.fixture
    async def log(self, clock: ManualClock) -> AsyncIterator[Log]:
        async with opened(PlainLog(clock=clock)) as log:
            yield log


class TestOracleKafkaLog(LogSuite):
    implementations = (OracleKafkaLog,)

    @pytest.fixture
    async def log(self, clock: ManualClock) -> AsyncIterator[Log]:
        async with opened(OracleKafkaLog(clock=clock)) as log:
            yield log


class TestSqliteLog(InspectableLogSuite):
    implementations = (SqliteLog,)

    @pytest.fixture
    async def log(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Log]:
        async with opened(SqliteLog(tmp_path / "events.db", clock=clock)) as log:
            yield log


class TestSqliteLogWithoutMemory(InspectableLogSuite):
    """The same with a cache and a write-ahead log too small to be of use."""

    @pytest.fixture
    async def log(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Log]:
        async with opened(
            SqliteLog(
                tmp_path / "events.db",
                clock=clock,
                durability="os",
                cache_bytes_max=0,
                wal_bytes_max=65_536,
            )
        ) as log:
            yield log


class TestLinkedLog(InspectableLogSuite):
    """What another process would have, with a link between the two."""

    implementations = (LinkedLog,)

    @pytest.fixture
    async def log(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Log]:
        path = tmp_path / "events.db"
        async with opened(SqliteLog(path, clock=clock)) as written, linked_log(written, path) as log, opened(log):
            yield log


async def test_all_who_ask_a_new_file_at_once_are_given_the_same_ids(tmp_path: Path) -> None:
    for number in range(5):
        log = SqliteLog(tmp_path / f"{number}.db")
        await log.open()
        try:
            for name in ("a", "b"):
                await log.ensure_topic(name, TopicSettings())
            answers = await asyncio.gather(*(log.topic_ids(["a", "b"]) for _ in range(8)))
            assert answers == [await log.topic_ids(["a", "b"])] * 8
        finally:
            await log.close()
