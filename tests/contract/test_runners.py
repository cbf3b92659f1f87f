"""Every runner keeps the contract, on every kind of log and store it is for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from headwater.log.contract import Log
from headwater.log.sqlite.log import SqliteLog
from headwater.processing.embedded.loop import EmbeddedRunner, RunnerSettings
from headwater.processing.embedded.partitioned import PartitionRunner, SharedRunner
from headwater.processing.embedded.runner import runner_on
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.outbox import OutboxStore
from headwater.telemetry import Telemetry
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog
from headwater.testing.oracle_log import OracleLog
from headwater.testing.suites.runner import NewRunner, RunnerSuite

SETTINGS = RunnerSettings(wait_seconds=0.05, retries_max=2, retry_seconds=0.01)


class TestEmbeddedRunnerOnOracleLog(RunnerSuite):
    implementations = (EmbeddedRunner,)

    @pytest.fixture
    async def log(self) -> AsyncIterator[Log]:
        log = OracleLog()
        await log.open()
        yield log
        await log.close()

    @pytest.fixture
    def new_runner(self, log: Log) -> NewRunner:
        return lambda job, gate: runner_on(log, job, gate, settings=SETTINGS)


class TestEmbeddedRunnerOnSqlite(RunnerSuite):
    implementations = (EmbeddedRunner,)

    @pytest.fixture
    async def log(self, tmp_path: Path) -> AsyncIterator[Log]:
        log = SqliteLog(tmp_path / "events.db", durability="os")
        await log.open()
        yield log
        await log.close()

    @pytest.fixture
    def new_runner(self, log: Log) -> NewRunner:
        return lambda job, gate: runner_on(log, job, gate, settings=SETTINGS)


class BrokersSuite(RunnerSuite):
    """On a log that keeps no state. The first runner shares the log of the test, each other one has its own."""

    takes_over = True

    @pytest.fixture
    def brokers(self) -> OracleBrokers:
        return OracleBrokers()

    @pytest.fixture
    async def log(self, brokers: OracleBrokers) -> AsyncIterator[Log]:
        log = OracleKafkaLog(brokers)
        await log.open()
        yield log
        await log.close()

    @pytest.fixture
    async def logs(self, log: OracleKafkaLog, brokers: OracleBrokers) -> AsyncIterator[Callable[[], OracleKafkaLog]]:
        made = [log, *(OracleKafkaLog(brokers) for _ in range(8))]
        for other in made[1:]:
            await other.open()
        unused = iter(made)
        yield lambda: next(unused)
        for other in made[1:]:
            await other.close()


class TestEmbeddedRunnerOnBrokers(BrokersSuite):
    implementations = (EmbeddedRunner,)

    @pytest.fixture
    def new_runner(self, logs: Callable[[], OracleKafkaLog]) -> NewRunner:
        return lambda job, gate: runner_on(logs(), job, gate, settings=SETTINGS)


class TestEmbeddedRunnerWithOutbox(BrokersSuite):
    implementations = (EmbeddedRunner,)
    # The file belongs to one process; that the other is refused is the store's to test.
    takes_over = False

    @pytest.fixture
    def new_runner(self, logs: Callable[[], OracleKafkaLog], tmp_path: Path) -> NewRunner:
        def new(job, gate):  # type: ignore[no-untyped-def]
            log = logs()
            store = OutboxStore(log, job.group, tmp_path / "j.db", durability="os")
            return runner_on(log, job, gate, store=store, settings=SETTINGS)

        return new


class TestPartitionRunner(BrokersSuite):
    implementations = (PartitionRunner,)

    @pytest.fixture
    def new_runner(self, logs: Callable[[], OracleKafkaLog]) -> NewRunner:
        return lambda job, gate: PartitionRunner(
            job, logs(), gate, ("edits", 0), status=RunnerStatus(job, Telemetry()), settings=SETTINGS
        )


class TestSharedRunner(BrokersSuite):
    implementations = (SharedRunner,)

    @pytest.fixture
    def new_runner(self, logs: Callable[[], OracleKafkaLog]) -> NewRunner:
        return lambda job, gate: SharedRunner(job, logs(), gate, settings=SETTINGS)
