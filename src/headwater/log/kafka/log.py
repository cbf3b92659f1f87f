"""The shared log: `Log` on Apache Kafka, for any number of machines and processes.

How this works: `producer` delivers appends and receives a report for each record, `reader` reads from any position with
a few shared consumers, `follower` keeps recent records in memory with one more, shared by all readers that keep up;
`topics` knows the topics, `transaction` appends records and a group's token together, `group_tokens` stores tokens. The
brokers apply retention and compaction. See docs/reference/kafka.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from headwater.errors import (
    EventTooLarge,
    HeadwaterError,
    KeyFieldMissing,
    LogCorrupt,
    LogUnavailable,
    PositionLost,
    WriterFenced,
)
from headwater.log.contract import (
    Commit,
    Features,
    Placement,
    Position,
    Record,
    Refusal,
    StoredRecord,
    TopicInfo,
    TopicPartition,
    TopicSettings,
)
from headwater.log.defaults import LogDefaults, unsupported
from headwater.log.diagnostics import Damage, LogStats, VerifyReport
from headwater.log.kafka.follower import Follower
from headwater.log.kafka.group_tokens import GroupTokens, Headers
from headwater.log.kafka.membership import KafkaMembership
from headwater.log.kafka.offsets import GroupOffsets
from headwater.log.kafka.outage import READING, Outages
from headwater.log.kafka.producer import Sender
from headwater.log.kafka.reader import Found, SeekerPool
from headwater.log.kafka.settings import KafkaSettings, checked_options
from headwater.log.kafka.topics import EARLIEST, LATEST, KafkaTopics, received_at
from headwater.log.kafka.transaction import OutcomeUnknown, Transactions
from headwater.log.tail_cache import AppendSignal
from headwater.log.urls import parse_url

SEEKERS_MAX = 4
ASKERS_MAX = 2
CLOSE_SECONDS_MAX = 10.0
VERIFIED_AT_ONCE = 5_000
# A reader that waited at least this long has seen what had arrived when it began; others ask the broker.
TRUSTED_WAIT_SECONDS = 0.5
# How long the follower is trusted that nothing has arrived.
CHECK_SECONDS = 30.0

T = TypeVar("T")


class KafkaLog(LogDefaults):
    """One namespace of one cluster; see `Log` for what each method promises."""

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
        topic_rules=True,
        record_limits=True,
        refuses_records=True,
        shares_partitions=True,
    )

    def __init__(
        self,
        url: str,
        *,
        options: Mapping[str, Any] | None = None,
        replication_factor: int | None = None,
        min_insync_replicas: int | None = None,
        delivery_seconds_max: float = 60.0,
        queue_bytes_max: int = 67_108_864,
        cache_bytes_max: int = 16_777_216,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`url`: `kafka://HOST:PORT[,HOST:PORT…][/NAMESPACE]`. `options`: librdkafka's own, by their dotted names.

        `delivery_seconds_max`: how long the brokers may take to confirm a record. `queue_bytes_max`: how much may wait
        for them. `replication_factor` and `min_insync_replicas` are for topics created here; by default three replicas,
        or one for each broker if there are fewer, of which two (of three) must store a record. Raises ConfigInvalid.
        """
        servers, namespace = parse_url(url)
        self._settings = KafkaSettings(
            servers,
            namespace,
            checked_options(options or {}),
            replication_factor,
            min_insync_replicas,
            delivery_seconds_max,
            queue_bytes_max,
        )
        self._bell = AppendSignal()
        self.outages = Outages(servers)
        self._topics = KafkaTopics(self._settings, self._ask_in_thread, self.outages)
        self.counts = self._topics.counts
        self._sender = Sender(self._settings, self._topics, clock, self.outages)
        self._transactions = Transactions(self._settings, self._topics, self._sender)
        self._topics.on_grown += [self._sender.learn, self._transactions.learn]
        self._tokens = GroupTokens(self._topics, self, GroupOffsets(self._settings))
        # The mark of the last commit to each group, as far as this process knows.
        self._marks: dict[str, Headers] = {}
        self._seekers = SeekerPool(self._settings, SEEKERS_MAX)
        self._follower = Follower(
            self._settings, self._bell, cache_bytes_max, lambda places: self._topics.ends_at(places, LATEST)
        )
        self._pool: ThreadPoolExecutor | None = None
        # Threads of their own: readers may wait in all others.
        self._askers: ThreadPoolExecutor | None = None
        self._tidying: asyncio.TimerHandle | None = None
        self._giving_up: asyncio.TimerHandle | None = None

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        return await self.submit(records, commit)

    def submit(self, records: Sequence[Record], commit: Commit | None = None) -> asyncio.Future[Sequence[Placement]]:
        if commit is None:
            return self._sender.submit(records)
        if commit.state:
            raise unsupported(self, "keyed_state")
        return asyncio.get_running_loop().create_task(self._append_and_commit(records, commit))

    async def read(
        self, position: Position, *, records_max: int = 1000, bytes_max: int = 4_194_304, wait_seconds: float = 0.0
    ) -> Sequence[StoredRecord]:
        offsets = dict(position.offsets)
        for topic, partition in offsets:
            known = self._topics.get(topic)
            if known is None or partition >= known.partitions:
                await self._topics.find(topic, partition)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        slots = [self._follower.slot(place) for place in offsets]
        checked = wait_seconds >= TRUSTED_WAIT_SECONDS
        while True:
            bell = self._bell.listen(slots)
            try:
                found: Sequence[StoredRecord] | None = self._follower.take(offsets, records_max, bytes_max)
                left = deadline - loop.time()
                if found is None or (not found and left <= 0 and not (checked and self._is_fresh(offsets))):
                    found = await self._look(offsets, records_max, bytes_max, follow=left > 0)
                    if not found and left > 0:
                        # Records that arrived during the request are in memory now.
                        checked = True
                        continue
                if found or left <= 0:
                    return found
                await asyncio.wait([bell], timeout=left)
                self._check_open()
            finally:
                self._bell.leave(slots, bell)

    async def first(self, topics: Iterable[str]) -> Position:
        return Position(await self._topics.ends(topics, EARLIEST))

    async def last(self, topics: Iterable[str]) -> Position:
        return Position(await self._topics.ends(topics, LATEST))

    async def at(self, topics: Iterable[str], timestamp_ms: int) -> Position:
        names = list(topics)
        found = await self._topics.ends(names, received_at(timestamp_ms))
        missing = [place for place, offset in found.items() if offset < 0]
        return Position({**found, **(await self._topics.ends_at(missing, LATEST))})

    async def partition_counts(self, topics: Iterable[str]) -> Mapping[str, int]:
        await self._topics.freshen()
        return {name: topic.partitions for name in topics if (topic := self._topics.get(name)) is not None}

    async def topic_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        return await self._topics.ids(topics)

    async def topics(self) -> Sequence[TopicInfo]:
        return await self._topics.infos()

    async def open(self) -> None:
        if self._pool is not None:
            return
        self._settings.closing.reset()
        self._pool = ThreadPoolExecutor(SEEKERS_MAX, thread_name_prefix="headwater-log-reader")
        self._askers = ThreadPoolExecutor(ASKERS_MAX, thread_name_prefix="headwater-log-topics")
        try:
            await self._topics.open()
            self._sender.start()
        except BaseException:
            self._pool.shutdown()
            self._askers.shutdown()
            self._pool = self._askers = None
            raise

    async def smallest_limit(self, topics: Iterable[str]) -> tuple[int, str] | None:
        measured = [await self._topics.measured(name) for name in dict.fromkeys(topics)]
        return min(((topic.record_bytes_max or 0, topic.name) for topic in measured), default=None)

    async def refused_topics(self, declared: Mapping[str, TopicSettings]) -> Sequence[Refusal]:
        return await self._topics.refused(declared)

    def troubles(self) -> Sequence[str]:
        return self.outages.troubles()

    def cannot_serve(self) -> str | None:
        return self.outages.cannot_serve()

    def close_within(self, seconds_max: float) -> None:
        """Announce `close`: calls that wait for the brokers fail after this time."""
        self._settings.closing.begin(seconds_max)
        if self._pool is not None and self._giving_up is None:
            self._giving_up = asyncio.get_running_loop().call_later(seconds_max, self._give_up)

    def _give_up(self) -> None:
        # Errors from here on are caused by closing.
        self.outages.is_muted = True
        self._sender.give_up()
        self._topics.waits.give_up()

    async def close(self) -> None:
        self.close_within(CLOSE_SECONDS_MAX)
        pool, self._pool = self._pool, None
        askers, self._askers = self._askers, None
        if pool is None or askers is None:
            return
        await self._sender.stop(self._settings.closing.left(CLOSE_SECONDS_MAX))
        await self._transactions.close()
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        loop = asyncio.get_running_loop()
        for thread in self._follower.stop():
            await loop.run_in_executor(None, thread.join)
        await loop.run_in_executor(None, pool.shutdown)
        await loop.run_in_executor(None, askers.shutdown)
        await loop.run_in_executor(None, self._seekers.close_idle, 0.0)
        await self._tokens.close()
        await self._topics.close()
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    async def ensure_topic(self, name: str, settings: TopicSettings) -> None:
        await self._topics.ensure(name, settings)

    async def commit(self, group: str, token: str) -> None:
        await self._tokens.ready()
        await self._sender.submit([self._tokens.record(group, token)])
        self._tokens.show(group, token)

    async def committed(self, group: str) -> str | None:
        self._check_open()
        return await self._tokens.of(group)

    async def claim(self, group: str) -> str | None:
        self._check_open()
        try:
            await self._transactions.claim(group)
        except WriterFenced:
            if not self._transactions.is_doubtful(group):
                raise
            if group in self._marks:
                await self._check_successor(group, ())
            else:
                await self._transactions.release(group)
            await self._transactions.claim(group)
        await self._tokens.settle()
        self._marks[group] = await self._tokens.mark_of(group)
        return await self._tokens.of(group)

    async def release(self, group: str) -> None:
        await self._transactions.release(group)
        self._marks.pop(group, None)

    async def join(self, group: str, topics: Iterable[str], *, stall_seconds_max: float = 60.0) -> KafkaMembership:
        self._check_open()
        return KafkaMembership(self._settings, group, topics, stall_seconds_max)

    async def refusal(self, record: Record) -> HeadwaterError | None:
        """Why the brokers would never accept the record: its size, or a missing key; None if they would."""
        try:
            # With a given partition, the round robin does not advance.
            await self._sender.prepare([msgspec.structs.replace(record, partition=record.partition or 0)])
        except (EventTooLarge, KeyFieldMissing) as error:
            return error
        return None

    async def trim(self) -> int:
        return 0

    async def verify(self, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Read everything; the client checks every batch. `progress(records_done, records_estimated)`."""
        infos = await self.topics()
        expected = sum(sum(info.next) - sum(info.first) for info in infos)
        records = 0
        damages: list[Damage] = []
        for place, offset in (await self.first([info.name for info in infos])).offsets.items():
            position = Position({place: offset})
            try:
                while found := await self.read(position, records_max=VERIFIED_AT_ONCE):
                    records += len(found)
                    position = position.after(found[-1])
                    if progress is not None:
                        progress(records, expected)
            except LogCorrupt as error:
                damages.append(Damage(f"{place[0]}/{place[1]}", error.message, *place, position.offsets[place]))
        return VerifyReport(None, records, tuple(damages))

    async def stats(self) -> LogStats:
        """Counts, for display and for metrics; only the brokers know how much they store."""
        infos = await self.topics()
        return LogStats(
            topics=len(infos),
            partitions=sum(len(info.next) for info in infos),
            batches=None,
            file_bytes=None,
            free_bytes=None,
            wal_bytes=None,
            queued_bytes=self._sender.queued_bytes,
            positions=len(await self.groups()),
            state_rows=None,
        )

    async def groups(self) -> Sequence[str]:
        self._check_open()
        return await self._tokens.groups()

    async def _append_and_commit(self, records: Sequence[Record], commit: Commit) -> Sequence[Placement]:
        self._check_open()
        await self._tokens.ready()
        token = self._tokens.record(commit.group, commit.token)
        try:
            placements = await self._transactions.append(records, commit.group, token)
        except OutcomeUnknown as unknown:
            # The brokers have committed or aborted the transaction by now: the token shows which.
            await self._tokens.settle()
            if await self._tokens.mark_of(commit.group) != token.headers:
                raise LogUnavailable(
                    "The transaction was not committed: nothing of it was stored.", hint="Try again."
                ) from None
            placements = unknown.placements
        except WriterFenced:
            if not self._transactions.is_doubtful(commit.group):
                raise
            await self._check_successor(commit.group, token.headers)
            raise LogUnavailable(
                f"The transaction of {commit.group!r} was open for too long, or a late request of this process has"
                " ended it.",
                hint="Try again: no other process has written for the group since.",
            ) from None
        self._marks[commit.group] = token.headers
        self._tokens.show(commit.group, commit.token)
        return placements

    async def _check_successor(self, group: str, attempted: Headers) -> None:
        """Release a fenced group if no other process has committed to it since; else raise WriterFenced.

        `attempted`: the mark of the commit this process was making, which may be stored.
        """
        await self._tokens.settle()
        if await self._tokens.mark_of(group) not in (self._marks.get(group), attempted or None):
            raise WriterFenced(
                f"Another process has taken over the group {group!r} while this one was suspended or blocked.",
                hint="Run a job once only; restart this process to take the group back.",
            )
        await self._transactions.release(group)

    async def _look(
        self, offsets: dict[TopicPartition, int], records_max: int, bytes_max: int, *, follow: bool
    ) -> Sequence[StoredRecord]:
        """What the brokers have from `offsets` on; if that is nothing, the ends are followed if `follow`, and `offsets`
        moved there."""
        ended: Mapping[TopicPartition, int] = {}
        if not self._seekers.goes_on(offsets):
            ended = await self._ended(offsets)
        if len(ended) < len(offsets):
            found = await self._seek(offsets, ended, records_max, bytes_max)
            self._tidy_later()
        else:
            found = Found([], ended, ())
        if found.lost:
            raise await self._position_lost(offsets, found.lost[0])
        for record in found.records:
            tail = self._follower.tail((record.topic, record.partition))
            if tail is not None and record.offset >= tail.next and not self._is_fresh([tail.place]):
                # It should have arrived long ago.
                self._follower.unfollow(tail.place)
        if not found.records:
            if follow or all(self._follower.tail(place) is not None for place in offsets):
                self._follower.follow(offsets, found.ends)
            offsets.update({place: max(end, offsets[place]) for place, end in found.ends.items()})
        return found.records

    async def _seek(
        self,
        offsets: Mapping[TopicPartition, int],
        ended: Mapping[TopicPartition, int],
        records_max: int,
        bytes_max: int,
    ) -> Found:
        topics = {topic for topic, _ in offsets}
        try:
            found: Found = await self._in_thread(self._seekers.read, offsets, ended, records_max, bytes_max)
        except HeadwaterError as error:
            named = [topic for topic in topics if error.message.startswith(READING + repr(topic))]
            self.outages.failed(READING + repr((named or sorted(topics))[0]), error)
            raise
        for topic in topics if self.outages.is_open else ():
            self.outages.worked(READING + repr(topic))
        return found

    async def _ended(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Those of `offsets` at which nothing is to be read yet. Raises PositionLost where one does not exist."""
        first, last = await asyncio.gather(
            self._topics.ends_at(offsets, EARLIEST), self._topics.ends_at(offsets, LATEST)
        )
        beyond = [place for place, offset in offsets.items() if offset > last[place]]
        # Records of an open transaction are stored, but not yet readable.
        written = await self._topics.ends_at(beyond, LATEST, committed=False) if beyond else {}
        for place, offset in offsets.items():
            if offset < first[place] or offset > written.get(place, last[place]):
                raise await self._position_lost(offsets, place)
        return {place: offset for place, offset in offsets.items() if offset >= last[place]}

    async def _position_lost(self, offsets: Mapping[TopicPartition, int], place: TopicPartition) -> HeadwaterError:
        """The error for an offset that does not exist, after the brokers have confirmed the partition's range."""
        floor, end = [
            (await self._topics.ends_at([place], spec, committed=False))[place] for spec in (EARLIEST, LATEST)
        ]
        if floor <= offsets[place] <= end:
            # A leader that was elected just now may not know its range yet.
            return LogUnavailable(
                f"Offset {offsets[place]} of topic {place[0]!r}, partition {place[1]}, cannot be read at the moment.",
                hint="Try again.",
            )
        earliest = Position({place: floor}).token()
        why = "retention has removed it" if offsets[place] < floor else "it is beyond the end"
        return PositionLost(
            f"Offset {offsets[place]} of topic {place[0]!r}, partition {place[1]}, is not in the log: {why}.",
            hint=f"Resume from {earliest}.",
            earliest=earliest,
        )

    def _is_fresh(self, places: Iterable[TopicPartition]) -> bool:
        limit = time.monotonic() - CHECK_SECONDS
        return all((tail := self._follower.tail(place)) is not None and tail.checked_at > limit for place in places)

    def _tidy_later(self) -> None:
        if self._tidying is None and self._pool is not None:
            self._tidying = asyncio.get_running_loop().call_later(5.0, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        if self._pool is not None and self._seekers.close_idle():
            self._tidy_later()

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await _run(self._pool, function, *arguments)

    async def _ask_in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await _run(self._askers, function, *arguments)

    def _check_open(self) -> None:
        if self._pool is None:
            raise LogUnavailable("The log is not open.")


async def _run(pool: ThreadPoolExecutor | None, function: Callable[..., T], *arguments: object) -> T:
    if pool is None:
        raise LogUnavailable("The log is not open.")
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
