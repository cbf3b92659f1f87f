"""Whatever has a job's position and state keeps the contract: the log, or a file where the log keeps no state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headwater.log.contract import Log
from headwater.log.sqlite.log import SqliteLog
from headwater.migration.job_state import FileJobState, LogJobState
from headwater.processing.stores.contract import LogStore
from headwater.processing.stores.outbox import OutboxStore
from headwater.testing.oracle_kafka import OracleKafkaLog
from headwater.testing.suites.job_state import JobStateSuite, NewPlace, Place


class TestInLog(JobStateSuite):
    implementations = (LogJobState,)

    @pytest.fixture
    async def new_place(self, tmp_path: Path) -> AsyncIterator[NewPlace]:
        made: list[Log] = []

        async def new() -> Place:
            log = SqliteLog(tmp_path / f"{len(made)}.db", durability="os")
            await log.open()
            made.append(log)
            return Place(LogJobState(log, "j"), LogStore(log, "job.j"))

        yield new
        for log in made:
            await log.close()


class TestInFile(JobStateSuite):
    implementations = (FileJobState,)

    @pytest.fixture
    async def new_place(self, tmp_path: Path) -> AsyncIterator[NewPlace]:
        made: list[Log] = []

        async def new() -> Place:
            log = OracleKafkaLog()
            await log.open()
            made.append(log)
            file = tmp_path / str(len(made)) / "j.db"
            return Place(FileJobState(log, "j", file), OutboxStore(log, "job.j", file, durability="os"))

        yield new
        for log in made:
            await log.close()
