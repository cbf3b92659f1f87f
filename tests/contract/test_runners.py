"""Every runner keeps the contract, on every kind of log and store it is for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.kinds_of_logs import OnBrokers, OnOracleLog, OnSqlite
from headwater.log.contract import Log
from headwater.processing.embedded.loop import EmbeddedRunner
from headwater.processing.embedded.partitioned import PartitionRunner, SharedRunner
from headwater.processing.embedded.runner import runner_on
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.outbox import OutboxStore
from headwater.telemetry import Telemetry
from headwater.testing.oracle_kafka import OracleKafkaLog
from headwater.testing.suites.runner import NewRunner, RunnerSuite

SETTINGS = RunnerSettings(wait_seconds=0.05, retries_max=2, retry_seconds=0.01)


class TestEmbeddedRunnerOnOracleLog(OnOracleLog, RunnerSuite):
    implementations = (EmbeddedRunner,)

    @pytest.fixture
    def new_runner(self, log: Log) -> NewRunner:
        return lambda job, gate: runner_on(log, job, gate, settings=SETTINGS)


class TestEmbeddedRunnerOnSqlite(OnSqlite, RunnerSuite):
    implementations = (EmbeddedRunner,)

    @pytest.fixture
    def new_runner(self, log: Log) -> NewRunner:
        return lambda job, gate: runner_on(log, job, gate, settings=SETTINGS)


class BrokersSuite(OnBrokers, RunnerSuite):
    """On a log that keeps no state. The first runner shares the log of the test, each other one has its own."""

    takes_over = True

    @pytest.fixture
    def logs(self, log: OracleKafkaLog, others: Iterator[OracleKafkaLog]) -> Callable[[], OracleKafkaLog]:
        unused = itertools.chain([log], others)
        return lambda: next(unused)


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
