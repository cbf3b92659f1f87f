"""Every job store keeps the contract, on every kind of log it is for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from contract.kinds_of_logs import OTHERS_MAX, OnBrokers, OnOracleLog, OnSqlite, linked_log, opened
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.errors import LogUnavailable, WriterFenced
from headwater.log.contract import Log, Position, TopicSettings
from headwater.processing.stores.contract import LogStore
from headwater.processing.stores.outbox import OutboxStore
from headwater.processing.stores.partitions import PartitionStore, UnpartitionedStore
from headwater.processing.stores.sink import SinkStore
from headwater.testing.memory_sink import WITHOUT_TOKEN, MemorySink, MemoryTarget
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog
from headwater.testing.suites.job_store import JobStoreSuite, NewStore, repeated, token
from headwater.testing.suites.log import read_all, records, values
from headwater.testing.suites.sink import LINES


class TestLogStoreOnOracleLog(OnOracleLog, JobStoreSuite):
    implementations = (LogStore,)

    @pytest.fixture
    def new_store(self, log: Log) -> NewStore:
        return lambda: LogStore(log, "job.j")


class TestLogStoreOnSqlite(OnSqlite, JobStoreSuite):
    implementations = (LogStore,)

    @pytest.fixture
    def new_store(self, log: Log) -> NewStore:
        return lambda: LogStore(log, "job.j")


class TestLogStoreOnLinkedLogs(OnSqlite, JobStoreSuite):
    """Each store in a process of its own, which leaves the writing to one."""

    implementations = (LogStore,)
    second_opener = "fenced"

    @pytest.fixture
    async def new_store(self, log: Log, tmp_path: Path) -> AsyncIterator[NewStore]:
        async with contextlib.AsyncExitStack() as stack:
            logs = []
            for _ in range(OTHERS_MAX):
                linked = await stack.enter_async_context(linked_log(log, tmp_path / "events.db"))
                logs.append(await stack.enter_async_context(opened(linked)))
            others = iter(logs)
            yield lambda: LogStore(next(others), "job.j")


class TestSinkStore(OnOracleLog, JobStoreSuite):
    """On a table; the events that it is given are appended to the log before."""

    implementations = (SinkStore,)
    keeps_state = False

    @pytest.fixture
    async def new_store(self, log: Log, tmp_path: Path) -> AsyncIterator[NewStore]:
        sinks: list[SqliteSink] = []

        def new() -> SinkStore:
            sinks.append(SqliteSink(tmp_path / "tables.db", LINES))
            return SinkStore(sinks[-1], log, "job.j")

        yield new
        for sink in sinks:
            await sink.close()


class TestSinkStoreWithItsTokenInTheLog(OnOracleLog, JobStoreSuite):
    """On a table that keeps no token; the log has it."""

    implementations = (SinkStore,)
    keeps_state = False

    @pytest.fixture
    def new_store(self, log: Log) -> NewStore:
        target = MemoryTarget(WITHOUT_TOKEN)
        return lambda: SinkStore(MemorySink(target, LINES), log, "job.j")


class BrokersSuite(OnBrokers, JobStoreSuite):
    """On a log that keeps no state; each store has a log of its own, as another process has."""

    second_opener = "fenced"

    @pytest.fixture
    def logs(self, others: Iterator[OracleKafkaLog]) -> Callable[[], OracleKafkaLog]:
        """Other processes' logs, open."""
        return lambda: next(others)

    @pytest.fixture
    def lose_answer(self, brokers: OracleBrokers) -> Callable[[], None]:
        def lose() -> None:
            brokers.answers_to_lose = 1

        return lose


class TestSinkStoreWithItsTokenOnBrokers(BrokersSuite):
    """On a table that keeps no token."""

    implementations = (SinkStore,)
    keeps_state = False

    @pytest.fixture
    def new_store(self, logs: Callable[[], OracleKafkaLog]) -> NewStore:
        target = MemoryTarget(WITHOUT_TOKEN)
        return lambda: SinkStore(MemorySink(target, LINES), logs(), "job.j")


class TestLogStoreOnBrokers(BrokersSuite):
    implementations = (LogStore,)
    keeps_state = False

    @pytest.fixture
    def new_store(self, logs: Callable[[], OracleKafkaLog]) -> NewStore:
        return lambda: LogStore(logs(), "job.j")


class TestWholeStore(BrokersSuite):
    implementations = (UnpartitionedStore,)
    keeps_state = False

    @pytest.fixture
    def new_store(self, logs: Callable[[], OracleKafkaLog]) -> NewStore:
        return lambda: UnpartitionedStore(logs(), "job.j")


class TestPartitionStore(BrokersSuite):
    implementations = (PartitionStore,)
    keeps_state = False

    @pytest.fixture
    def new_store(self, logs: Callable[[], OracleKafkaLog]) -> NewStore:
        return lambda: PartitionStore(logs(), "job.j", ("in", 0))


class TestOutboxStore(BrokersSuite):
    implementations = (OutboxStore,)
    second_opener = "refused"

    @pytest.fixture
    def new_store(self, logs: Callable[[], OracleKafkaLog], tmp_path: Path) -> NewStore:
        return lambda: OutboxStore(logs(), "job.j", tmp_path / "state" / "j.db", durability="os")


class TestOutboxStoreOnOneLog(BrokersSuite):
    """One process, which opens the store again and again."""

    implementations = (OutboxStore,)
    second_opener = "refused"

    @pytest.fixture
    def new_store(self, log: Log, tmp_path: Path) -> NewStore:
        return lambda: OutboxStore(log, "job.j", tmp_path / "state" / "j.db", durability="os")


async def test_two_ways_to_share_a_job_follow_each_other_from_the_furthest_position() -> None:
    brokers = OracleBrokers()
    one, other = OracleKafkaLog(brokers), OracleKafkaLog(brokers)
    for log in (one, other):
        await log.open()
    await one.ensure_topic("in", TopicSettings(partitions=2))
    part = PartitionStore(one, "job.j", ("in", 1))
    assert await part.open() == Position({("in", 1): 0}).token()
    await part.commit([], Position({("in", 1): 5}).token(), ())
    whole = UnpartitionedStore(other, "job.j")
    assert await whole.open() == Position({("in", 1): 5}).token()
    with pytest.raises(WriterFenced):
        await part.commit([], Position({("in", 1): 6}).token(), ())
    await whole.commit([], Position({("in", 0): 3, ("in", 1): 9}).token(), ())
    again = PartitionStore(one, "job.j", ("in", 1))
    await one.release("job.j/in/1")
    assert await again.open() == Position({("in", 1): 9}).token()
    with pytest.raises(WriterFenced):
        await whole.commit([], Position({("in", 0): 4, ("in", 1): 9}).token(), ())


async def test_an_outbox_says_why_it_does_not_get_on_and_leaves_no_failure_unheard(tmp_path: Path) -> None:
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
    log = OracleKafkaLog()
    await log.open()
    await log.ensure_topic("out", TopicSettings())
    store = OutboxStore(log, "job.j", tmp_path / "j.db", durability="os")
    await store.open()
    await log.close()
    heard = 0
    for number in range(8):
        try:
            await store.commit(records("out", 1, start=number), token(number + 1), ())
        except LogUnavailable:
            heard += 1
            await store.commit(records("out", 1, start=number), token(number + 1), ())
    gc.collect()
    assert (unheard, heard > 0) == ([], True)
    await log.open()
    await repeated(store.flush)
    await store.close()
    assert values(await read_all(log, ["out"])) == [record.value for record in records("out", 8)]
