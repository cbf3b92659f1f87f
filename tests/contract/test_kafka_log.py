"""The Kafka log keeps the contract, on one broker and on three."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from headwater.log.contract import Log
from headwater.log.kafka.log import KafkaLog
from headwater.testing.clock import ManualClock
from headwater.testing.suites.log import InspectableLogSuite
from servers.kafka import KafkaCluster


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """What all names of one test begin with; its topics are removed afterwards."""
    name = f"suite-{uuid.uuid4().hex[:10]}."
    yield name
    from confluent_kafka.admin import AdminClient

    server = request.getfixturevalue("bootstrap")
    admin = AdminClient({"bootstrap.servers": server})
    topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(name)]
    if topics:
        for deleted in admin.delete_topics(topics).values():
            deleted.result(timeout=20)


class KafkaSuite(InspectableLogSuite):
    implementations = (KafkaLog,)

    @pytest.fixture
    def clock(self) -> ManualClock:
        # A broker refuses times too far from its own.
        return ManualClock(time.time())

    @pytest.fixture
    async def log(self, bootstrap: str, namespace: str, clock: ManualClock) -> AsyncIterator[Log]:
        log = KafkaLog(f"kafka://{bootstrap}/{namespace}", clock=clock)
        await log.open()
        yield log
        await log.close()


class TestKafkaLogOnOneBroker(KafkaSuite):
    @pytest.fixture
    def bootstrap(self, kafka_server: str) -> str:
        return kafka_server


class TestKafkaLogOnThreeBrokers(KafkaSuite):
    @pytest.fixture
    def bootstrap(self, kafka_cluster: KafkaCluster) -> str:
        return kafka_cluster.bootstrap
