"""A log with Kafka's features in memory: transactions without keyed state, fencing, group members, gaps in offsets.

How this works: `OracleBrokers` has the state of brokers; an `OracleKafkaLog` is one process's log, and several may use
the same brokers. It is for tests of code that uses such a log, and it passes the suites that `KafkaLog` passes.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from headwater.errors import (
    EventTooLarge,
    HeadwaterError,
    KeyFieldMissing,
    LogUnavailable,
    WriterFenced,
)
from headwater.log.contract import Commit, Features, Placement, Record, TopicPartition, TopicSettings
from headwater.testing.oracle_log import OracleContent, OracleLog, OraclePartition

RECORD_BYTES_MAX = 1_048_576


class OracleBrokers:
    """What several logs share, and how their brokers fail.

    `record_bytes_max`: the largest record they accept, unless `limits` has another limit for the topic.
    `answers_to_lose`: this many of the next transactions are committed without a response to their writer.
    """

    def __init__(self) -> None:
        self.content = OracleContent()
        self.record_bytes_max = RECORD_BYTES_MAX
        self.limits: dict[str, int] = {}
        self.answers_to_lose = 0
        # By group, how often it was claimed: only the last claimant may write for it.
        self.epochs: defaultdict[str, int] = defaultdict(int)
        self._members: defaultdict[str, list[OracleMembership]] = defaultdict(list)

    def limit_of(self, topic: str) -> int:
        """The largest record of a topic, in bytes."""
        return self.limits.get(topic, self.record_bytes_max)

    def enter(self, member: OracleMembership) -> None:
        """Let a process join its group."""
        self._members[member.group].append(member)
        self.balance(member.group)

    def leave(self, member: OracleMembership) -> None:
        """Give the partitions of a process to the other members of its group."""
        if member in self._members[member.group]:
            self._members[member.group].remove(member)
            self.balance(member.group)

    def balance(self, group: str | None = None) -> None:
        """Assign the partitions to the members of a group, or of every group."""
        for members in [self._members[group]] if group is not None else list(self._members.values()):
            topics = {topic for member in members for topic in member.topics}
            places = [place for place in sorted(self.content.partitions) if place[0] in topics]
            for number, member in enumerate(members):
                member.assign(frozenset(places[number :: len(members)]))


class OracleMembership:
    """One process's part in a group."""

    def __init__(self, brokers: OracleBrokers, group: str, topics: Iterable[str]) -> None:
        self.group = group
        self.topics = tuple(topics)
        self.assigned: frozenset[TopicPartition] = frozenset()
        self._brokers = brokers
        self._changed = asyncio.Event()

    async def changes(self) -> frozenset[TopicPartition]:
        await self._changed.wait()
        self._changed.clear()
        return self.assigned

    async def close(self) -> None:
        self._brokers.leave(self)

    def assign(self, places: frozenset[TopicPartition]) -> None:
        """From now on these partitions are assigned to it."""
        if places != self.assigned:
            self.assigned = places
            self._changed.set()


class OracleKafkaLog(OracleLog):
    """The log of one process on the brokers; by default on brokers of its own."""

    features = Features(
        transactional_commit=True,
        keyed_state=False,
        seek_by_time=True,
        compaction=True,
        topic_compression=True,
        trim_on_demand=False,
        offsets_without_gaps=False,
        times_never_go_back=False,
        compacts_without_keys=False,
        record_limits=True,
        refuses_records=True,
        shares_partitions=True,
    )

    def __init__(self, brokers: OracleBrokers | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.brokers = brokers or OracleBrokers()
        super().__init__(clock=clock, content=self.brokers.content)
        self._epochs: dict[str, int] = {}
        self._fenced: set[str] = set()
        self._newest_ms = 0

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        self._check_open()
        for record in records:
            if (refusal := self._refusal(record)) is not None:
                raise refusal
        if commit is None:
            return await super().append(records)
        self._check_writer(commit.group)
        placements = await super().append(records, commit=commit)
        for place in {(placement.topic, placement.partition) for placement in placements}:
            # The mark that ends a transaction is a record that readers do not receive.
            self.brokers.content.partitions[place].next += 1
        if self.brokers.answers_to_lose:
            self.brokers.answers_to_lose -= 1
            raise LogUnavailable("It is unknown whether the transaction was committed.", hint="Claim the group again.")
        return placements

    async def open(self) -> None:
        await super().open()
        self._newest_ms = 0

    async def close(self) -> None:
        await super().close()
        self._epochs.clear()
        self._fenced.clear()

    async def ensure_topic(self, name: str, settings: TopicSettings) -> None:
        await super().ensure_topic(name, settings)
        self.brokers.balance()

    async def commit(self, group: str, token: str) -> None:
        # As on the brokers: a plain record, which needs no claim and fences no process.
        await super().append((), commit=Commit(group, token))

    async def claim(self, group: str) -> str | None:
        self._check_open()
        if group in self._fenced:
            raise self._is_fenced(group)
        self._take(group)
        return await self.committed(group)

    async def release(self, group: str) -> None:
        self._epochs.pop(group, None)
        self._fenced.discard(group)

    async def join(self, group: str, topics: Iterable[str], *, stall_seconds_max: float = 60.0) -> OracleMembership:
        self._check_open()
        member = OracleMembership(self.brokers, group, topics)
        self.brokers.enter(member)
        return member

    async def refusal(self, record: Record) -> HeadwaterError | None:
        self._check_open()
        self._partition_of(record, {})
        return self._refusal(record)

    async def smallest_limit(self, topics: Iterable[str]) -> tuple[int, str] | None:
        self._places(names := list(topics))
        return min(((self.brokers.limit_of(name), name) for name in names), default=None)

    async def trim(self) -> int:
        """Does nothing: brokers trim by themselves, which is when a test calls `OracleLog.trim` on their content."""
        return 0

    def _take(self, group: str) -> None:
        self.brokers.epochs[group] += 1
        self._epochs[group] = self.brokers.epochs[group]

    def _check_writer(self, group: str) -> None:
        if group not in self._epochs:
            self._take(group)
        if group in self._fenced or self._epochs[group] != self.brokers.epochs[group]:
            self._fenced.add(group)
            raise self._is_fenced(group)

    def _refusal(self, record: Record) -> HeadwaterError | None:
        settings = self._settings.get(record.topic)
        if settings is not None and settings.compact and record.key is None:
            return KeyFieldMissing(f"The topic {record.topic!r} is compacted, and refuses records without a key.")
        size = len(record.value) + len(record.key or b"")
        limit = self.brokers.limit_of(record.topic)
        if size > limit:
            return EventTooLarge(
                f"A record of {size} bytes is over the limit of {limit} of the topic {record.topic!r}."
            )
        return None

    def _time_of(self, record: Record, partition: OraclePartition) -> int:
        # According to the sender: another process may be behind.
        self._newest_ms = max(self._newest_ms, int(self._clock() * 1000))
        return self._newest_ms if record.timestamp_ms is None else record.timestamp_ms

    def _is_fenced(self, group: str) -> WriterFenced:
        return WriterFenced(
            f"Another process has taken over the group {group!r}.",
            hint="Run a job in one process only; restart this process to take over the group again.",
        )
