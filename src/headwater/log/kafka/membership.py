"""Divides the partitions of topics among the processes of one consumer group, and reports to each its own.

How this works: a consumer subscribes to the topics, so that the brokers know that this process is alive and assign
every partition to one member. All its partitions are paused: it never reads. One thread polls it and passes every
change of the assignment to the event loop. A member that leaves is replaced at once, one that dies after SESSION_MS.
The client sends heartbeats even if the rest of the process is blocked: so the thread checks that the event loop runs,
and leaves the group while it does not; if the thread itself cannot run, the client leaves (`max.poll.interval.ms`). An
assignment is a hint and not a lock: a process that was suspended still uses the old one, so writers are fenced as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import OFFSET_END, Consumer
from confluent_kafka import TopicPartition as KafkaPartition

from headwater.errors import HeadwaterError
from headwater.log.contract import TopicPartition
from headwater.log.kafka.lost import LossCheck
from headwater.log.kafka.settings import KafkaError, KafkaException, KafkaSettings, refused_option, translate

SESSION_MS = 6_000
HEARTBEAT_MS = 2_000
POLL_SECONDS = 0.1
# What the client does not get over by trying again.
LASTING = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_SESSION_TIMEOUT,
    }
)

_log = logging.getLogger(__name__)


class KafkaMembership:
    """One process's part in a group. Belongs to one event loop; it has joined when the first change comes."""

    def __init__(
        self, settings: KafkaSettings, group: str, topics: Iterable[str], stall_seconds_max: float = 60.0
    ) -> None:
        """Begin to join `group`. Raises ConfigInvalid for options that the client does not accept."""
        self.assigned: frozenset[TopicPartition] = frozenset()
        self._settings = settings
        self._group = group
        self._strip = len(settings.namespace)
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._ending = threading.Event()
        self._failure: HeadwaterError | None = None
        self._stall_seconds_max = stall_seconds_max
        self._alive_at = time.monotonic()
        # Only the thread has to do with these.
        self._held: set[TopicPartition] = set()
        self._asked_at: float | None = None
        self._loss = LossCheck(settings)
        try:
            self._consumer = self._new_consumer()
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_option(error, settings) from None
        names = [settings.namespace + topic for topic in topics]
        self._thread = threading.Thread(target=self._run, args=(names,), name="headwater-log-membership", daemon=True)
        self._thread.start()

    async def changes(self) -> frozenset[TopicPartition]:
        """Wait for the next change of `assigned`, and answer it. Raises LogUnavailable where the group is refused."""
        await self._changed.wait()
        self._changed.clear()
        if self._failure is not None:
            raise self._failure
        return self.assigned

    async def close(self) -> None:
        """Leave the group, so that the other members take over at once; idempotent."""
        self._ending.set()
        await self._loop.run_in_executor(None, self._thread.join)

    def _new_consumer(self) -> Consumer:
        settings = self._settings
        # The client accepts no interval below the session's.
        session_ms = int(settings.options.get("session.timeout.ms", SESSION_MS))
        return Consumer(
            {
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": HEARTBEAT_MS,
                "max.poll.interval.ms": max(session_ms, int(self._stall_seconds_max * 1_000)),
                **settings.consumer(fetch_wait_ms=500, queued_kib_max=1),
                "group.id": settings.namespace + self._group,
                "partition.assignment.strategy": "cooperative-sticky",
                "auto.offset.reset": "latest",
                "enable.partition.eof": False,
                "error_cb": self._loss.suspect,
            }
        )

    def _run(self, names: list[str]) -> None:
        try:
            self._join(names)
            while not self._ending.is_set():
                message = self._consumer.poll(POLL_SECONDS)
                error = message.error() if message is not None else None
                if error is not None:
                    _log.debug("the group %s: %s", self._group, error.str())
                    if error.fatal() or error.code() in LASTING:
                        self._fail(KafkaException(error))
                        return
                if self._is_stalled():
                    self._sit_out(names)
                if self._loss.finds_lost(self._consumer):
                    self._join_anew(names)
        except Exception as error:  # any error: those who wait for changes must get it
            self._fail(error)
        finally:
            self._consumer.close()

    def _join(self, names: list[str]) -> None:
        self._consumer.subscribe(names, on_assign=self._given, on_revoke=self._taken, on_lost=self._taken)

    def _join_anew(self, names: list[str]) -> None:
        """With another consumer: the brokers give the partitions of the old one to other members."""
        _log.debug("a member of the group %s has lost its brokers and is replaced", self._group)
        self._held.clear()
        self._notify()
        self._consumer.close()
        self._consumer = self._new_consumer()
        self._join(names)

    def _is_stalled(self) -> bool:
        """Whether the event loop has been blocked for too long; also requests its next sign of life."""
        now = time.monotonic()
        if self._asked_at is None or self._alive_at >= self._asked_at:
            self._asked_at = now
            self._in_loop(self._show_life)
        return now - self._asked_at > self._stall_seconds_max

    def _sit_out(self, names: list[str]) -> None:
        """Leave the group until the event loop continues."""
        _log.error(
            "the event loop was blocked for %g s: other processes take over its partitions of the group %s",
            self._stall_seconds_max,
            self._group,
        )
        # Unsubscribing reaches the brokers at once; the assignment is revoked by the next calls.
        self._consumer.unsubscribe()
        while self._is_stalled() and not self._ending.is_set():
            self._consumer.poll(POLL_SECONDS)
        if not self._ending.is_set():
            self._join(names)

    def _given(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        # Paused only once it is assigned: from the end, there is nothing to fetch until then.
        consumer.incremental_assign([KafkaPartition(part.topic, part.partition, OFFSET_END) for part in partitions])
        consumer.pause(partitions)
        self._held |= self._places(partitions)
        self._notify()

    def _taken(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        self._held -= self._places(partitions)
        self._notify()
        consumer.incremental_unassign(partitions)

    def _places(self, partitions: Iterable[KafkaPartition]) -> set[TopicPartition]:
        return {(part.topic[self._strip :], part.partition) for part in partitions}

    def _fail(self, error: Exception) -> None:
        doing = f"Sharing the partitions of {self._group!r}"
        self._failure = translate(error, doing, self._settings.servers)
        self._held.clear()
        self._notify()

    def _notify(self) -> None:
        self._in_loop(self._apply, frozenset(self._held))

    def _in_loop(self, function: Callable[..., None], *arguments: object) -> None:
        # The event loop may have been closed first: then nothing waits for this.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _show_life(self) -> None:
        self._alive_at = time.monotonic()

    def _apply(self, assigned: frozenset[TopicPartition]) -> None:
        self.assigned = assigned
        self._changed.set()
