"""What a Kafka source asks of its brokers: which topics there are, and how far they reach. Its calls block."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from headwater.connectors.kafka.client import DENIED, NOT_THERE, client_settings, error_in, log, said
from headwater.connectors.sources.kafka.options import KafkaSourceOptions
from headwater.errors import HeadwaterError, PositionLost, SourceRefused, SourceUnavailable
from headwater.log.contract import TopicPartition
from headwater.log.token_marks import mark_of

EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
# What a broker answers for a moment while partitions get another leader.
PASSING_SECONDS = 0.2
_PASSING = frozenset(
    (
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError._NOENT,
    )
)
_DAMAGED = frozenset((KafkaError._BAD_MSG, KafkaError.INVALID_MSG, KafkaError._BAD_COMPRESSION))
# A topic counts as deleted if it is unknown for so long: one broker may lag behind another.
GONE_SECONDS = 5.0

T = TypeVar("T")


class Described(NamedTuple):
    """A topic: a mark that is made of its id ("" if the brokers have no ids), and how many partitions it has."""

    mark: str
    partitions: int


class Upstream:
    """The brokers of one source, and its clients for asking them. Calls block; any thread may call."""

    def __init__(self, options: KafkaSourceOptions, name: str) -> None:
        """`name` is that of the source."""
        self._options = options
        self._name = name
        self._admin: AdminClient | None = None
        # Since when topics that were there are unknown (monotonic).
        self._unknown_since: dict[str, float] = {}
        self._heard = ""

    def close(self) -> None:
        """Forget the connections; they are made again on demand."""
        self._admin = None

    def consumer(self) -> Consumer:
        """A consumer that belongs to no group. Raises SourceRefused, SourceUnavailable."""
        options = self._options
        own = {
            # The client requires a name; only with `group` is anything committed to it.
            "group.id": options.group or f"headwater.source.{self._name}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "max.poll.interval.ms": 86_400_000,
            "fetch.max.bytes": min(options.fetch_bytes_max, 67_108_864),
            "max.partition.fetch.bytes": min(options.fetch_bytes_max, 1_048_576),
            "queued.max.messages.kbytes": max(1, options.fetch_bytes_max // 1024),
        }
        defaults = {"fetch.error.backoff.ms": 100, "fetch.queue.backoff.ms": 20, "message.max.bytes": 65_536}
        consumer: Consumer = self._made(Consumer, client_settings(options, defaults, own))
        return consumer

    def described(self) -> dict[str, Described]:
        """The topics of the source that are there. Raises SourceUnavailable, SourceRefused."""
        names, seconds = list(self._options.topics), self._options.timeout_seconds
        asked = self._client().describe_topics(TopicCollection(names), request_timeout=seconds)
        found = {}
        for name, future in asked.items():
            try:
                answer = self._answer(future)
            except KafkaException as error:
                code = _code(error)
                if code in NOT_THERE:
                    continue
                raise self.error(error, name) from None
            text = str(answer.topic_id or "").rstrip("=")
            # Brokers without ids answer zeros.
            found[name] = Described(mark_of(text) if text.strip("A") else "", len(answer.partitions))
        return found

    def checked(self, marks: Mapping[str, str], partitions: Mapping[str, int]) -> dict[str, Described]:
        """The topics as they are now, which are those that were read before.

        `marks`: those of the topics that were read, by name; `partitions`: how many they must have at least. Raises
        PositionLost for a topic that was deleted or made again, SourceUnavailable, SourceRefused.
        """
        found = self.described()
        for name in self._options.topics:
            known = name in partitions
            present = found.get(name)
            if present is None and not known:
                raise SourceUnavailable(
                    f"The topic {name} is not there.", hint="Create it, or correct `topics`; it is looked for again."
                )
            if present is None or present.partitions < partitions.get(name, 0):
                self._missing(name, present)
            self._unknown_since.pop(name, None)
            assert present is not None
            if marks.get(name) and present.mark and marks[name] != present.mark:
                raise PositionLost(f"The topic {name} was deleted and created again since it was read.")
        return found

    def offsets(
        self, places: Iterable[TopicPartition], spec: OffsetSpec, *, committed: bool = True
    ) -> dict[TopicPartition, int]:
        """An offset of each of `places`, -1 where there is none at a time. Raises SourceUnavailable, SourceRefused."""
        wanted = set(places)
        found: dict[TopicPartition, int] = {}
        give_up = time.monotonic() + self._options.timeout_seconds
        # For a time, -1 says that nothing is that new; otherwise that the offset is not known now.
        least = 0 if spec in (EARLIEST, LATEST) else -1
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        while wanted:
            asked = self._client().list_offsets(
                {KafkaPartition(name, number): spec for name, number in wanted},
                isolation_level=level,
                request_timeout=self._options.timeout_seconds,
            )
            for partition, future in asked.items():
                try:
                    if (offset := int(self._answer(future).offset)) >= least:
                        found[partition.topic, partition.partition] = offset
                except KafkaException as error:
                    if _code(error) not in _PASSING or time.monotonic() > give_up:
                        raise self.error(error, partition.topic) from None
            wanted -= found.keys()
            if wanted and time.monotonic() > give_up:
                name, servers = min(wanted)[0], ",".join(self._options.servers)
                raise SourceUnavailable(f"No broker at {servers} says how far the topic {name} reaches.")
            if wanted:
                time.sleep(PASSING_SECONDS)
        return found

    def offsets_at(self, places: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int]:
        """The first offsets that are not older than a time, the ends where nothing is. Raises as `offsets`."""
        places = list(places)
        spec: OffsetSpec = OffsetSpec.for_timestamp(max(0, timestamp_ms))
        found = self.offsets(places, spec)
        missing = [place for place in places if found[place] < 0]
        return found | (self.offsets(missing, LATEST) if missing else {})

    def error(self, error: object, topic: str, offset: int | None = None) -> HeadwaterError:
        """What an error of the client means for the source."""
        found, servers = error_in(error), ",".join(self._options.servers)
        code = None if found is None else found.code()
        where = f"The topic {topic} at {servers}"
        # The client reports why it cannot connect apart from the request that fails.
        if self._admin is not None:
            # It calls `_hear` when it is asked to.
            self._admin.poll(0)
        heard = f" ({self._heard})" if self._heard and self._heard not in said(error) else ""
        if code == KafkaError._AUTO_OFFSET_RESET:
            return PositionLost(f"{where} no longer has the messages at offset {offset}: {said(error)}.")
        if code in DENIED or (heard and "uthentication" in heard):
            return SourceRefused(
                f"{where}: {said(error)}{heard}.",
                hint="Check `user`, `password` and `settings`, and whether the user may read the topic.",
            )
        if code in _DAMAGED:
            return SourceRefused(
                f"{where} is damaged near offset {offset}: {said(error)}.",
                hint="Restore the partition from another replica, or begin later with `headwater sources rewind`.",
            )
        return SourceUnavailable(f"{where}: {said(error)}{heard}.")

    def _missing(self, name: str, present: Described | None) -> None:
        """A topic, or a partition, that was there is unknown: raise SourceUnavailable, after a while PositionLost."""
        what = f"The topic {name} is not there any more"
        if present is not None:
            what = f"The topic {name} has only {present.partitions} partitions, fewer than before"
        since = self._unknown_since.setdefault(name, time.monotonic())
        if time.monotonic() - since >= GONE_SECONDS:
            raise PositionLost(f"{what}: it was deleted.")
        raise SourceUnavailable(f"{what}.", hint=f"After {GONE_SECONDS:g} s it counts as deleted.")

    def _client(self) -> AdminClient:
        admin = self._admin
        if admin is None:
            made: AdminClient = self._made(AdminClient, client_settings(self._options, {}, {}))
            self._admin = admin = made
        return admin

    def _made(self, kind: Any, settings: dict[str, Any]) -> Any:
        try:
            return kind({**settings, "error_cb": self._hear, "logger": log})
        except (KafkaException, ValueError, TypeError) as error:
            raise SourceRefused(
                f"The Kafka client does not accept the options of the source: {said(error)}.",
                hint="Correct `settings`; the manual of librdkafka has their names and values.",
            ) from None

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._heard = str(error.str())

    def _answer(self, future: Future[T]) -> T:
        """The result of a request. Raises KafkaException."""
        try:
            # The client itself bounds a request; this is for a client that does not.
            answer = future.result(self._options.timeout_seconds + 5)
        except FutureTimeout:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
        self._heard = ""
        return answer


def commit(consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> str:
    """Commit to the group of a consumer. Why that failed; "" if it did not. Blocks."""
    places = [KafkaPartition(name, number, at) for (name, number), at in offsets.items()]
    with contextlib.suppress(IndexError):
        try:
            done = consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            return said(error)
        return next((said(one.error) for one in done or () if one.error is not None), "")
    return ""


def _code(error: KafkaException) -> int | None:
    found = error_in(error)
    return None if found is None else found.code()
