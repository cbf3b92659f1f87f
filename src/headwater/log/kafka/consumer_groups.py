"""Reads the offsets that other programs, such as Flink, have committed for their consumer groups."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from headwater.config import Config
from headwater.log.contract import Position, TopicPartition
from headwater.log.kafka.settings import KafkaException, KafkaSettings, checked_options, translate
from headwater.log.urls import parse_url

ANSWER_SECONDS_MAX = 10.0


class ConsumerGroups:
    """The consumer groups on the brokers of one log, by their names without its namespace."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    @classmethod
    def of(cls, config: Config) -> ConsumerGroups:
        """Those on the brokers of a configured log. Raises ConfigInvalid."""
        servers, namespace = parse_url(config.log.url)
        return cls(KafkaSettings(servers, namespace, checked_options(config.kafka_options())))

    async def position(self, group: str, partitions: Mapping[str, int]) -> Position:
        """The committed offsets in the topics with these numbers of partitions; without those that have none.

        Raises LogUnavailable.
        """
        places = [(topic, number) for topic, count in partitions.items() for number in range(count)]
        return Position(await asyncio.to_thread(self._committed, group, places) if places else {})

    def _committed(self, group: str, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        names = self._settings.namespace
        consumer: Consumer | None = None
        try:
            # It never joins the group, so that those who work for it keep their partitions.
            consumer = Consumer(
                {**self._settings.consumer(fetch_wait_ms=500, queued_kib_max=1), "group.id": names + group}
            )
            asked = [KafkaPartition(names + topic, partition) for topic, partition in places]
            found = consumer.committed(asked, timeout=ANSWER_SECONDS_MAX)
        except (KafkaException, ValueError, TypeError) as error:
            raise translate(error, f"Reading the offsets of the group {group}", self._settings.servers) from error
        finally:
            if consumer is not None:
                with contextlib.suppress(KafkaException):
                    consumer.close()
        return {(one.topic.removeprefix(names), one.partition): one.offset for one in found if one.offset >= 0}
