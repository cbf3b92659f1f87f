"""Every source of a job keeps the contract: the streams of a log, whatever log it is, or one partition of them."""

from __future__ import annotations

import pytest

from contract.kinds_of_logs import OnBrokers, OnOracleLog, OnSqlite
from headwater.log.contract import Log, Record, TopicPartition, TopicSettings
from headwater.processing.embedded.log_source import LogSource
from headwater.processing.status import RunnerStatus
from headwater.telemetry import Telemetry
from headwater.testing.oracle_log import OracleLog
from headwater.testing.suites.job_source import PARTITION, TOPICS, JobSourceSuite, NewJobSource, read
from headwater.testing.suites.log import values
from headwater.testing.suites.runner import JOB


def source_of(log: Log, *, only: TopicPartition | None = None, ids_in_token: bool = False) -> LogSource:
    return LogSource(log, JOB, RunnerStatus(JOB, Telemetry()), only=only, ids_in_token=ids_in_token)


class TestLogSourceOnOracleLog(OnOracleLog, JobSourceSuite):
    implementations = (LogSource,)

    @pytest.fixture
    def new_source(self, log: Log) -> NewJobSource:
        return lambda: source_of(log)


class TestLogSourceOnSqlite(OnSqlite, JobSourceSuite):
    """For a table, whose token has the ids of the topics."""

    implementations = (LogSource,)

    @pytest.fixture
    def new_source(self, log: Log) -> NewJobSource:
        return lambda: source_of(log, ids_in_token=True)


class BrokersSuite(OnBrokers, JobSourceSuite):
    """On a log with gaps in its offsets."""


class TestLogSourceOnBrokers(BrokersSuite):
    implementations = (LogSource,)

    @pytest.fixture
    def new_source(self, log: Log) -> NewJobSource:
        return lambda: source_of(log)


class TestOnePartitionOnBrokers(BrokersSuite):
    implementations = (LogSource,)

    @pytest.fixture
    def new_source(self, log: Log) -> NewJobSource:
        return lambda: source_of(log, only=PARTITION)


async def test_a_source_of_one_partition_knows_no_other_one() -> None:
    log = OracleLog()
    await log.open()
    await log.ensure_topic("in", TopicSettings(partitions=2))
    await log.append([Record("in", b"%d" % number, partition=number % 2) for number in range(6)])
    whole, one = source_of(log), source_of(log, only=("in", 1))
    for source in (whole, one):
        await source.begin(None, TOPICS)
    assert await whole.lag() == 6
    assert await one.lag() == 3
    assert set((await one.end()).offsets) == await one.with_backlog(one.position) == {("in", 1)}
    assert values(await read(one)) == [b"1", b"3", b"5"]
    await log.ensure_topic("in", TopicSettings(partitions=3))
    await log.append([Record("in", b"6", partition=2)])
    await one.refresh()
    await one.begin(one.token(one.position), TOPICS)
    assert set(one.position.offsets) == {("in", 1)}
    await whole.begin(whole.token(whole.position), TOPICS)
    assert set(whole.position.offsets) == {("in", 0), ("in", 1), ("in", 2)}
