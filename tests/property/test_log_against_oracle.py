"""Whatever is done to the embedded log, or to the brokers in memory, it agrees with the naive one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from headwater.log.contract import Log
from headwater.log.sqlite.linked import LinkedLog
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.serving import LogSession
from headwater.process_link.link import Link
from headwater.testing.clock import ManualClock
from headwater.testing.log_machine import LogMachine
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog

# A failure is first made small, which takes longer than finding it.
pytestmark = pytest.mark.timeout(900)


class SqliteMachine(LogMachine):
    def make(self, directory: Path, clock: ManualClock) -> Log:
        return SqliteLog(directory / "events.db", clock=clock, durability="os", cache_bytes_max=4_000)

    def crash_files(self, directory: Path) -> list[Path]:
        return [file for file in (directory / "events.db", directory / "events.db-wal") if file.exists()]

    def check_sound(self) -> None:
        assert isinstance(self.log, SqliteLog)
        assert self.run_(self.log.verify()).damages == ()


SqliteMachine.TestCase.settings = settings(
    max_examples=settings().max_examples // 2,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSqliteLogAgainstOracle = SqliteMachine.TestCase


class PairedLog(LinkedLog):
    """That of another process, and with it the one that writes the file."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.written = SqliteLog(path, clock=clock, durability="os", cache_bytes_max=4_000)
        here, there = socket.socketpair()
        self.link_ends = (Link(here), Link(there))
        LogSession(self.written, self.link_ends[0])
        super().__init__(path, self.link_ends[1], cache_bytes_max=4_000)

    async def open(self) -> None:
        await self.written.open()
        for end in self.link_ends:
            await end.start()
        await super().open()

    async def close(self) -> None:
        await super().close()
        await self.written.close()
        for end in self.link_ends:
            await end.close()


class LinkedMachine(SqliteMachine):
    def make(self, directory: Path, clock: ManualClock) -> Log:
        return PairedLog(directory / "events.db", clock)

    def check_sound(self) -> None:
        assert isinstance(self.log, PairedLog)
        assert self.run_(self.log.verify()).damages == ()


LinkedMachine.TestCase.settings = SqliteMachine.TestCase.settings
TestLinkedLogAgainstOracle = LinkedMachine.TestCase


class BrokersMachine(LogMachine):
    is_shared = True

    def make(self, directory: Path, clock: ManualClock) -> Log:
        brokers: dict[Path, OracleBrokers] = self.__dict__.setdefault("brokers", {})
        return OracleKafkaLog(brokers.setdefault(directory, OracleBrokers()), clock=clock)


BrokersMachine.TestCase.settings = SqliteMachine.TestCase.settings
TestOracleKafkaLogAgainstOracle = BrokersMachine.TestCase
