"""The Kafka source keeps what the contract of a Source promises, on a real Kafka, for topics that are not ours."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from headwater.connectors.contract import Delivery
from headwater.connectors.registry import source_spec
from headwater.connectors.source_spec import SourceContext
from headwater.connectors.sources.kafka.options import KafkaSourceOptions
from headwater.connectors.sources.kafka.source import KafkaSource
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, PositionLost, SourceRefused, SourceUnavailable
from headwater.log.contract import Position
from headwater.testing.eventually import eventually
from headwater.testing.suites.source import NewSource, Put, PutInto, SourceSuite, event, numbers_of, read_all
from servers.foreign_topic import PARTITIONS, ForeignTopic
from servers.kafka import KafkaCluster, SecureListener

BYTES_MAX = 10_000
UPSTREAM = "headwater.connectors.sources.kafka.upstream"
SOURCE = "headwater.connectors.sources.kafka.source"


@pytest.fixture
def topic(kafka_server: str) -> ForeignTopic:
    return ForeignTopic(kafka_server)


def source_of(topic: ForeignTopic, **options: Any) -> KafkaSource:
    return KafkaSource(
        KafkaSourceOptions((topic.server,), (topic.name,), **options), SourceContext("orders", Path(), BYTES_MAX)
    )


@pytest.fixture
def new_source(topic: ForeignTopic) -> NewSource:
    return lambda: source_of(topic)


class TestKafkaSource(SourceSuite):
    implementations = (KafkaSource,)
    resumed_max = 7

    @pytest.fixture
    def new_source(self, new_source: NewSource) -> NewSource:
        return new_source

    @pytest.fixture
    def put(self, topic: ForeignTopic) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            await asyncio.to_thread(topic.put, *events)

        return put

    @pytest.fixture
    def put_into(self, topic: ForeignTopic) -> PutInto:
        async def put_into(partition: str, *events: Mapping[str, Any]) -> None:
            topic.put(*events, partition=int(partition.rpartition("/")[2]))

        return put_into

    @pytest.fixture
    def position(self, topic: ForeignTopic) -> Callable[[], Awaitable[str]]:
        async def position() -> str:
            consumer = Consumer({"bootstrap.servers": topic.server, "group.id": "unused"})
            places = [KafkaPartition(topic.name, number) for number in range(PARTITIONS)]
            ends = [consumer.get_watermark_offsets(place, timeout=30)[1] for place in places]
            consumer.close()
            return ", ".join(f"{topic.name}/{number}={end}" for number, end in enumerate(ends))

        return position

    @pytest.fixture
    def lose(self, topic: ForeignTopic) -> Callable[[], Awaitable[None]]:
        async def lose() -> None:
            topic.forget()

        return lose


async def read_once(source: KafkaSource, token: str | None = None) -> tuple[list[Delivery], str]:
    """What a source has after a token, and the token after that."""
    await source.open(token)
    found: list[Delivery] = []
    while True:
        batch = await source.read(deliveries_max=1000, wait_seconds=0.0)
        found += batch.deliveries
        if not batch.deliveries:
            await source.close()
            return found, batch.token


async def test_tombstones_are_skipped_and_counted_and_the_position_is_after_them(topic: ForeignTopic) -> None:
    topic.put(event(0), None, event(1), None, None)
    source = source_of(topic)
    found, token = await read_once(source)
    assert [one.value["number"] for one in found] == [0, 1]
    assert source.tombstones == 3
    assert Position.parse(token).offsets[topic.name, 0] == 5
    assert (await read_once(source, token))[0] == []
    assert source.tombstones == 3


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"no JSON", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b"[1]", "not an object"),
        (b"null", "not an object"),
        (b'"text"', "not an object"),
        (orjson.dumps({"text": "x" * BYTES_MAX}), "more than 10,000"),
    ],
)
async def test_what_is_no_event_is_delivered_with_its_bytes_and_the_reason(
    topic: ForeignTopic, raw: bytes, why: str
) -> None:
    topic.put(event(0), raw, event(1))
    found, _ = await read_once(source_of(topic))
    assert [one.value.get("number") for one in found] == [0, None, 1]
    assert [bool(one.problem) for one in found] == [False, True, False]
    assert why in found[1].problem
    assert f"Message 1 of {topic.name}/0" in found[1].problem
    assert raw.startswith(found[1].raw)
    assert bool(found[1].raw) is bool(raw)


async def test_a_message_without_an_id_has_the_same_one_whenever_it_is_read(topic: ForeignTopic) -> None:
    topic.put({"number": 0}, {"number": 0}, b"no JSON")
    first, _ = await read_once(source_of(topic))
    again, _ = await read_once(source_of(topic))
    ids = [one.event_id for one in first]
    assert [one.event_id for one in again] == ids
    assert len(set(ids)) == 3
    await topic.recreate()
    topic.put({"number": 0})
    others, _ = await read_once(source_of(topic))
    assert others[0].event_id not in ids


async def test_only_what_was_committed_is_delivered(topic: ForeignTopic) -> None:
    topic.put(event(0))
    await asyncio.to_thread(lambda: topic.transaction(event(1)).abort_transaction(30))
    await asyncio.to_thread(lambda: topic.transaction(event(2)).commit_transaction(30))
    opened = await asyncio.to_thread(topic.transaction, event(3))
    topic.put(event(4))
    source = source_of(topic)
    await source.open(None)
    assert numbers_of(await read_all(source)) == [0, 2], "what comes after an open transaction waits for it"
    assert await source.upstream_lag() == 0
    await asyncio.to_thread(opened.commit_transaction, 30)
    found: list[int] = []

    async def is_read() -> bool:
        # A transaction that is committed becomes visible a moment later.
        found.extend(numbers_of(await read_all(source)))
        return found == [3, 4]

    await eventually(is_read)
    assert await source.upstream_lag() == 0
    await source.close()


async def test_the_lag_counts_what_was_not_delivered(topic: ForeignTopic) -> None:
    source = source_of(topic)
    assert await source.upstream_lag() is None
    topic.put(*map(event, range(3)))
    topic.put(*map(event, range(4)), partition=1)
    await source.open(None)
    assert await source.upstream_lag() == 7
    batch = await source.read(deliveries_max=2, wait_seconds=10.0)
    assert await source.upstream_lag() == 7 - len(batch.deliveries)
    await read_all(source)
    assert await source.upstream_lag() == 0
    await source.close()


async def test_partitions_that_are_added_are_read_from_their_start(
    topic: ForeignTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{SOURCE}.WATCH_SECONDS", 0.05)
    source = source_of(topic, start="newest")
    topic.put(event(0))
    await source.open(None)
    token = (await source.read(deliveries_max=10, wait_seconds=0.0)).token
    topic.grow(PARTITIONS + 1)
    topic.put(event(1), event(2), partition=PARTITIONS)
    found: list[tuple[Delivery, str]] = []

    async def is_read() -> bool:
        found.extend(await read_all(source))
        return len(found) == 2

    await eventually(is_read)
    await source.close()
    assert numbers_of(found) == [1, 2]
    assert found[0][0].partition == f"{topic.name}/{PARTITIONS}"
    # They are read from their start, too, where they were added while nothing was read.
    assert [one.value["number"] for one in (await read_once(source, token))[0]] == [1, 2]
    assert [one.value["number"] for one in (await read_once(source, found[0][1]))[0]] == [2]


async def test_a_topic_that_was_created_again_is_another_one(topic: ForeignTopic) -> None:
    topic.put(*map(event, range(5)))
    source = source_of(topic)
    _, token = await read_once(source)
    await topic.recreate()
    topic.put(*map(event, range(100, 110)))
    with pytest.raises(PositionLost, match="created again"):
        await source.open(token)
    await source.close()
    assert [one.value["number"] for one in (await read_once(source))[0]] == [*range(100, 110)]


async def test_a_topic_that_is_created_again_while_it_is_read_stops_the_source(
    topic: ForeignTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{SOURCE}.WATCH_SECONDS", 0.0)
    topic.put(event(0))
    source = source_of(topic)
    await source.open(None)
    assert numbers_of(await read_all(source)) == [0]
    await topic.recreate()
    topic.put(*map(event, range(100, 110)))
    delivered: list[Any] = []

    async def is_lost() -> bool:
        try:
            delivered.extend((await source.read(deliveries_max=100, wait_seconds=0.1)).deliveries)
        except SourceUnavailable:
            return False
        except PositionLost:
            return True
        return False

    await eventually(is_lost)
    await source.close()
    assert delivered == [], "nothing of another topic passes for what follows"


async def test_a_topic_that_is_deleted_stops_the_source_once_that_is_certain(
    topic: ForeignTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.put(event(0))
    source = source_of(topic)
    _, token = await read_once(source)
    topic.delete()

    async def is_missed() -> bool:
        with contextlib.suppress(SourceUnavailable):
            await source.open(token)
            return False
        return True

    await eventually(is_missed)
    monkeypatch.setattr(f"{UPSTREAM}.GONE_SECONDS", 0.0)
    with pytest.raises(PositionLost, match="deleted"):
        await source.open(token)
    # Who has not read it yet waits for it.
    with pytest.raises(SourceUnavailable, match=topic.name) as unavailable:
        await source.open(None)
    assert "Create it" in str(unavailable.value.hint)
    await source.close()


async def test_a_position_behind_the_end_is_lost(topic: ForeignTopic) -> None:
    topic.put(event(0))
    source = source_of(topic)
    with pytest.raises(PositionLost, match=f"{topic.name}/0"):
        await source.open(Position({(topic.name, 0): 7}).token())
    await source.close()


async def test_messages_that_are_deleted_before_they_are_read_stop_the_source(topic: ForeignTopic) -> None:
    source = source_of(topic, fetch_bytes_max=65_536)
    text = "x" * 5_000
    topic.put(*(event(number, text=text) for number in range(200)))
    await source.open(None)
    await source.read(deliveries_max=1, wait_seconds=10.0)
    topic.forget()
    topic.put(event(1_000))

    async def is_lost() -> bool:
        try:
            await source.read(deliveries_max=10, wait_seconds=0.1)
        except PositionLost:
            return True
        return False

    await eventually(is_lost)
    await source.close()


async def test_it_begins_at_a_time(topic: ForeignTopic) -> None:
    for number in range(5):
        topic.put(event(number), partition=number % 2, timestamp_ms=1_700_000_000_000 + 1000 * number)
    source = source_of(topic)
    for at_ms, expected in ((0, {0, 1, 2, 3, 4}), (1_700_000_002_000, {2, 3, 4}), (1_800_000_000_000, set())):
        token = await source.token_at(at_ms)
        assert {one.value["number"] for one in (await read_once(source, token))[0]} == expected


async def test_newest_begins_behind_what_is_there(topic: ForeignTopic) -> None:
    topic.put(event(0))
    source = source_of(topic, start="newest")
    await source.open(None)
    assert await read_all(source) == []
    topic.put(event(1))
    assert numbers_of(await read_all(source)) == [1]
    await source.close()


async def test_what_was_confirmed_is_committed_to_a_group_for_others_to_see(topic: ForeignTopic) -> None:
    group = uuid.uuid4().hex
    source = source_of(topic, group=group)
    topic.put(*map(event, range(5)))
    await source.open(None)
    found = await read_all(source)
    assert committed(topic, group) == [-1001]
    await source.confirm(found[2][1])
    assert committed(topic, group) == [3]
    await source.close()
    # The position is that of the token alone.
    assert [one.value["number"] for one in (await read_once(source, found[0][1]))[0]] == [1, 2, 3, 4]


def committed(topic: ForeignTopic, group: str) -> Sequence[int]:
    consumer = Consumer({**topic.settings, "group.id": group})
    try:
        return [one.offset for one in consumer.committed([KafkaPartition(topic.name, 0)], timeout=30)]
    finally:
        consumer.close()


async def test_it_logs_in_where_that_is_required(kafka_secure: SecureListener) -> None:
    settings = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "ssl.ca.location": str(kafka_secure.ca_file),
    }
    login = {"sasl.username": kafka_secure.user, "sasl.password": kafka_secure.password}
    topic = ForeignTopic(kafka_secure.bootstrap, settings | login)
    topic.put(event(0))
    source = source_of(topic, user=kafka_secure.user, password=kafka_secure.password, settings=settings)
    assert [one.value["number"] for one in (await read_once(source))[0]] == [0]
    wrong = source_of(topic, user="me", password="wr0ng", settings=settings, timeout_seconds=3.0)
    with pytest.raises((SourceRefused, SourceUnavailable)) as refused:
        await wrong.open(None)
    assert "uthentication" in refused.value.message
    assert "wr0ng" not in str(refused.value)
    await wrong.close()


async def test_a_broker_that_is_away_makes_the_source_unavailable_and_nothing_is_lost(
    kafka_alone: KafkaCluster,
) -> None:
    topic = ForeignTopic(kafka_alone.bootstrap)
    source = source_of(topic, timeout_seconds=2.0)
    topic.put(event(0))
    await source.open(None)
    found = await read_all(source)
    kafka_alone.pause(1)
    try:
        with pytest.raises(SourceUnavailable):
            await source.read(deliveries_max=10, wait_seconds=0.0)
        with pytest.raises(SourceUnavailable):
            await source.open(found[-1][1])
    finally:
        kafka_alone.resume(1)
    topic.put(event(1))

    async def is_back() -> list[int]:
        with contextlib.suppress(SourceUnavailable):
            return [one.value["number"] for one in (await read_once(source, found[-1][1]))[0]]
        return []

    assert await eventually(is_back) == [1]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"topics": []}, "topic"),
        ({"topics": ["a", "a"]}, "twice"),
        ({"topics": ["a b"]}, "'a b'"),
        ({"servers": []}, "broker"),
        ({"settings": {"group.id": "mine"}}, "group.id"),
        ({"settings": {"auto.offset.reset": "earliest"}}, "auto.offset.reset"),
        ({"settings": {"isolation.level": "read_uncommitted"}}, "isolation.level"),
        ({"settings": {"sasl.password": "x"}}, "sasl.password"),
        ({"settings": {"bootstrap.servers": "x"}}, "bootstrap.servers"),
        ({"password": "plain"}, "reference"),
        ({"fetch_bytes_max": 1}, "fetch_bytes_max"),
        ({"topic": "a"}, "topics"),
    ],
)
def test_options_that_cannot_be_are_refused(written: Mapping[str, Any], why: str) -> None:
    spec = source_spec("kafka")
    given = {"servers": ["localhost:9092"], "topics": ["orders"], **written}
    with pytest.raises(ConfigInvalid) as refused:
        spec.read(given, Declaration("sources/orders.yaml", given), ())
    assert why in f"{refused.value} {refused.value.hint}"


async def test_a_setting_that_the_client_does_not_know_is_refused(topic: ForeignTopic) -> None:
    source = source_of(topic, settings={"no.such.setting": "x"})
    with pytest.raises(SourceRefused, match=r"no\.such\.setting"):
        await source.open(None)
    await source.close()
