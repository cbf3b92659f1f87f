"""The topics on the brokers: their settings and offset ranges; creates and changes them on demand.

How this works: one admin client sends the requests; the results are cached as a table of `KafkaTopic`, refreshed when a
topic or a partition is requested that is not in it, and when it is older than a few seconds. Offsets are never cached.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from headwater.errors import ConfigInvalid, HeadwaterError, LogUnavailable, PositionLost, TopicUnknown
from headwater.futures import retrieve
from headwater.log.contract import Position, Refusal, TopicInfo, TopicPartition, TopicSettings
from headwater.log.kafka.admin import Admin
from headwater.log.kafka.limits import (
    check_transactions,
    copies_and_in_sync,
    differing_copies,
    refusal_of,
    refused_topics,
)
from headwater.log.kafka.outage import Outages
from headwater.log.kafka.settings import (
    KafkaError,
    KafkaException,
    KafkaSettings,
    error_of,
)
from headwater.log.kafka.topic import KafkaTopic, config_of, kept, record_limit_of, settings_of
from headwater.log.kafka.waits import Waits

FRESH_SECONDS = 5.0
IDS_FRESH_SECONDS = 1.5
SETTINGS_FRESH_SECONDS = 30.0
REPLICAS_MAX = 3
VISIBLE_SECONDS_MAX = 10.0
GONE_SECONDS = 5.0
RESERVED = "headwater.tokens"
# What a broker answers while partitions get another leader; it is over in a moment.
PASSING_SECONDS = 0.2
PROBE_SECONDS = 1.0
ASKING_TOPICS = "Asking for the topics"
ASKING_TOPIC = "Asking for the topic "
ASKING_IDS = "Asking which topics there are"
ASKING_SETTINGS = "Asking how topics are kept"
NOTHING_SINCE = -1
_PASSING = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        # The client's own error for "no leader is known".
        KafkaError._NOENT,
    }
)
# Without the right to describe a topic, there is still the right to read it.
_WITHOUT_ID = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED, *_PASSING})
# Brokers keep what is their own in topics of two underscores, and so does the platform.
OURS = "__headwater."
EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]

T = TypeVar("T")
InThread = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class RequestCounts:
    """What was asked of the brokers since the log was made, for measurements and tests."""

    offset_requests: int = 0
    offsets: int = 0  # of one partition each; a request asks for several


class KafkaTopics:
    """The brokers' topics under one namespace. Belongs to one event loop; `in_thread` runs what blocks."""

    def __init__(self, settings: KafkaSettings, in_thread: InThread, outages: Outages | None = None) -> None:
        """`outages` gets the result of each request."""
        self._settings = settings
        self._outages = outages or Outages(settings.servers)
        self._outages.on_away = self._begin_probing
        self._probing: asyncio.Task[None] | None = None
        self.waits = Waits()
        self.counts = RequestCounts()
        self._in_thread = in_thread
        self._known: dict[str, KafkaTopic] = {}
        self._admin = Admin(settings)
        # Their numbers.
        self._brokers: Sequence[int] = [0]
        self._renewed_at = self._described_at = float("-inf")
        self._renewing: asyncio.Task[None] | None = None
        self._seen_at: dict[str, float] = {}
        # Topics whose ids are requested, and those that the last answer included.
        self._to_identify: set[str] = set()
        self._identified: frozenset[str] = frozenset()
        self._identified_at = float("-inf")
        self._identifying: asyncio.Task[None] | None = None
        self._ids: dict[str, str] = {}
        # Called, in a thread, for topics with more partitions than before: full name and count, before writing there.
        self.on_grown: list[Callable[[str, int], None]] = []

    async def open(self) -> None:
        """Find the brokers and their topics. Raises LogUnavailable, ConfigInvalid."""
        self._admin.open()
        try:
            await self.renew()
            await self._describe(list(self._known))
            await check_transactions(self._admin.client(), self._settings, self._brokers[0])
        except BaseException:
            self._admin.close()
            raise
        self._outages.is_muted = False

    async def close(self) -> None:
        """Forget everything."""
        self._outages.is_muted = True
        tasks = [task for task in (self._renewing, self._identifying, self._probing) if task is not None]
        self._renewing = self._identifying = self._probing = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._admin.close()
        self._known = {}

    def get(self, name: str) -> KafkaTopic | None:
        """The topic as last seen, without asking."""
        return self._known.get(name)

    def known(self) -> Mapping[str, KafkaTopic]:
        """All topics as last seen."""
        return self._known

    @property
    def batch_bytes_max(self) -> int:
        """The largest batch that every known topic accepts."""
        return min((t.record_bytes_max for t in self._known.values() if t.record_bytes_max), default=1_000_000)

    async def find(self, name: str, partition: int = 0) -> KafkaTopic:
        """The topic, requested again before it counts as unknown. Raises TopicUnknown, PositionLost."""
        topic = self._known.get(name)
        if topic is None or partition >= topic.partitions:
            await self.renew()
            topic = self._known.get(name)
            if topic is None:
                raise await self._why_unknown(name)
            if partition >= topic.partitions:
                raise PositionLost(f"Topic {name!r} has no partition {partition}: it has {topic.partitions}.")
        return topic

    async def _why_unknown(self, name: str) -> HeadwaterError:
        """There is no such topic, or this user may not see it: a list of all topics leaves it out either way."""
        with contextlib.suppress(KafkaException, KeyError):
            error = await self._in_thread(self._admin.of_topic, self._settings.namespace + name)
            if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return self._error(KafkaException(error), ASKING_TOPIC + repr(name))
        return TopicUnknown(f"The log has no topic {name!r}.", hint="`headwater apply` makes declared topics.")

    async def measured(self, name: str, *, age_seconds_max: float = float("inf")) -> KafkaTopic:
        """The topic with its `record_bytes_max`, requested again if that is too old.

        Raises TopicUnknown, LogUnavailable.
        """
        began = time.monotonic()
        topic = await self.find(name)
        while topic.record_bytes_max is None or topic.measured_at < began - age_seconds_max:
            await self._describe([name])
            topic = await self.find(name)
            if topic.record_bytes_max is None:
                # A topic that was just made is not known to every broker yet.
                if time.monotonic() > began + self._settings.answer_seconds_max:
                    raise LogUnavailable(f"The brokers report no settings of topic {name!r}.", hint="Try again.")
                await asyncio.sleep(PASSING_SECONDS)
        return topic

    async def renew(self) -> None:
        """Request the list of topics; concurrent calls share one request."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="headwater-log-topics")
            self._renewing.add_done_callback(retrieve)
        await asyncio.shield(self._renewing)

    async def freshen(self) -> None:
        """`renew` where that was some seconds ago."""
        if time.monotonic() > self._renewed_at + FRESH_SECONDS:
            await self.renew()

    async def ensure(self, name: str, settings: TopicSettings, *, extra: Mapping[str, str] | None = None) -> None:
        """Create the topic, or change its settings; partitions only grow. Raises LogUnavailable."""
        settings = kept(settings)
        present = self._known.get(name)
        if present is None:
            await self.renew()
            present = self._known.get(name)
        if present is None:
            await self._create(name, settings, extra or {})
            return
        if present.settings is None:
            await self._describe([name])
            present = await self.find(name)
        if settings.partitions > present.partitions:
            await self._grow(present, settings.partitions)
        # The number of replicas is changed with the brokers' own tools; `refused` reports a difference.
        wanted = replace(settings, partitions=max(settings.partitions, present.partitions), replicas=None)
        if present.settings is not None and replace(present.settings, partitions=wanted.partitions) != wanted:
            await self._alter(present, wanted)

    async def ends(self, topics: Iterable[str], spec: OffsetSpec) -> dict[TopicPartition, int]:
        """An offset of every partition of `topics`; -1 where `spec` finds none. Raises TopicUnknown, LogUnavailable."""
        await self.freshen()
        wanted = [await self.find(name) for name in dict.fromkeys(topics)]
        places = {(t.full_name, number): (t.name, number) for t in wanted for number in range(t.partitions)}
        return {places[full]: offset for full, offset in (await self._offsets(places, spec)).items()}

    async def ends_at(
        self, places: Iterable[TopicPartition], spec: OffsetSpec, *, committed: bool = True
    ) -> dict[TopicPartition, int]:
        """As `ends`, of single partitions; without `committed`, also what waits for a transaction to end counts."""
        full = {((await self.find(name, number)).full_name, number): (name, number) for name, number in places}
        return {full[place]: offset for place, offset in (await self._offsets(full, spec, committed)).items()}

    async def ids(self, names: Iterable[str]) -> dict[str, str]:
        """The brokers' ids of topics that exist; concurrent calls share one request."""
        wanted = set(names)
        self._to_identify |= wanted
        # Again where the request that was on its way is not about all of them.
        while not self._identified >= wanted or time.monotonic() > self._identified_at + IDS_FRESH_SECONDS:
            if self._identifying is None or self._identifying.done():
                self._identifying = asyncio.get_running_loop().create_task(self._identify(), name="headwater-log-ids")
                self._identifying.add_done_callback(retrieve)
            await asyncio.shield(self._identifying)
        return {name: self._ids[name] for name in wanted if name in self._ids}

    async def infos(self) -> list[TopicInfo]:
        """All topics, sorted by name."""
        await self.renew()
        stale = time.monotonic() > self._described_at + SETTINGS_FRESH_SECONDS
        await self._describe([t.name for t in self._known.values() if stale or t.settings is None])
        names = sorted(name for name in self._known if not name.startswith("__") and name != RESERVED)
        first, last = await asyncio.gather(self.ends(names, EARLIEST), self.ends(names, LATEST))
        infos = []
        for name in names:
            settings = self._known[name].settings or TopicSettings()
            numbers = [number for number in range(self._known[name].partitions) if (name, number) in last]
            infos.append(
                TopicInfo(
                    name,
                    replace(settings, partitions=len(numbers)),
                    tuple(first.get((name, number), 0) for number in numbers),
                    tuple(last[name, number] for number in numbers),
                    None,
                )
            )
        return infos

    def partitions_of(self, position: Position) -> list[KafkaPartition]:
        """The position as the client expresses it, without topics that are not known (any longer)."""
        return [
            KafkaPartition(topic.full_name, number, offset)
            for (name, number), offset in position.offsets.items()
            if (topic := self._known.get(name)) is not None and number < topic.partitions
        ]

    async def _renew(self) -> None:
        try:
            metadata = await self._in_thread(self._admin.metadata, ASKING_TOPICS)
        except HeadwaterError as error:
            self._outages.failed(ASKING_TOPICS, error)
            raise
        self._outages.worked(ASKING_TOPICS)
        namespace, before = self._settings.namespace, self._known
        now = time.monotonic()
        known: dict[str, KafkaTopic] = {}
        grown: dict[str, int] = {}
        for full_name, about in metadata.topics.items():
            brokers_own = full_name.startswith("__") and not full_name.startswith(OURS)
            if full_name.startswith(namespace) and about.error is None and not brokers_own:
                name = full_name[len(namespace) :]
                count = len(about.partitions)
                present = before.get(name)
                if present is not None and count > present.partitions:
                    grown[full_name] = count
                if present is None or count >= present.partitions:
                    topic = present or KafkaTopic(name, full_name, count)
                    known[name] = replace(topic, partitions=count, replicas=_copies_of(about))
                    self._seen_at[name] = now
        for name, present in before.items():
            # One broker may lag behind another; a topic that all of them have deleted is soon deleted here.
            if name not in known and self._seen_at.get(name, 0.0) > now - GONE_SECONDS:
                known[name] = present
        self._seen_at = {name: at for name, at in self._seen_at.items() if name in known}
        for full_name, count in grown.items():
            for learn in self.on_grown:
                await self._in_thread(learn, full_name, count)
        self._known = known
        self._outages.all_worked([ASKING_TOPIC + repr(name) for name in known] if self._outages.is_open else ())
        self._brokers = sorted(metadata.brokers) or [0]
        self._renewed_at = time.monotonic()

    async def _identify(self) -> None:
        asked_for = frozenset(self._to_identify)
        names = [self._settings.namespace + name for name in asked_for]
        seconds_max = self._settings.answer_seconds_max
        asked = self._admin.client().describe_topics(TopicCollection(names), request_timeout=seconds_max)
        await self.waits.all_done(asked.values(), seconds_max)
        ids = {}
        for full_name, future in asked.items():
            answer = future.exception() or future.result()
            if not isinstance(answer, BaseException):
                ids[full_name[len(self._settings.namespace) :]] = str(answer.topic_id)
            elif not isinstance(answer, KafkaException):
                raise answer
            elif error_of(answer).code() not in _WITHOUT_ID:
                raise self._error(answer, ASKING_IDS) from None
        self._outages.worked(ASKING_IDS)
        self._ids = ids
        self._identified_at = time.monotonic()
        self._identified = asked_for

    async def refused(self, declared: Mapping[str, TopicSettings]) -> list[Refusal]:
        """Which of these topics the cluster would not make, or has otherwise for good; changes nothing."""
        await self.renew()
        trials = {name: self._new(name, kept(one), {}) for name, one in declared.items() if name not in self._known}
        copies = {name: topic.replicas for name, topic in self._known.items() if topic.replicas is not None}
        found = await refused_topics(
            self._admin.client(),
            trials,
            len(self._brokers),
            self._settings.closing.left(self._settings.answer_seconds_max),
        )
        return [*found, *differing_copies(declared, copies)]

    def _new(self, name: str, settings: TopicSettings, extra: Mapping[str, str]) -> NewTopic:
        replicas, in_sync = copies_and_in_sync(self._settings, settings, len(self._brokers), REPLICAS_MAX)
        config = {**config_of(settings), "min.insync.replicas": str(in_sync), **extra}
        return NewTopic(
            self._settings.namespace + name,
            num_partitions=settings.partitions,
            replication_factor=replicas,
            config={key: value for key, value in config.items() if value is not None},
        )

    async def _create(self, name: str, settings: TopicSettings, extra: Mapping[str, str]) -> None:
        new = self._new(name, settings, extra)
        try:
            await self._answers(self._admin.client().create_topics([new]), f"Making the topic {name!r}")
        except KafkaException as error:
            # Another process may have been faster.
            if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                refusal = refusal_of(name, error, new.replication_factor, len(self._brokers))
                if refusal is not None:
                    raise ConfigInvalid(refusal.sentence, hint=refusal.hint) from None
                raise self._error(error, f"Making the topic {name!r}") from None
        await self._until_visible(name, settings.partitions)
        await self._describe([name])

    async def _grow(self, topic: KafkaTopic, partitions: int) -> None:
        doing = f"Adding partitions to the topic {topic.name!r}"
        try:
            await self._answers(
                self._admin.client().create_partitions([NewPartitions(topic.full_name, partitions)]), doing
            )
        except KafkaException as error:
            raise self._error(error, doing) from None
        await self._until_visible(topic.name, partitions)

    async def _until_visible(self, name: str, partitions: int) -> None:
        """A topic is known to a broker a moment after the controller has made it."""
        deadline = time.monotonic() + VISIBLE_SECONDS_MAX
        while True:
            await self.renew()
            topic = self._known.get(name)
            if topic is not None and topic.partitions >= partitions:
                with contextlib.suppress(HeadwaterError, KafkaException):
                    await self.ends([name], LATEST)
                    return
            if time.monotonic() > deadline:
                raise LogUnavailable(f"The topic {name!r} was made but is not there yet.", hint="Try again.")
            await asyncio.sleep(0.02)

    async def _alter(self, topic: KafkaTopic, settings: TopicSettings) -> None:
        entries = [
            ConfigEntry(
                key,
                value,
                incremental_operation=AlterConfigOpType.SET if value is not None else AlterConfigOpType.DELETE,
            )
            for key, value in config_of(settings).items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic.full_name, incremental_configs=entries)
        doing = f"Changing the topic {topic.name!r}"
        try:
            await self._answers(self._admin.client().incremental_alter_configs([resource]), doing)
        except KafkaException as error:
            raise self._error(error, doing) from None
        # An accepted change may take a moment to be visible on every broker.
        self._put(replace(self._known[topic.name], settings=settings))

    async def _describe(self, names: Sequence[str]) -> None:
        """Learn how topics are kept, and how large their records may be."""
        resources = [
            ConfigResource(ConfigResource.Type.TOPIC, self._known[name].full_name)
            for name in names
            if name in self._known
        ]
        if not resources:
            return
        seconds_max = self._settings.answer_seconds_max
        asked = self._admin.client().describe_configs(resources, request_timeout=seconds_max)
        await self.waits.all_done(asked.values(), seconds_max)
        namespace = self._settings.namespace
        for resource, future in asked.items():
            answer = future.exception() or future.result()
            if isinstance(answer, KafkaException):
                code = error_of(answer).code()
                if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    # There is a right to ask for this alone; limits are then learnt from what is refused.
                    self._assume(resource.name[len(namespace) :])
                    continue
                raise self._error(answer, ASKING_SETTINGS) from None
            if isinstance(answer, BaseException):
                raise answer
            config = answer
            topic = self._known.get(resource.name[len(namespace) :])
            if topic is not None:
                values = {name: entry.value for name, entry in config.items()}
                settings, limit = settings_of(values, topic.partitions), record_limit_of(values)
                now = time.monotonic()
                self._put(replace(topic, settings=settings, record_bytes_max=limit, measured_at=now))
        self._outages.worked(ASKING_SETTINGS)
        if len(resources) >= len(self._known):
            self._described_at = time.monotonic()

    def _assume(self, name: str) -> None:
        topic = self._known.get(name)
        if topic is not None:
            limit = topic.record_bytes_max or record_limit_of({})
            self._put(replace(topic, record_bytes_max=limit, measured_at=time.monotonic()))

    def _put(self, topic: KafkaTopic) -> None:
        self._known = {**self._known, topic.name: topic}

    async def _offsets(
        self, places: Iterable[TopicPartition], spec: OffsetSpec, committed: bool = True
    ) -> dict[TopicPartition, int]:
        asked_for = list(dict.fromkeys(places))
        found: dict[TopicPartition, int] = {}
        wanted = set(asked_for)
        give_up = time.monotonic() + self._settings.answer_seconds_max
        # For a time it means that nothing arrived since. A lower value means that it is unknown: leaders are changing.
        least = 0 if spec in (EARLIEST, LATEST) else NOTHING_SINCE
        while wanted:
            self.counts.offset_requests += 1
            self.counts.offsets += len(wanted)
            seconds_max = self._settings.answer_seconds_max
            asked = self._admin.client().list_offsets(
                {KafkaPartition(name, number): spec for name, number in wanted},
                isolation_level=IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED,
                request_timeout=seconds_max,
            )
            await self.waits.all_done(asked.values(), seconds_max)
            for partition, future in asked.items():
                offset = self._offset_in(future, partition.topic)
                if offset is not None and offset >= least:
                    found[partition.topic, partition.partition] = offset
            wanted = {place for place in wanted if place not in found}
            if wanted:
                if time.monotonic() > give_up or self._settings.closing.is_over:
                    raise self._without_leader(min(wanted)[0])
                await asyncio.sleep(PASSING_SECONDS)
        if self._outages.is_open:
            for name in {name for name, _ in asked_for}:
                self._outages.worked(_how_far(name))
        return {place: found[place] for place in asked_for}

    def _offset_in(self, future: Future[Any], full_name: str) -> int | None:
        """The answer for one partition; None if it must be requested again. Raises errors that a retry cannot fix."""
        answer = future.exception() or future.result()
        if isinstance(answer, KafkaException):
            if error_of(answer).code() in _PASSING:
                return None
            raise self._error(answer, _how_far(full_name)) from None
        if isinstance(answer, BaseException):
            raise answer
        offset: int = answer.offset
        return offset

    def _without_leader(self, name: str) -> HeadwaterError:
        error = LogUnavailable(
            f"The offset range of {name!r} is unknown: no leader answers.",
            hint="A broker that comes back is used again without help.",
            is_away=True,
        )
        self._outages.failed(_how_far(name), error)
        return error

    async def _answers(self, asked: Mapping[Any, Future[T]], doing: str) -> list[T]:
        try:
            async with asyncio.timeout(4 * self._settings.answer_seconds_max):
                return [await asyncio.wrap_future(future) for future in asked.values()]
        except TimeoutError:
            raise self._error(KafkaException(KafkaError(KafkaError._TIMED_OUT)), doing) from None

    def _error(self, error: KafkaException, doing: str) -> HeadwaterError:
        translated = self._admin.error(error, doing)
        self._outages.failed(doing, translated)
        return translated

    def _begin_probing(self) -> None:
        """Send a request now and then until the brokers are back, so that this is known without other requests."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.get_running_loop().create_task(self._probe(), name="headwater-log-probe")

    async def _probe(self) -> None:
        while self._outages.is_away and self._admin.is_open:
            await asyncio.sleep(PROBE_SECONDS)
            with contextlib.suppress(HeadwaterError):
                await self.renew()


def _copies_of(about: Any) -> int | None:
    """The number of replicas of a topic's partitions, as a broker reports it; None if it does not."""
    return min((len(partition.replicas) for partition in about.partitions.values()), default=0) or None


def _how_far(full_name: str) -> str:
    return f"Asking how far {full_name!r} reaches"


def received_at(timestamp_ms: int) -> OffsetSpec:
    """The first record with a timestamp at or after this one."""
    spec: OffsetSpec = OffsetSpec.for_timestamp(max(0, timestamp_ms))
    return spec
