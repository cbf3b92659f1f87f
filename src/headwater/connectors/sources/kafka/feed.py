"""The messages of topics as deliveries: one consumer, placed at offsets by hand. Its calls block.

How this works: the consumer belongs to no group and is never asked where it is: each thing that it reports, a message
or the end of a partition, is handed on with the next offset to read there. Between them are the offsets of what is no
message, such as the marks of transactions, and of tombstones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from headwater.connectors.contract import Delivery
from headwater.connectors.sources.kafka.upstream import Upstream, commit
from headwater.errors import EventMalformed, HeadwaterError
from headwater.event import decode_event, get_path
from headwater.log.contract import TopicPartition

TAKEN_AT_ONCE = 500
BATCH_BYTES_MAX = 8_388_608
SHOWN_BYTES_MAX = 16_384
ASK_SECONDS_MAX = 5.0
# It is about the group, which nothing but `confirm` uses.
_OF_GROUPS = frozenset((KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.COORDINATOR_NOT_AVAILABLE))


class Taken(NamedTuple):
    """A step forward in one partition: up to before the offset `after`. `delivery` is None where no event is."""

    place: TopicPartition
    after: int
    delivery: Delivery | None = None
    is_tombstone: bool = False


class Feed:
    """Reads on from `offsets`. `marks` identify the topics. One thread at a time uses it, except `commit`."""

    def __init__(
        self, upstream: Upstream, offsets: Mapping[TopicPartition, int], marks: Mapping[str, str], event_bytes_max: int
    ) -> None:
        """Raises SourceRefused."""
        self._upstream = upstream
        self._marks = marks
        self._event_bytes_max = event_bytes_max
        # The next offset of what was not taken yet.
        self._offsets = dict(offsets)
        self._consumer = upstream.consumer()
        self._failure: HeadwaterError | None = None
        self._assign()

    def add(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read more partitions from these offsets on."""
        self._offsets |= offsets
        self._assign()

    def take(self, count: int, wait_seconds: float) -> list[Taken]:
        """About `count` steps; none if there are none in time. Raises what a partition reported, after what preceded.

        Raises PositionLost, SourceUnavailable, SourceRefused.
        """
        found: list[Taken] = []
        size = 0
        try:
            message = None if self._failure else self._consumer.poll(wait_seconds)
            while message is not None:
                for one in (message, *self._consumer.consume(min(TAKEN_AT_ONCE, count), 0)):
                    if (taken := self._step(one)) is not None:
                        found.append(taken)
                        self._offsets[taken.place] = taken.after
                        size += len(one.value() or b"") if one.error() is None else 0
                if len(found) >= count or size >= BATCH_BYTES_MAX or self._failure is not None:
                    break
                message = self._consumer.poll(0)
        except KafkaException as error:
            self._failure = self._upstream.error(error, ", ".join(sorted({name for name, _ in self._offsets})))
        if not found and self._failure is not None:
            raise self._failure
        return found

    def renew(self) -> None:
        """Continue with another consumer. Raises SourceRefused."""
        self._consumer.close()
        self._consumer = self._upstream.consumer()
        self._assign()

    def commit(self, offsets: Mapping[TopicPartition, int]) -> str:
        """Commit to the configured group. Why that failed; "" if it did not."""
        return commit(self._consumer, offsets)

    def close(self) -> None:
        self._consumer.close()

    def _assign(self) -> None:
        for name in {name for name, _ in self._offsets}:
            # On its own, the client would find partitions that were just made only seconds later.
            with contextlib.suppress(KafkaException):
                self._consumer.list_topics(name, timeout=ASK_SECONDS_MAX)
        self._consumer.assign([KafkaPartition(name, number, at) for (name, number), at in self._offsets.items()])

    def _step(self, message: Message) -> Taken | None:
        place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        error = message.error()
        if error is None:
            value = message.value()
            if value is None:
                # It says that its key is deleted.
                return Taken(place, offset + 1, is_tombstone=True)
            return Taken(place, offset + 1, self._delivery(place, offset, message, value))
        if place not in self._offsets or error.code() in _OF_GROUPS:
            return None
        if error.code() == KafkaError._PARTITION_EOF:
            return Taken(place, max(offset, self._offsets[place]))
        self._failure = self._failure or self._upstream.error(error, place[0], self._offsets[place])
        return None

    def _delivery(self, place: TopicPartition, offset: int, message: Message, raw: bytes) -> Delivery:
        name, number = place
        value, why = _read(raw, self._event_bytes_max)
        problem = f"Message {offset} of {name}/{number}: {why}" if why else ""
        event_id = get_path(value, "meta.id")
        if not isinstance(event_id, str):
            # The same message has the same id whenever it is read, and none of another topic of this name has it.
            mark = self._marks.get(name)
            event_id = f"{name}@{mark}/{number}/{offset}" if mark else f"{name}/{number}/{offset}"
        shown = raw if len(raw) <= self._event_bytes_max else raw[:SHOWN_BYTES_MAX]
        return Delivery(value, event_id, None, max(0, message.timestamp()[1]), name_of(place), shown, problem)


def name_of(place: TopicPartition) -> str:
    """The name of a partition of the source."""
    return f"{place[0]}/{place[1]}"


def _read(raw: bytes, bytes_max: int) -> tuple[Mapping[str, Any], str]:
    """The object that a message is, or {} and why it is none."""
    if len(raw) > bytes_max:
        return {}, f"it has {len(raw):,} bytes, more than {bytes_max:,}."
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:
            # What is stored is what this accepts.
            value, _, _ = decode_event(raw)
        except EventMalformed as error:
            return {}, f"it is not JSON: {error.message}"
    return (value, "") if isinstance(value, dict) else ({}, "it is JSON, but not an object.")
