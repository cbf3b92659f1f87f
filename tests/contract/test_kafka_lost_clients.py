"""Kafka clients that have lost their brokers for good are replaced, so that a log recovers without help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from contract.kafka_logs import logs_on
from headwater.errors import HeadwaterError
from headwater.log.contract import Commit, Position, Record
from headwater.testing.eventually import eventually
from servers.brokerless import BrokerlessProxy, brokerless_proxy

if TYPE_CHECKING:
    from headwater.log.kafka.log import KafkaLog

# So that clients ask for the brokers often.
OPTIONS = {"topic.metadata.refresh.interval.ms": 200}
ROUNDS_MAX = 60


@pytest.fixture
async def proxy(kafka_server: str) -> AsyncIterator[BrokerlessProxy]:
    async with brokerless_proxy(kafka_server) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.log.kafka import lost

    monkeypatch.setattr(lost, "CHECK_SECONDS", 1.0)
    monkeypatch.setattr(lost, "ANSWER_SECONDS_MAX", 1.0)
    monkeypatch.setattr(lost, "SECOND_ANSWER_SECONDS_MAX", 2.0)


async def until_lost(proxy: BrokerlessProxy, asks: Callable[[], Any]) -> None:
    """Fence and unfence the broker until `asks`, a call that blocks, gets no answer although it is not fenced."""
    for _ in range(ROUNDS_MAX):
        proxy.is_fenced = True
        await asyncio.to_thread(asks)
        proxy.is_fenced = False
        if not any([await asyncio.to_thread(asks) for _ in range(2)]):
            return
    raise AssertionError("the client never lost its brokers: the library may have been repaired")


def asking(client: Any, seconds: float = 1.0) -> Callable[[], bool]:
    from confluent_kafka import KafkaException

    def asks() -> bool:
        try:
            return bool(client.list_topics("headwater.tokens", timeout=seconds).brokers)
        except KafkaException:
            return False

    return asks


async def test_a_client_that_has_lost_its_brokers_is_told_from_one_in_an_outage(proxy: BrokerlessProxy) -> None:
    from confluent_kafka.admin import AdminClient

    from headwater.log.kafka.lost import is_lost
    from headwater.log.kafka.settings import KafkaSettings

    settings = KafkaSettings(proxy.bootstrap, options={"topic.metadata.refresh.interval.ms": "200"})
    client = AdminClient(settings.client())
    assert not await asyncio.to_thread(is_lost, client, settings)
    await until_lost(proxy, asking(client))
    assert await asyncio.to_thread(is_lost, client, settings)
    proxy.is_fenced = True
    assert not await asyncio.to_thread(is_lost, client, settings)


async def test_a_log_recovers_from_brokers_that_report_none(proxy: BrokerlessProxy) -> None:
    async with logs_on(proxy.bootstrap, options=OPTIONS, delivery_seconds_max=60.0) as another:
        log: KafkaLog = await another()
        membership = await log.join("shared", ["a"])
        await membership.changes()
        seen: list[bytes] = []
        following = asyncio.create_task(follow(log, seen))
        await stored(log, b"0")
        await eventually(lambda: b"0" in seen)
        await eventually(lambda: committed(log))
        for _ in range(4):
            proxy.is_fenced, before = True, proxy.fenced_answers
            await eventually(lambda before=before: proxy.fenced_answers > before + 3)
            proxy.is_fenced = False
            await asyncio.sleep(0.5)
        assert [topic.name for topic in await eventually(lambda: answered(log))] == ["a"]
        await stored(log, b"1")
        await eventually(lambda: b"1" in seen)
        await eventually(lambda: committed(log))
        await eventually(lambda: membership.assigned == {("a", 0)})
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await membership.close()


async def answered(log: KafkaLog) -> Any:
    try:
        return await log.topics()
    except HeadwaterError:
        return None


async def committed(log: KafkaLog) -> bool:
    try:
        await log.append([Record("a", b"in a transaction")], commit=Commit("g", "t"))
    except HeadwaterError:
        return False
    return True


async def stored(log: KafkaLog, value: bytes) -> None:
    """As a producer of events: until it is confirmed."""

    async def is_stored() -> bool:
        try:
            await log.append([Record("a", value)])
        except HeadwaterError:
            return False
        return True

    await eventually(is_stored)


async def follow(log: KafkaLog, seen: list[bytes]) -> None:
    position = Position({("a", 0): 0})
    while True:
        try:
            found = await log.read(position, wait_seconds=60.0)
        except HeadwaterError:
            await asyncio.sleep(0.1)
            continue
        seen.extend(record.value for record in found)
        if found:
            position = position.after(found[-1])
