"""Commits offsets of consumer groups for display in the brokers' own tools; they are never read back.

How this works: one thread commits them with consumers that never join their group, one for each group and only a few at
a time. The admin client could do it with one connection for all, but it aborts the whole process if the coordinator of
the group becomes unreachable during the request (librdkafka issues 3663 and 4605).
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Sequence

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from headwater.log.kafka.settings import KafkaException, KafkaSettings

OPEN_MAX = 8
# After this time without anything to commit, the consumers are closed.
IDLE_SECONDS = 30.0
# How long the client looks for the broker that keeps a group.
SESSION_MS = 6_000

_log = logging.getLogger(__name__)

_Order = tuple[str, Sequence[KafkaPartition]] | None


class GroupOffsets:
    """The offsets of the groups of one namespace. A commit that fails is skipped: the next one includes it."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # By group, the one used last at the end. Only the thread has to do with them.
        self._consumers: dict[str, Consumer] = {}

    def commit(self, group: str, partitions: Sequence[KafkaPartition]) -> None:
        """Commit the offsets of `partitions` for `group` (its name without the namespace), soon."""
        if self._thread is None:
            # A daemon: the client may be waiting for an unreachable broker when the process ends.
            self._thread = threading.Thread(target=self._run, name="headwater-log-groups", daemon=True)
            self._thread.start()
        self._orders.put((group, partitions))

    @property
    def is_behind(self) -> bool:
        """Whether there is more to commit than was done since."""
        return not self._orders.empty()

    def close(self, seconds_max: float) -> None:
        """Commit what is pending and close, as far as that is done in time. Blocks."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._orders.put(None)
            thread.join(seconds_max)

    def _run(self) -> None:
        while True:
            try:
                order = self._orders.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._close_all()
                order = self._orders.get()
            if order is None:
                break
            self._commit(*order)
        self._close_all()

    def _commit(self, group: str, partitions: Sequence[KafkaPartition]) -> None:
        consumer = self._consumers.pop(group, None)
        try:
            consumer = consumer or self._open(group)
            consumer.commit(offsets=list(partitions), asynchronous=False)
            self._consumers[group] = consumer
        except (KafkaException, ValueError, TypeError) as error:
            _log.debug("the consumer group %s does not show its position: %s", group, error)
            if consumer is not None:
                # It may have lost its brokers for good: the next commit is made by another.
                with contextlib.suppress(KafkaException):
                    consumer.close()

    def _open(self, group: str) -> Consumer:
        if len(self._consumers) >= OPEN_MAX:
            self._consumers.pop(next(iter(self._consumers))).close()
        settings = self._settings.consumer(fetch_wait_ms=500, queued_kib_max=1)
        return Consumer({"session.timeout.ms": SESSION_MS, **settings, "group.id": self._settings.namespace + group})

    def _close_all(self) -> None:
        consumers, self._consumers = list(self._consumers.values()), {}
        for consumer in consumers:
            with contextlib.suppress(KafkaException):
                consumer.close()
