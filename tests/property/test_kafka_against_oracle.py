"""Whatever is done to the Kafka log, it agrees with the naive one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from headwater.log.contract import Log
from headwater.testing.clock import ManualClock
from headwater.testing.log_machine import LogMachine
from servers.kafka import KafkaCluster

# A failure is first made small, which takes longer than finding it.
pytestmark = pytest.mark.timeout(900)


def machine_on(bootstrap: str) -> type[LogMachine]:
    """The machine, with a namespace of its own for each run."""

    class KafkaMachine(LogMachine):
        is_shared = True

        def new_clock(self) -> ManualClock:
            # A broker refuses times too far from its own.
            return ManualClock(time.time())

        def make(self, directory: Path, clock: ManualClock) -> Log:
            from headwater.log.kafka.log import KafkaLog

            return KafkaLog(f"kafka://{bootstrap}/{self.root.name}.", clock=clock, cache_bytes_max=4_000)

        def teardown(self) -> None:
            super().teardown()
            remove_topics(bootstrap, f"{self.root.name}.")

    return KafkaMachine


def remove_topics(bootstrap: str, namespace: str) -> None:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(namespace)]
    if topics:
        for deleted in admin.delete_topics(topics).values():
            deleted.result(timeout=20)


def run(bootstrap: str, share: int) -> None:
    """Examples against a server take a second or two each."""
    run_state_machine_as_test(
        machine_on(bootstrap),
        settings=settings(
            max_examples=max(2, settings().max_examples // share),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_the_log_on_one_broker_agrees_with_the_oracle(kafka_server: str) -> None:
    run(kafka_server, 12)


def test_the_log_on_three_brokers_agrees_with_the_oracle(kafka_cluster: KafkaCluster) -> None:
    run(kafka_cluster.bootstrap, 25)
