"""Every log keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headwater.log.contract import Log
from headwater.log.sqlite import SqliteLog
from headwater.testing.clock import ManualClock
from headwater.testing.log_suite import LogSuite
from headwater.testing.oracle_log import OracleLog


class TestOracleLog(LogSuite):
    @pytest.fixture
    async def log(self, clock: ManualClock) -> AsyncIterator[Log]:
        log = OracleLog(clock=clock)
        await log.open()
        yield log
        await log.close()


class TestSqliteLog(LogSuite):
    @pytest.fixture
    async def log(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Log]:
        log = SqliteLog(tmp_path / "events.db", clock=clock)
        await log.open()
        yield log
        await log.close()


class TestSqliteLogWithoutMemory(LogSuite):
    """The same with a cache and a write-ahead log too small to be of use."""

    @pytest.fixture
    async def log(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Log]:
        log = SqliteLog(
            tmp_path / "events.db",
            clock=clock,
            durability="os",
            cache_bytes_max=0,
            wal_bytes_max=65_536,
        )
        await log.open()
        yield log
        await log.close()
