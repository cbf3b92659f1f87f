"""Feeds what comes at the ends of some partitions to the event loop: one consumer and the thread that owns it.

How this works: the client keeps no fetch sessions, so each of its fetches names all partitions of its consumer, and for
each of them it searches the list of its topics. What an event costs grows with the partitions of its own feed, and with
their square; so a follower of many has several feeds, none of them large.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as KafkaPartition

from headwater.log.contract import StoredRecord, TopicPartition
from headwater.log.kafka.lost import LossCheck
from headwater.log.kafka.reader import meet, stored
from headwater.log.kafka.settings import KafkaError, KafkaException, KafkaSettings

# Few enough that a fetch costs about what it does of one partition, enough for few feeds: each is threads, connections.
PARTITIONS_MAX = 128
POLL_SECONDS = 0.05
# If nothing new is followed, no caller waits for the answer to an order.
POLL_SECONDS_FULL = 0.25
# A record ends the wait at once, but a partition added during the wait is in the next fetch only.
FETCH_WAIT_MS = 250
QUEUED_KIB_MAX = 4_096
TAKEN_AT_ONCE = 1_000

_log = logging.getLogger(__name__)


class Order(NamedTuple):
    """A partition, from where on to follow it (None: no longer), and the number of its tail."""

    place: TopicPartition
    offset: int | None
    number: int


class Arrival(NamedTuple):
    """What has come of one partition: the number of the tail it was for, records, where it ends, whether it is lost."""

    number: int
    records: list[StoredRecord]
    end: int | None
    lost: bool


Arrivals = Mapping[TopicPartition, Arrival]


class Feed:
    """One consumer. Belongs to the event loop, but for `_run`, which is the thread."""

    def __init__(
        self, settings: KafkaSettings, arrived: Callable[[Arrivals], None], ended_early: Callable[[Feed], None]
    ) -> None:
        """Both are called in the event loop: `arrived` for all that comes, `ended_early` where it ends unasked."""
        self.places: set[TopicPartition] = set()
        self._settings = settings
        self._arrived = arrived
        self._ended_early = ended_early
        self._orders: deque[Order] = deque()
        self._ending = threading.Event()
        self._followed: dict[TopicPartition, int] = {}
        self._met: set[str] = set()
        self.thread = threading.Thread(
            target=self._run, args=(asyncio.get_running_loop(),), name="headwater-log-follower", daemon=True
        )
        self.thread.start()

    @property
    def is_full(self) -> bool:
        """Whether it should get no more partitions; it would still accept them."""
        return len(self.places) >= PARTITIONS_MAX

    def follow(self, place: TopicPartition, offset: int, number: int) -> None:
        """Feed the partition from `offset` on, to the tail of this `number`."""
        self.places.add(place)
        self._orders.append(Order(place, offset, number))

    def unfollow(self, place: TopicPartition) -> None:
        """Feed the partition no longer."""
        self.places.discard(place)
        self._orders.append(Order(place, None, 0))

    def stop(self) -> None:
        """End the thread, which can then be joined."""
        self._ending.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        loss = LossCheck(self._settings)
        settings = self._settings.consumer(fetch_wait_ms=FETCH_WAIT_MS, queued_kib_max=QUEUED_KIB_MAX)
        consumer = Consumer({**settings, "error_cb": loss.suspect})
        try:
            while not self._ending.is_set():
                self._obey(consumer, [self._orders.popleft() for _ in range(len(self._orders))])
                message = consumer.poll(POLL_SECONDS_FULL if self.is_full else POLL_SECONDS)
                if message is not None:
                    loss.alive()
                    messages = (message, *consumer.consume(TAKEN_AT_ONCE, 0))
                    loop.call_soon_threadsafe(self._arrived, self._sorted(messages))
                elif loss.finds_lost(consumer):
                    _log.debug("a feed of the Kafka log has lost its brokers; readers start another")
                    break
        except Exception:
            if not self._ending.is_set():
                _log.exception("a feed of the Kafka log ended; readers start another")
        finally:
            consumer.close()
            if not self._ending.is_set():
                # The event loop may have been closed first: then nothing waits for this.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._ended_early, self)

    def _sorted(self, messages: Iterable[Message]) -> dict[TopicPartition, Arrival]:
        strip = len(self._settings.namespace)
        records: dict[TopicPartition, list[StoredRecord]] = {}
        ends: dict[TopicPartition, int] = {}
        lost: set[TopicPartition] = set()
        for message in messages:
            error = message.error()
            if error is None:
                record = stored(message, strip)
                records.setdefault((record.topic, record.partition), []).append(record)
            elif (name := message.topic()) is not None:
                place = (name[strip:], message.partition() or 0)
                if error.code() == KafkaError._PARTITION_EOF:
                    ends[place] = message.offset() or 0
                else:
                    lost.add(place)
        return {
            place: Arrival(self._followed.get(place, 0), records.get(place, []), ends.get(place), place in lost)
            for place in {*records, *ends, *lost}
        }

    def _obey(self, consumer: Consumer, orders: list[Order]) -> None:
        if not orders:
            return
        namespace = self._settings.namespace
        meet(consumer, {namespace + order.place[0] for order in orders}, self._met, self._settings.closing)
        for place, offset, number in orders:
            name = namespace + place[0]
            with contextlib.suppress(KafkaException):
                if self._followed.pop(place, None) is not None:
                    consumer.incremental_unassign([KafkaPartition(name, place[1])])
                if offset is not None:
                    consumer.incremental_assign([KafkaPartition(name, place[1], offset)])
                    self._followed[place] = number
