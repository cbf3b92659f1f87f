"""How transactions end that meet another writer, a failing coordinator, or their own time limit: wholly or not."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from contract.kafka_logs import logs_on
from headwater.errors import HeadwaterError, LogUnavailable, WriterFenced
from headwater.log.contract import Commit, Record
from headwater.testing.eventually import eventually
from headwater.testing.suites.log import read_all, records, values

if TYPE_CHECKING:
    from headwater.log.kafka.log import KafkaLog

DELIVERY_SECONDS_MAX = 2.0
# As the log derives it from the time for deliveries: no less than a request of the client may take.
OPEN_SECONDS_MAX = 4.0
CLEANUP_SECONDS = 1.0


@pytest.fixture
async def logs(kafka_server: str) -> AsyncIterator[Callable[[], Any]]:
    async with logs_on(kafka_server, delivery_seconds_max=DELIVERY_SECONDS_MAX) as another:
        yield another


class Interfering:
    """The client's producer, whose next commit ends as requested; everything else is real."""

    def __init__(self, producer: Any, ends: Sequence[Callable[[Any], None]]) -> None:
        self._producer = producer
        self._ends = list(ends)

    def commit_transaction(self, seconds: float) -> None:
        if self._ends:
            self._ends.pop(0)(self._producer)
        else:
            self._producer.commit_transaction(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def interfere(log: KafkaLog, group: str, *ends: Callable[[Any], None]) -> None:
    writer = log._transactions._groups[group]
    writer._producer = Interfering(writer._producer, ends)  # type: ignore[assignment]


def server_failure(*, abort: bool) -> Exception:
    """What the client raises where the coordinator answers UNKNOWN_SERVER_ERROR."""
    from confluent_kafka import KafkaError, KafkaException

    said = "EndTxn commit failed: Unknown broker error"
    return KafkaException(KafkaError(KafkaError.UNKNOWN, said, txn_requires_abort=abort))


def unanswered(producer: Any) -> None:
    raise server_failure(abort=True)


def answered_wrongly(producer: Any) -> None:
    producer.commit_transaction(10)
    raise server_failure(abort=True)


async def test_a_commit_that_the_coordinator_fails_is_undone_and_can_be_repeated(logs: Callable[[], Any]) -> None:
    log = await logs()
    await log.append(records("a", 1), commit=Commit("g", "one"))
    interfere(log, "g", unanswered)
    with pytest.raises(LogUnavailable) as caught:
        await log.append(records("a", 1, start=1), commit=Commit("g", "two"))
    assert caught.value.retriable
    assert await log.committed("g") == "one"
    await log.append(records("a", 1, start=1), commit=Commit("g", "two"))
    assert values(await read_all(log, ["a"])) == [b"a 0", b"a 1"]


async def test_a_commit_that_was_made_though_the_coordinator_says_it_failed_counts_as_made(
    logs: Callable[[], Any],
) -> None:
    log = await logs()
    await log.append(records("a", 1), commit=Commit("g", "one"))
    interfere(log, "g", answered_wrongly)
    placements = await log.append(records("a", 1, start=1), commit=Commit("g", "two"))
    assert [placement.topic for placement in placements] == ["a"]
    assert await log.committed("g") == "two"
    await log.append(records("a", 1, start=2), commit=Commit("g", "three"))
    assert values(await read_all(log, ["a"])) == [b"a 0", b"a 1", b"a 2"]


async def test_a_commit_that_fails_because_another_takes_over_ends_as_fenced_and_takes_nothing_back(
    logs: Callable[[], Any], kafka_server: str
) -> None:
    from confluent_kafka import Producer

    log = await logs()
    await log.append(records("a", 1), commit=Commit("g", "one"))
    successor = Producer(
        {"bootstrap.servers": kafka_server, "transactional.id": f"{log._settings.namespace}headwater.g"}
    )

    def overtaken(producer: Any) -> None:
        successor.init_transactions(10)
        raise server_failure(abort=True)

    interfere(log, "g", overtaken)
    with pytest.raises(WriterFenced):
        await log.append(records("a", 1, start=1), commit=Commit("g", "two"))
    with pytest.raises(WriterFenced):
        await log.claim("g")
    successor.begin_transaction()
    successor.produce(f"{log._settings.namespace}a", b"the successor's", partition=0)
    successor.commit_transaction(10)
    assert values(await read_all(log, ["a"])) == [b"a 0", b"the successor's"]


async def test_writers_that_take_a_group_from_each_other_all_the_time_end_as_committed_or_fenced(
    logs: Callable[[], Any],
) -> None:
    """For some seconds; longer, as while it was found: the coordinator's own failures are among the answers then."""
    outcomes: Counter[str] = Counter()
    said: dict[bytes, str] = {}
    deadline = time.monotonic() + 6

    async def writer(group: str, number: int) -> None:
        log, made = await logs(), 0
        while time.monotonic() < deadline:
            try:
                await log.claim(group)
                for _ in range(random.randrange(1, 20)):
                    made += 1
                    value = f"{group} {number} {made}".encode()
                    said[value] = "unknown"
                    await log.append([Record("a", value)], commit=Commit(group, f"{number} {made}"))
                    said[value] = "committed"
            except HeadwaterError as error:
                outcomes[type(error).__name__] += 1
                said[value] = type(error).__name__
                await log.release(group)

    await asyncio.gather(*(writer(group, number) for group in ("one", "two") for number in range(2)))
    there = Counter(values(await read_all(await logs(), ["a"])))
    assert max(there.values()) == 1
    assert {value for value, outcome in said.items() if outcome == "committed"} <= there.keys()
    assert not {value for value, outcome in said.items() if outcome == "LogUnavailable"} & there.keys()
    assert outcomes["WriterFenced"] > 0
    assert set(outcomes) <= {"WriterFenced", "LogUnavailable"}


standing_still = threading.Event()


def stand_still(producer: Any) -> None:
    """As a machine that is asleep with a transaction open."""
    producer.flush(5)
    standing_still.set()
    time.sleep(OPEN_SECONDS_MAX + CLEANUP_SECONDS + 1)
    producer.commit_transaction(5)


async def test_a_writer_whose_transaction_was_open_for_too_long_continues_unless_it_was_fenced(
    logs: Callable[[], Any],
) -> None:
    log = await logs()
    await log.claim("g")
    await log.append(records("a", 1), commit=Commit("g", "one"))
    interfere(log, "g", stand_still)
    with pytest.raises(LogUnavailable, match="open for too long") as caught:
        await log.append(records("a", 1, start=1), commit=Commit("g", "two"))
    assert caught.value.retriable
    assert await log.claim("g") == "one"
    await log.append(records("a", 1, start=1), commit=Commit("g", "two"))
    assert values(await read_all(log, ["a"])) == [b"a 0", b"a 1"]


async def test_a_writer_whose_transaction_was_open_for_too_long_stays_fenced_where_another_has_written(
    logs: Callable[[], Any],
) -> None:
    log, other = await logs(), await logs()
    await log.claim("g")
    await log.append(records("a", 1), commit=Commit("g", "one"))
    standing_still.clear()
    interfere(log, "g", stand_still)
    standing = asyncio.create_task(log.append(records("a", 1, start=7), commit=Commit("g", "seven")))
    await eventually(standing_still.is_set)
    assert await other.claim("g") == "one"
    await other.append(records("a", 1, start=1), commit=Commit("g", "two"))
    with pytest.raises(WriterFenced):
        await standing
    with pytest.raises(WriterFenced):
        await log.claim("g")
    await other.append(records("a", 1, start=2), commit=Commit("g", "three"))
    assert values(await read_all(log, ["a"])) == [b"a 0", b"a 1", b"a 2"]
