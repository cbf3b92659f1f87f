"""The offsets that another program has committed for its consumer group are read from a real broker."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, NewTopic

from headwater.config import Config
from headwater.errors import LogUnavailable
from headwater.log.kafka import consumer_groups
from headwater.log.kafka.consumer_groups import ConsumerGroups
from headwater.settings import LogConfig


def groups_at(url: str) -> ConsumerGroups:
    return ConsumerGroups.of(replace(Config(Path()), log=LogConfig(url=url)))


async def test_the_committed_offsets_of_a_group(kafka_server: str) -> None:
    namespace = f"groups{uuid.uuid4().hex[:8]}."
    topic = f"{namespace}orders"
    admin = AdminClient({"bootstrap.servers": kafka_server})
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result()
    groups = groups_at(f"kafka://{kafka_server}/{namespace}")
    assert (await groups.position("job.counts", {"orders": 3})).offsets == {}
    other = Consumer({"bootstrap.servers": kafka_server, "group.id": f"{namespace}job.counts"})
    other.commit(offsets=[KafkaPartition(topic, 0, 7), KafkaPartition(topic, 2, 0)], asynchronous=False)
    # While the other program is still there.
    assert (await groups.position("job.counts", {"orders": 3})).offsets == {("orders", 0): 7, ("orders", 2): 0}
    assert (await groups.position("job.others", {"orders": 3})).offsets == {}
    assert (await groups.position("job.counts", {})).offsets == {}
    other.close()


async def test_brokers_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_groups, "ANSWER_SECONDS_MAX", 0.5)
    with pytest.raises(LogUnavailable, match=r"Reading the offsets of the group job\.counts"):
        await groups_at("kafka://127.0.0.1:1").position("job.counts", {"orders": 1})
