"""The Kafka sink keeps what the contract of a Sink promises, on a real Kafka, to a topic that is not ours."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from headwater.connectors.contract import Delivery, EventShape
from headwater.connectors.registry import sink_spec
from headwater.connectors.sinks.kafka import KafkaOptions, KafkaSink
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, SinkUnavailable, WriteIncomplete
from headwater.testing.eventually import eventually_blocking
from headwater.testing.suites.event_sink import KEYED, EventSinkSuite, NewEventSink, Received, event
from servers.kafka import KafkaCluster, SecureListener

PARTITIONS = 3
BYTES_MAX = 1_000_000


class Topic:
    """A topic of another program."""

    def __init__(self, server: str, settings: Mapping[str, Any] | None = None) -> None:
        self.server = server
        self.name = f"orders-{uuid.uuid4().hex[:12]}"
        self._settings = {"bootstrap.servers": server, **(settings or {})}
        self._admin = AdminClient(self._settings)
        new = NewTopic(self.name, PARTITIONS, 1, config={"max.message.bytes": str(BYTES_MAX)})
        self._admin.create_topics([new])[self.name].result()
        # A partition has no leader at first.
        eventually_blocking(self._has_leaders)

    def _has_leaders(self) -> bool:
        consumer = Consumer({**self._settings, "group.id": uuid.uuid4().hex})
        try:
            for number in range(PARTITIONS):
                consumer.get_watermark_offsets(TopicPartition(self.name, number), timeout=10)
        except KafkaException:
            return False
        finally:
            consumer.close()
        return True

    def messages(self) -> list[tuple[int, str | None, Any]]:
        """(partition, key, value) of each, in the order of the partition."""
        consumer = Consumer({**self._settings, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
        places = [TopicPartition(self.name, number, 0) for number in range(PARTITIONS)]
        consumer.assign(places)
        total = sum(consumer.get_watermark_offsets(place)[1] for place in places)
        found = []
        while len(found) < total:
            message = consumer.poll(10)
            assert message is not None
            assert message.error() is None
            key, value = message.key(), message.value()
            found.append((message.partition(), None if key is None else key.decode(), value and orjson.loads(value)))
        consumer.close()
        return sorted(found, key=lambda one: one[0])

    def delete(self) -> None:
        self._admin.delete_topics([self.name])[self.name].result()


@pytest.fixture
def topic(kafka_server: str) -> Topic:
    return Topic(kafka_server)


@pytest.fixture
def new_sink(topic: Topic) -> Callable[..., Any]:
    def new_sink(shape: EventShape, **options: Any) -> KafkaSink:
        return KafkaSink(KafkaOptions((topic.server,), topic.name, **{"timeout_seconds": 20.0, **options}), shape)

    return new_sink


class TestKafkaSink(EventSinkSuite):
    implementations = (KafkaSink,)

    @pytest.fixture
    def new_sink(self, new_sink: NewEventSink) -> NewEventSink:
        return new_sink

    @pytest.fixture
    def received(self, topic: Topic) -> Received:
        return lambda: [value for _, _, value in topic.messages()]


async def test_a_key_chooses_the_partition_and_a_delete_has_no_value(topic: Topic, new_sink: NewEventSink) -> None:
    sink = new_sink(EventShape("keyed", ("name",), delete_when=(("kind", ("delete",)),)))
    await sink.open()
    await sink.write([event(name, number) for number in range(3) for name in "abcdef"], "token")
    await sink.write([event("a", 3, kind="delete")], "token 2")
    await sink.close()
    messages = topic.messages()
    places = {key: {place for place, found, _ in messages if found == key} for key in "abcdef"}
    assert all(len(some) == 1 for some in places.values())
    assert len(set.union(*places.values())) > 1
    of_a = [value and value["number"] for _, key, value in messages if key == "a"]
    assert of_a == [0, 1, 2, None]


async def test_keys_of_several_values_and_of_other_types_are_json(topic: Topic, new_sink: NewEventSink) -> None:
    for key, value in ((("name", "number"), '["é",7]'), (("number",), "7"), (("name",), "é")):
        sink = new_sink(EventShape("keyed", key))
        await sink.open()
        await sink.write([event("é", 7)], "token")
        await sink.close()
        assert value in {found for _, found, _ in topic.messages()}


async def test_what_the_topic_refuses_is_rejected_and_the_rest_is_written(topic: Topic, new_sink: NewEventSink) -> None:
    sink = new_sink(KEYED, settings={"message.max.bytes": 5_000_000})
    await sink.open()
    incompressible = random.Random(1).randbytes(2 * BYTES_MAX).hex()
    huge, longer = event("b", 1, text=incompressible), event("b", 2, text="x" * 6_000_000)
    with pytest.raises(WriteIncomplete) as incomplete:
        await sink.write([event("a", 1), huge, event("c", 1), longer, Delivery({"number": 1})], "token")
    assert sorted(incomplete.value.rejected) == [1, 3, 4]
    assert "name is absent" in str(incomplete.value.rejected[4])
    assert incomplete.value.retry == ()
    assert sorted(value["name"] for _, _, value in topic.messages()) == ["a", "c"]
    await sink.close()


async def test_a_topic_that_is_not_there_is_named_with_what_to_do(new_sink: NewEventSink, topic: Topic) -> None:
    sink = new_sink(KEYED)
    await sink.open()
    topic.delete()
    with pytest.raises(SinkUnavailable, match=topic.name) as unavailable:
        await sink.open()
    assert "Create the topic" in str(unavailable.value.hint)
    await sink.close()


async def test_it_logs_in_where_that_is_required(kafka_secure: SecureListener) -> None:
    settings = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "ssl.ca.location": str(kafka_secure.ca_file),
    }
    login = {"sasl.username": kafka_secure.user, "sasl.password": kafka_secure.password}
    topic = Topic(kafka_secure.bootstrap, settings | login)
    sink = KafkaSink(
        KafkaOptions(
            (topic.server,), topic.name, user=kafka_secure.user, password=kafka_secure.password, settings=settings
        ),
        KEYED,
    )
    await sink.open()
    await sink.write([event("a", 1)], "token")
    await sink.close()
    assert [value["number"] for _, _, value in topic.messages()] == [1]
    wrong = KafkaSink(
        KafkaOptions((topic.server,), topic.name, user="me", password="wr0ng", settings=settings, timeout_seconds=2.0),
        KEYED,
    )
    with pytest.raises(SinkUnavailable) as unavailable:
        await wrong.open()
    assert "wr0ng" not in str(unavailable.value)
    await wrong.close()


async def test_a_broker_that_is_away_makes_the_sink_unavailable_and_nothing_is_lost(
    kafka_alone: KafkaCluster,
) -> None:
    topic = Topic(kafka_alone.bootstrap)
    sink = KafkaSink(KafkaOptions((topic.server,), topic.name, timeout_seconds=3.0), KEYED)
    await sink.open()
    await sink.write([event("a", 1)], "token")
    kafka_alone.pause(1)
    try:
        with pytest.raises(SinkUnavailable) as unavailable:
            await sink.write([event("a", 2), event("b", 2)], "token 2")
        assert not isinstance(unavailable.value, WriteIncomplete)
        with pytest.raises(SinkUnavailable):
            await sink.open()
    finally:
        kafka_alone.resume(1)
    await sink.open()
    await sink.write([event("a", 2), event("b", 2)], "token 2")
    found = {(value["name"], value["number"]) for _, _, value in topic.messages()}
    assert found == {("a", 1), ("a", 2), ("b", 2)}
    await sink.close()


@pytest.mark.parametrize("name", ["acks", "bootstrap.servers", "sasl.password", "enable.idempotence"])
def test_settings_that_its_promises_depend_on_are_refused(name: str) -> None:
    written = {"servers": ["a:1"], "topic": "t", "settings": {name: "x"}}
    source = Declaration("streams/a.yaml", {"sinks": [written]}, {})
    with pytest.raises(ConfigInvalid, match=name):
        sink_spec("kafka").read(written, source, ("sinks", 0))
