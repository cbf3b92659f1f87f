"""A fence that is the process's own: a request of its producer that arrives after its retry ends what it had begun."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from contract.kafka_logs import logs_on
from headwater.errors import LogUnavailable, WriterFenced
from headwater.log.contract import Commit
from headwater.processing.stores.contract import LogStore
from headwater.testing.suites.log import read_all, records, values

if TYPE_CHECKING:
    from headwater.log.kafka.log import KafkaLog


@pytest.fixture
async def logs(kafka_server: str) -> AsyncIterator[Callable[[], Any]]:
    async with logs_on(kafka_server) as another:
        yield another


@pytest.fixture
def slow_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every producer takes as long to be ready as one whose first request was kept back on the network."""
    from headwater.log.kafka import transaction as kafka_transaction

    monkeypatch.setattr(kafka_transaction, "LATE_AFTER_SECONDS", 0.0)


def late_request(log: KafkaLog, kafka_server: str) -> None:
    """What a request of the group's producer does that arrives late."""
    from confluent_kafka import Producer

    name = f"{log._settings.namespace}headwater.g"
    Producer({"bootstrap.servers": kafka_server, "transactional.id": name}).init_transactions(10)


@pytest.mark.usefixtures("slow_start")
async def test_a_group_continues_after_a_late_request_of_its_own(logs: Callable[[], Any], kafka_server: str) -> None:
    log = await logs()
    store = LogStore(log, "g")
    assert await store.open() is None
    for number in range(3):
        late_request(log, kafka_server)
        with pytest.raises(LogUnavailable, match="late request of this process") as caught:
            await store.commit(records("a", 1, start=number), f"t{number}", ())
        assert caught.value.retriable
        await store.commit(records("a", 1, start=number), f"t{number}", ())
    assert values(await read_all(log, ["a"])) == [b"a 0", b"a 1", b"a 2"]
    assert await log.committed("g") == "t2"


@pytest.mark.usefixtures("slow_start")
async def test_a_group_in_which_another_has_written_is_not_taken_back(logs: Callable[[], Any]) -> None:
    log, other = await logs(), await logs()
    await log.claim("g")
    await log.append(records("a", 1), commit=Commit("g", "one"))
    await other.claim("g")
    await other.append(records("a", 1, start=1), commit=Commit("g", "two"))
    with pytest.raises(WriterFenced):
        await log.append(records("a", 1, start=7), commit=Commit("g", "seven"))
    with pytest.raises(WriterFenced):
        await log.claim("g")
    assert values(await read_all(log, ["a"])) == [b"a 0", b"a 1"]


async def test_a_producer_that_was_ready_at_once_has_no_late_request(
    logs: Callable[[], Any], kafka_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.log.kafka import transaction as kafka_transaction

    monkeypatch.setattr(kafka_transaction, "LATE_AFTER_SECONDS", 60.0)
    log = await logs()
    await log.claim("g")
    late_request(log, kafka_server)
    with pytest.raises(WriterFenced):
        await log.append(records("a", 1), commit=Commit("g", "one"))


async def test_a_store_that_is_not_sure_does_not_write_behind_what_another_has_written(
    logs: Callable[[], Any],
) -> None:
    log, other = await logs(), await logs()
    store = LogStore(log, "g")
    await store.open()
    await store.commit(records("a", 1), "one", ())
    store._is_sure = False
    await other.append(records("a", 1, start=1), commit=Commit("g", "two"))
    with pytest.raises(WriterFenced, match="has written"):
        await store.commit(records("a", 1, start=1), "two of mine", ())
    assert values(await read_all(log, ["a"])) == [b"a 0", b"a 1"]
