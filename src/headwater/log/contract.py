"""What every log guarantees: order within a partition, durability on return, positions that never skip or repeat.

How this works: a *topic* has numbered *partitions*; each is a sequence of records with offsets 0, 1, 2, ….
`append` is all-or-none, in order, and durable when it returns. A `Position` names the next offset to read of every
partition a reader follows; its text form is the *resume token* used by jobs, sinks and SSE clients alike. Records are
msgspec structs because they are made by the hundred thousand a second: 0.07 µs each, a tenth of a frozen dataclass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self
from urllib.parse import quote, unquote

import msgspec

from headwater.errors import HeadwaterError, TokenInvalid

TOKEN_PREFIX = "hw1"
# Between a topic in a token and the mark of its log; percent-encoded in the names of topics themselves.
MARK = "@"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record to append. `partition` None: chosen from `key`, or round robin without one.

    `timestamp_ms` None: the time of receipt, which never goes back within a partition. A given one (epoch, UTC) is
    stored unchanged: for records that were received earlier, elsewhere.
    """

    topic: str
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as the log stores it; `timestamp_ms` is the time of receipt (epoch, UTC)."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes


class Placement(msgspec.Struct, frozen=True):
    """Where an appended record went."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


# A topic and the number of one of its partitions. One is created for every record, and creating a named tuple takes
# nine times as long as creating a plain one.
TopicPartition = tuple[str, int]


class StateChange(msgspec.Struct, frozen=True, gc=False):
    """One put (or, with `value` None, delete) in a job's keyed state; see `Log.append`."""

    namespace: str
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A group's new position, and state, to be made durable in the same transaction as appended records.

    Of several changes of one key the last one counts.
    """

    group: str
    token: str
    state: tuple[StateChange, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """The settings of a topic. None means no such limit. `compact`: only the newest record of each key must be kept.

    `compression`: the codec of this topic if the log has `Features.topic_compression`; None: the log's default.
    `replicas`: copies of a topic that is created, in a log that has replicas; None: the log's default.
    """

    partitions: int = 1
    retention_seconds: float | None = None
    retention_bytes: int | None = None
    compact: bool = False
    compression: str | None = None
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a log would not accept the settings that a topic is declared with, and what to do."""

    topic: str
    sentence: str
    hint: str


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What the log knows of one topic; `first`/`next` are offsets per partition.

    `bytes_stored` is on disk; None if unknown.
    """

    name: str
    settings: TopicSettings
    first: tuple[int, ...]
    next: tuple[int, ...]
    bytes_stored: int | None


@dataclass(frozen=True, slots=True)
class Features:
    """What an implementation can do; callers check these, never its class, before anything starts.

    A method that needs a feature raises FeatureUnsupported in a log that does not declare it, unless its description
    says otherwise (`headwater.log.defaults`).

    `transactional_commit`: `append` takes a commit. `keyed_state`: it stores the state of jobs (`KeyedState`).
    `seek_by_time`: it finds records by their time (`LogReader.at`). `compaction`: it compacts topics.
    `trim_on_demand`: `trim` applies retention and compaction at once; otherwise the log does so on its own schedule.
    `offsets_without_gaps`: only compaction leaves out offsets; otherwise transactions do too. `times_never_go_back`:
    within a partition, for all writers together, even if their clocks differ; otherwise within one process only.
    `compacts_without_keys`: compacted topics accept records without a key too; otherwise KeyFieldMissing is raised.
    `topic_rules`: it may refuse the settings of topics (`Log.refused_topics`). `record_limits`: its topics limit the
    size of a record (`Log.smallest_limit`). `refuses_records`: it never stores some records, and reports that
    beforehand (`LogWriter.refusal`). `shares_partitions`: processes can divide the partitions of topics (`Log.join`).
    `finds_damage`: it looks for damage (`Log.look`) and counts it (`Log.damaged_offsets`).
    """

    transactional_commit: bool
    keyed_state: bool
    seek_by_time: bool
    compaction: bool
    topic_compression: bool = False
    trim_on_demand: bool = True
    offsets_without_gaps: bool = True
    times_never_go_back: bool = True
    compacts_without_keys: bool = True
    topic_rules: bool = False
    record_limits: bool = False
    refuses_records: bool = False
    shares_partitions: bool = False
    finds_damage: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """The next offset to read of every followed partition: {(topic, partition): offset}. Immutable."""

    offsets: Mapping[TopicPartition, int] = field(default_factory=dict)

    def after(self, record: StoredRecord | Placement) -> Self:
        """The position just past `record`."""
        return type(self)({**self.offsets, (record.topic, record.partition): record.offset + 1})

    def after_all(self, records: Iterable[StoredRecord]) -> Self:
        """The position just past each of these records, which are in order in each partition."""
        offsets = dict(self.offsets)
        for record in records:
            offsets[record.topic, record.partition] = record.offset + 1
        return type(self)(offsets)

    def topics(self) -> frozenset[str]:
        return frozenset(topic for topic, _ in self.offsets)

    def token(self) -> str:
        """`hw1;topic:0=12,1=7;other:0=3` — topics and partitions sorted, topic names percent-encoded."""
        by_topic: dict[str, list[str]] = {}
        for (topic, partition), offset in sorted(self.offsets.items()):
            by_topic.setdefault(topic, []).append(f"{partition}={offset}")
        return ";".join([TOKEN_PREFIX, *(f"{quote(t, safe='')}:{','.join(p)}" for t, p in by_topic.items())])

    @classmethod
    def parse(cls, token: str) -> Self:
        """Parse a token; marks of topics are ignored (`headwater.log.token_marks`). Raises TokenInvalid."""
        prefix, *parts = token.split(";")
        if prefix != TOKEN_PREFIX or len(token) > 65_536:
            raise TokenInvalid(f"{token[:80]!r} is not a resume token.", hint=f"Tokens start with '{TOKEN_PREFIX};'.")
        offsets: dict[TopicPartition, int] = {}
        for part in parts:
            named, colon, pairs = part.partition(":")
            topic, has_mark, mark = named.partition(MARK)
            if has_mark and not (mark.isascii() and mark.isalnum()):
                raise TokenInvalid(
                    f"{named[:80]!r} in the resume token is not 'topic@mark'.",
                    hint="Send the token exactly as it was received.",
                )
            for pair in pairs.split(","):
                partition, equals, offset = pair.partition("=")
                if not (topic and colon and equals and _is_count(partition) and _is_count(offset)):
                    raise TokenInvalid(
                        f"{pair[:80]!r} in the resume token is not 'partition=offset'.",
                        hint="Send the token exactly as it was received.",
                    )
                offsets[unquote(topic), int(partition)] = int(offset)
        return cls(offsets)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


class LogWriter(Protocol):
    """The part of a log that appends; only the intake and the commits of jobs use it."""

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        """Store all `records`, or none, in order; durable on return. Returns where each one is, in input order.

        With `commit`, the group's token and state change in the same transaction (`Features.transactional_commit`).
        Topics must exist. Raises TopicUnknown, LogFull, LogUnavailable (nothing was stored). A log that stores each
        record separately raises AppendIncomplete if some were not stored, with the outcome of each record.
        """
        ...

    def submit(self, records: Sequence[Record]) -> asyncio.Future[Sequence[Placement]]:
        """`append` without a coroutine: the future completes when the records are durable.

        Raises as `append` does, at once or from the future. `records` must not be changed afterwards.
        """
        ...

    async def refusal(self, record: Record) -> HeadwaterError | None:
        """Why the log would refuse the record at every attempt; None where it would store it.

        `Features.refuses_records`. Raises TopicUnknown, LogUnavailable.
        """
        ...


class LogReader(Protocol):
    """The part of a log that subscriptions and runners read from; safe for many concurrent readers."""

    async def read(
        self, position: Position, *, records_max: int = 1000, bytes_max: int = 4_194_304, wait_seconds: float = 0.0
    ) -> Sequence[StoredRecord]:
        """Records at and after `position`, in offset order within each partition; [] if none come in `wait_seconds`.

        Always at least one record if there is one, of any size. Raises PositionLost if retention has removed the
        record at the position, LogCorrupt for bytes that fail their checksum, TopicUnknown.
        """
        ...

    async def first(self, topics: Iterable[str]) -> Position:
        """The oldest kept record of every partition of `topics`."""
        ...

    async def last(self, topics: Iterable[str]) -> Position:
        """Just past the newest record of every partition of `topics`."""
        ...

    async def at(self, topics: Iterable[str], timestamp_ms: int) -> Position:
        """The first record of every partition with a timestamp at or after `timestamp_ms`, else its end."""
        ...

    async def partition_counts(self, topics: Iterable[str]) -> Mapping[str, int]:
        """The number of partitions of each of `topics`; topics that do not exist are left out.

        Cheap enough to call for a thousand topics now and then; up to a few seconds old. Raises LogUnavailable.
        """
        ...

    async def topic_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        """An id for each of `topics`: another topic of the same name, earlier or later, has another id.

        Up to a few seconds old; topics that do not exist, or whose id is unknown, are left out. Raises LogUnavailable.
        """
        ...

    async def topics(self) -> Sequence[TopicInfo]:
        """All topics, sorted by name."""
        ...


class Membership(Protocol):
    """One process's part in a group whose members share partitions. A hint, not a lock: writers are fenced."""

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The (topic, partition) pairs this process is to work on now."""
        ...

    async def changes(self) -> frozenset[TopicPartition]:
        """Wait for the next change of `assigned`, and return it. Raises LogUnavailable."""
        ...

    async def close(self) -> None:
        """Leave at once; idempotent."""
        ...


class GroupTokens(Protocol):
    """The part of a log that remembers a token for each group, which is the name of a reader."""

    async def commit(self, group: str, token: str) -> None:
        """Remember `token` for `group`, durable on return."""
        ...

    async def committed(self, group: str) -> str | None:
        """The last committed token of `group`, or None."""
        ...

    async def groups(self) -> Sequence[str]:
        """The groups that have committed a token, sorted. Raises LogUnavailable."""
        ...

    async def claim(self, group: str) -> str | None:
        """Fence other writers of `group`: their appends for it have ended, and further ones raise WriterFenced.

        Returns the last committed token, or None. A log that only one process writes has no others to fence. Raises
        LogUnavailable, WriterFenced (another process has taken the group over).
        """
        ...

    async def release(self, group: str) -> None:
        """Give up a claimed group, after what is in flight for it; it can be claimed again, also after WriterFenced.

        Does nothing in a log that only one process writes.
        """
        ...


class StateReader(Protocol):
    """Reads committed state of jobs by calls that block for a moment; any thread may make them at any time.

    They see the last commit, also of another process, and wait for none.
    """

    def get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """The values of `keys`; keys without a value are left out. Raises LogUnavailable, StateUnavailable."""
        ...

    def scan(self, namespace: str, after: bytes, rows_max: int) -> Sequence[tuple[bytes, bytes]]:
        """Up to `rows_max` (key, value) pairs with key > `after`, in key order. Raises as `get`."""
        ...


class KeyedState(Protocol):
    """The part of a log that stores the state of jobs, by namespace and key; `Features.keyed_state`.

    State is changed by `append` with a commit.
    """

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """The values of `keys`; keys without a value are left out."""
        ...

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        """Up to `rows_max` (key, value) pairs with key > `after`, in key order."""
        ...

    async def namespaces(self) -> Sequence[str]:
        """The namespaces that have state, sorted."""
        ...

    def state_reader(self) -> StateReader:
        """Reads the state while the log is open, without a coroutine."""
        ...


class Log(LogWriter, LogReader, GroupTokens, KeyedState, Protocol):
    """A whole log. Every implementation passes `headwater.testing.suites.log`."""

    features: Features

    async def open(self) -> None:
        """Open, recovering from an unclean stop without help. Raises LogUnavailable, LogCorrupt."""
        ...

    async def close(self) -> None:
        """Finish what is in flight and release everything; idempotent."""
        ...

    def close_within(self, seconds_max: float) -> None:
        """Announce `close`: after this time nothing waits for the log any longer; pending calls fail.

        Does nothing if closing never waits.
        """
        ...

    def troubles(self) -> Sequence[str]:
        """The current problems, a sentence each without names of topics, while the log works otherwise; else empty."""
        ...

    def cannot_serve(self) -> str | None:
        """Why the log can serve neither producers nor readers; None if it can."""
        ...

    async def ensure_topic(self, name: str, settings: TopicSettings) -> None:
        """Create the topic, or change its settings; partitions only grow."""
        ...

    async def refused_topics(self, declared: Mapping[str, TopicSettings]) -> Sequence[Refusal]:
        """Which of these topics it would refuse to create or change, and why; changes nothing. Raises LogUnavailable.

        Always empty without `Features.topic_rules`.
        """
        ...

    async def smallest_limit(self, topics: Iterable[str]) -> tuple[int, str] | None:
        """The smallest limit for a record, in bytes, and its topic. Raises LogUnavailable, TopicUnknown.

        None if `topics` is empty, and without `Features.record_limits`.
        """
        ...

    async def join(self, group: str, topics: Iterable[str], *, stall_seconds_max: float = 60.0) -> Membership:
        """Become a member of `group`, whose members divide the partitions of `topics`; `Features.shares_partitions`.

        After the event loop has been blocked for `stall_seconds_max`, others get this member's partitions until it
        continues. Raises LogUnavailable, ConfigInvalid.
        """
        ...

    async def look(self, seconds_max: float) -> bool:
        """Look for damage in the newest batches, the positions and the state, and record it; `Features.finds_damage`.

        Returns whether it has checked everything within `seconds_max`.
        """
        ...

    def damaged_offsets(self) -> int:
        """How many offsets were found damaged since it was opened; `Features.finds_damage`."""
        ...

    async def trim(self) -> int:
        """Apply retention and compaction in small steps that never block writers. Returns the records removed."""
        ...
