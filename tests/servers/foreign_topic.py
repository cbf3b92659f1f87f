"""A topic of another program on a Kafka, and what that program does with it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from headwater.testing.eventually import eventually, eventually_blocking

PARTITIONS = 2


class ForeignTopic:
    """Made with a name of its own on the brokers at `server`; `settings` are those of its clients."""

    def __init__(self, server: str, settings: Mapping[str, Any] | None = None, partitions: int = PARTITIONS) -> None:
        self.server = server
        self.name = f"orders-{uuid.uuid4().hex[:12]}"
        self.settings = {"bootstrap.servers": server, **(settings or {})}
        self.admin = AdminClient(self.settings)
        self._producer = self._new_producer()
        self.create(partitions)

    def create(self, partitions: int = PARTITIONS) -> None:
        self.admin.create_topics([NewTopic(self.name, partitions, 1)])[self.name].result()

    def put(self, *values: Mapping[str, Any] | bytes | None, partition: int = 0, timestamp_ms: int = 0) -> None:
        for value in values:
            raw = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
            more = {"timestamp": timestamp_ms} if timestamp_ms else {}
            self._producer.produce(self.name, raw, b"key", partition, **more)
        assert self._producer.flush(30) == 0

    def transaction(self, *values: Mapping[str, Any]) -> Producer:
        """A producer with these in a transaction that it has not ended."""
        producer = Producer({**self.settings, "transactional.id": uuid.uuid4().hex})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(self.name, orjson.dumps(value), b"key", 0)
        producer.flush(30)
        return producer

    def grow(self, partitions: int) -> None:
        self.admin.create_partitions([NewPartitions(self.name, partitions)])[self.name].result()
        # The one before learns of it only minutes later.
        self._producer = self._new_producer()
        eventually_blocking(lambda: self._partitions() == partitions)

    def _partitions(self) -> int:
        return len(self._producer.list_topics(self.name, timeout=30).topics[self.name].partitions)

    def _new_producer(self) -> Producer:
        return Producer({**self.settings, "linger.ms": 0, "enable.idempotence": True})

    def forget(self) -> None:
        """Delete all messages."""
        places = [KafkaPartition(self.name, number, -1) for number in range(PARTITIONS)]
        for future in self.admin.delete_records(places).values():
            future.result()

    def delete(self) -> None:
        self.admin.delete_topics([self.name])[self.name].result()

    async def recreate(self) -> None:
        self.delete()

        def is_there() -> bool:
            with contextlib.suppress(Exception):
                self.create()
                return True
            return False

        await eventually(is_there)
