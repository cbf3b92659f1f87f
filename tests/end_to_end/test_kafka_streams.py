"""Streams read from Kafka: exact tokens across transactions, one reading for all, new partitions, and start by time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.config import ConsumptionConfig
from headwater.consumption.hub import StreamHub
from headwater.log.contract import Commit, Log, Position, Record, TopicSettings
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.stream_kit import RawAnswer, request, serving_streams

STREAMS = StreamRegistry([Stream("edits", topics=("edits",), partitions=2)])
HEARTBEAT_SECONDS = 0.4


async def opened(kafka_url: str) -> Log:
    from headwater.log.kafka.log import KafkaLog

    log = KafkaLog(kafka_url)
    await log.open()
    return log


@pytest.fixture
async def log(kafka_url: str) -> AsyncIterator[Log]:
    log = await opened(kafka_url)
    await log.ensure_topic("edits", TopicSettings(partitions=2))
    yield log
    await log.close()


@pytest.fixture
async def port(log: Log) -> AsyncIterator[int]:
    hub = StreamHub(
        log,
        STREAMS,
        ConsumptionConfig(heartbeat_seconds=HEARTBEAT_SECONDS, connections_per_address_max=500),
        Telemetry(),
    )
    async with serving_streams(hub) as port:
        yield port


def record(number: int, partition: int | None = None) -> Record:
    return Record("edits", orjson.dumps({"n": number, "meta": {}}), partition=partition)


def numbers(answer: RawAnswer) -> list[int]:
    return [frame.value()["n"] for frame in answer.frames() if frame.data is not None]


async def receive(answer: RawAnswer, count: int, seconds: float = 15.0) -> list[int]:
    deadline = time.monotonic() + seconds
    while len(numbers(answer)) < count and time.monotonic() < deadline:
        await answer.receive(seconds=1.0)
    return numbers(answer)


def abort_one(kafka_url: str, value: bytes) -> None:
    """A foreign transaction that is given up after its record has reached the broker."""
    from confluent_kafka import Producer

    server, _, namespace = kafka_url.removeprefix("kafka://").partition("/")
    producer = Producer({"bootstrap.servers": server, "transactional.id": f"{namespace}foreign"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(f"{namespace}edits", value, partition=0)
    producer.flush(20)
    producer.abort_transaction(20)


async def test_an_aborted_transaction_is_never_seen_and_its_marks_hold_up_no_token(
    log: Log, port: int, kafka_url: str
) -> None:
    reader = await request(port, "/v2/stream/edits")
    assert await reader.until(b"retry:")
    await log.append([record(1, 0)])
    await asyncio.to_thread(abort_one, kafka_url, b'{"n": 666, "meta": {}}')
    await log.append([record(2, 0), record(3, 1)], commit=Commit("g", "t1"))
    assert sorted(await receive(reader, 3)) == [1, 2, 3]
    # Offsets: 1, the aborted one and its mark, 2 and its mark.
    end = await log.last(["edits"])
    assert end.offsets == {("edits", 0): 5, ("edits", 1): 2}
    token = Position.parse(reader.last_id() or "")
    assert token.offsets == {("edits", 0): 4, ("edits", 1): 1}
    again = await request(port, "/v2/stream/edits", {"Last-Event-ID": token.token()})
    fresh = await request(port, "/v2/stream/edits")
    assert await again.until(b"retry:")
    assert await fresh.until(b"retry:")
    await asyncio.sleep(2 * HEARTBEAT_SECONDS)
    await log.append([record(4, 0)], commit=Commit("g", "t2"))
    for answer, wanted in ((reader, [1, 2, 3, 4]), (again, [4]), (fresh, [4])):
        assert sorted(await receive(answer, len(wanted))) == wanted
        assert Position.parse(answer.last_id() or "").offsets["edits", 0] == 6
        answer.hang_up()


async def test_a_client_that_starts_behind_a_transaction_meets_the_others_without_an_event(
    log: Log, kafka_url: str
) -> None:
    await log.append([record(1, 0)])
    hub = StreamHub(log, STREAMS, ConsumptionConfig(heartbeat_seconds=60), Telemetry())
    async with serving_streams(hub) as port:
        first = await request(port, "/v2/stream/edits")
        assert await first.until(b"retry:")
        await log.append([record(2, 0)], commit=Commit("g", "t1"))
        assert await receive(first, 1) == [2]
        second = await request(port, "/v2/stream/edits")
        assert await second.until(b"retry:")
        for _ in range(200):
            if all(one.reader.is_live for one in hub.connections):
                break
            await asyncio.sleep(0.05)
        assert [one.reader.is_live for one in hub.connections] == [True, True]
        first.hang_up()
        second.hang_up()


async def test_many_clients_are_served_by_a_few_consumers(log: Log, port: int) -> None:
    before = clients_of_the_broker()
    answers = [await request(port, "/v2/stream/edits") for _ in range(150)]
    late = [await request(port, "/v2/stream/edits?since=2020-01-01") for _ in range(50)]
    for number in range(20):
        await log.append([record(number)])
    for answer in (*answers, *late):
        assert await receive(answer, 20) == sorted(range(20), key=numbers(answers[0]).index)
    # What follows the ends, and what those read with who are behind; with one each there would be 200 more.
    assert clients_of_the_broker() - before <= 5
    for answer in (*answers, *late):
        answer.hang_up()


def clients_of_the_broker() -> int:
    """Each client of librdkafka has one thread of this name."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return names.count("rdk:main")


async def test_partitions_added_while_streaming_are_followed_from_their_beginning(
    log: Log, port: int, kafka_url: str
) -> None:
    answer = await request(port, "/v2/stream/edits")
    assert await answer.until(b"retry:")
    await log.append([record(1, 0)])
    assert await receive(answer, 1) == [1]
    other = await opened(kafka_url)
    await other.ensure_topic("edits", TopicSettings(partitions=4))
    await other.append([record(2, 2), record(3, 3), record(4, 0)])
    assert sorted(await receive(answer, 4, seconds=30)) == [1, 2, 3, 4]
    token = answer.last_id()
    answer.hang_up()
    await other.append([record(5, 3)])
    again = await request(port, "/v2/stream/edits", {"Last-Event-ID": token or ""})
    assert await receive(again, 1) == [5]
    again.hang_up()
    await other.close()


async def test_since_starts_by_the_time_of_receipt_in_every_partition(log: Log, port: int) -> None:
    await log.append([record(1, 0), record(2, 1)])
    await asyncio.sleep(0.05)
    placed: Any = await log.append([record(3, 0)])
    await log.append([record(4, 1), record(5, 0)])
    answer = await request(port, f"/v2/stream/edits?since={placed[0].timestamp_ms}")
    assert sorted(await receive(answer, 3)) == [3, 4, 5]
    answer.hang_up()
    everything = await request(port, "/v2/stream/edits?since=2020-01-01T00:00:00Z")
    assert sorted(await receive(everything, 5)) == [1, 2, 3, 4, 5]
    everything.hang_up()
