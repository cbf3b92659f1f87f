"""The logs that suites run on: a test class inherits one of these, and the suite."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from headwater.log.contract import Log
from headwater.log.sqlite.linked import LinkedLog
from headwater.log.sqlite.log import SqliteLog
from headwater.log.sqlite.serving import LogSession
from headwater.process_link.link import Link
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog
from headwater.testing.oracle_log import OracleLog

LogT = TypeVar("LogT", bound=Log)
# No test needs more processes.
OTHERS_MAX = 12


@contextlib.asynccontextmanager
async def opened(log: LogT) -> AsyncIterator[LogT]:
    """The log, open until the block ends."""
    await log.open()
    try:
        yield log
    finally:
        await log.close()


@contextlib.asynccontextmanager
async def linked_log(written: SqliteLog, path: Path, **options: Any) -> AsyncIterator[LinkedLog]:
    """The log of another process, not yet open, over a link to the open log that writes the file."""
    here, there = socket.socketpair()
    ends = (Link(here, peer="the process of jobs"), Link(there, peer="the writing process"))
    LogSession(written, ends[0])
    log = LinkedLog(path, ends[1], **options)
    for end in ends:
        await end.start()
    try:
        yield log
    finally:
        for end in ends:
            await end.close()


class OnOracleLog:
    """In memory, in one process."""

    @pytest.fixture
    async def log(self) -> AsyncIterator[Log]:
        async with opened(OracleLog()) as log:
            yield log


class OnSqlite:
    """On a file."""

    @pytest.fixture
    async def log(self, tmp_path: Path) -> AsyncIterator[Log]:
        async with opened(SqliteLog(tmp_path / "events.db", durability="os")) as log:
            yield log


class OnBrokers:
    """On a log with Kafka's features, in memory; other processes have logs of their own."""

    @pytest.fixture
    def brokers(self) -> OracleBrokers:
        return OracleBrokers()

    @pytest.fixture
    async def log(self, brokers: OracleBrokers) -> AsyncIterator[Log]:
        async with opened(OracleKafkaLog(brokers)) as log:
            yield log

    @pytest.fixture
    async def others(self, brokers: OracleBrokers) -> AsyncIterator[Iterator[OracleKafkaLog]]:
        """The open logs of other processes, one after the other."""
        async with contextlib.AsyncExitStack() as stack:
            yield iter([await stack.enter_async_context(opened(OracleKafkaLog(brokers))) for _ in range(OTHERS_MAX)])
