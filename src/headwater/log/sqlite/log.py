"""The embedded log: `Log` on one SQLite file, with no server, for one machine.

How this works: `writer` is the one thread that writes, `reader` reads through a small pool of threads, `retention`
removes what need not be kept, `tail_cache` keeps what was just written in memory, so that readers that keep up never
touch the file. Other processes may read, and may write too (more slowly): their commits are noticed by polling `PRAGMA
data_version` while a reader waits. See docs/explanation/embedded-log.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from headwater.errors import HeadwaterError, LogCorrupt, LogUnavailable, PositionLost, TopicUnknown
from headwater.log.contract import (
    Commit,
    Features,
    Placement,
    Position,
    Record,
    StoredRecord,
    TopicInfo,
    TopicSettings,
)
from headwater.log.damage_book import DamageBook
from headwater.log.defaults import LogDefaults
from headwater.log.diagnostics import LogStats, VerifyReport
from headwater.log.record_batch import decode_batch
from headwater.log.sqlite.catalogue import TopicEntry, ensure_topic
from headwater.log.sqlite.commit_group import Written
from headwater.log.sqlite.medium import medium_for_reading, unmade
from headwater.log.sqlite.reader import Reader
from headwater.log.sqlite.retention import Retention, count_slots
from headwater.log.sqlite.space import DiskLimits
from headwater.log.sqlite.tables import OFFSET_MAX, Durability, check_tables, connect, create_tables
from headwater.log.sqlite.verify import look, measure, verify
from headwater.log.sqlite.wal import check_wal
from headwater.log.sqlite.writer import Writer
from headwater.log.tail_cache import AppendSignal, BatchCache, Followed, take_from_memory
from headwater.private_files import make_private_file

POLL_SECONDS_MIN = 0.002
POLL_SECONDS_MAX = 0.020
POLL_SECONDS_ALONE = 0.100
ALONE_AFTER_SECONDS = 5.0
WARM_SECONDS = 1.0
READER_THREADS = 2
# The group under whose name a log stores its id.
ID_GROUP = "headwater.log"

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class ReadCounts:
    """The cost of reading since the log was opened, for measurements and tests."""

    looks: int = 0  # in memory, by one reader
    waits: int = 0  # started, by one reader that found nothing
    searches: int = 0  # of the file, for new records of every followed partition


class SqliteLog(LogDefaults):
    """One file; see `Log` for what each method promises."""

    features = Features(
        transactional_commit=True, keyed_state=True, seek_by_time=True, compaction=True, finds_damage=True
    )

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "fsync",
        clock: Callable[[], float] = time.time,
        busy_seconds: float = 5.0,
        queue_bytes_max: int = 67_108_864,
        wal_bytes_max: int = 67_108_864,
        disk: DiskLimits | None = None,
        cache_bytes_max: int = 8_388_608,
        only_read: bool = False,
    ) -> None:
        """`durability` "fsync": an answered append survives power loss; "os": it survives the end of the process.

        `busy_seconds`: how long to wait for another process. `queue_bytes_max`: how much may wait to be written.
        `disk`: how much of it may be used. `only_read`: nothing will be appended, so that a read-only file system is
        sufficient.
        """
        self._path = path
        self._durability: Durability = durability
        self._busy_seconds = busy_seconds
        self._only_read = only_read
        self.damages = DamageBook()
        self.counts = ReadCounts()
        self._cache = BatchCache(cache_bytes_max)
        self._bell = AppendSignal()
        self._writer = Writer(
            path,
            durability=durability,
            clock=clock,
            busy_seconds=busy_seconds,
            queue_bytes_max=queue_bytes_max,
            wal_bytes_max=wal_bytes_max,
            disk=disk or DiskLimits(),
            on_written=self._on_written,
        )
        self._reader = Reader(path, busy_seconds=busy_seconds, cache=self._cache)
        self._retention = Retention(self._reader, self._writer, clock)
        self._pool: ThreadPoolExecutor | None = None
        self._entries: dict[str, TopicEntry] = {}
        self._known_next: dict[int, int] = {}
        self._read_at: dict[int, float] = {}
        self._generation = 0
        self._written_slots: set[int] = set()
        self._poll_task: asyncio.Task[None] | None = None
        self._trimming = asyncio.Lock()
        self._naming = asyncio.Lock()
        self._id: str | None = None

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        return await self._writer.submit(records, commit)

    def submit(self, records: Sequence[Record], commit: Commit | None = None) -> asyncio.Future[Sequence[Placement]]:
        return self._writer.submit(records, commit)

    async def read(
        self, position: Position, *, records_max: int = 1000, bytes_max: int = 4_194_304, wait_seconds: float = 0.0
    ) -> Sequence[StoredRecord]:
        slots = {key: (await self._entry(*key)).slots[key[1]] for key in position.offsets}
        loop = asyncio.get_running_loop()
        now = loop.time()
        deadline = now + wait_seconds
        self._read_at.update(dict.fromkeys(slots.values(), now))
        while True:
            bell = self._bell.listen(slots.values())
            try:
                followed = [
                    Followed(topic, partition, slots[topic, partition], offset)
                    for (topic, partition), offset in position.offsets.items()
                ]
                self.counts.looks += 1
                found = take_from_memory(self._cache, self._known_next, followed, records_max, bytes_max)
                left = deadline - loop.time()
                # The end known in memory may be old if other processes write: the file is authoritative.
                if found is None or (not found and left <= 0):
                    generation = self._generation
                    found = await self._read_file(followed, records_max, bytes_max)
                    if generation == self._generation:
                        self._note_ends(followed)
                if found or left <= 0:
                    return found
                self._poll()
                self.counts.waits += 1
                await asyncio.wait([bell], timeout=left)
            finally:
                self._bell.leave(slots.values(), bell)

    async def _read_file(self, followed: Sequence[Followed], records_max: int, bytes_max: int) -> list[StoredRecord]:
        try:
            return await self._in_thread(self._reader.read, followed, records_max, bytes_max)
        except LogCorrupt as error:
            self.damages.note(error)
            raise

    def troubles(self) -> Sequence[str]:
        summary = self.damages.summary()
        return (summary,) if summary else ()

    async def first(self, topics: Iterable[str]) -> Position:
        slots = await self._slots(topics)
        ends = await self._in_thread(self._reader.ends, [slot for _, _, slot in slots])
        return Position({(topic, partition): ends[slot][0] for topic, partition, slot in slots})

    async def last(self, topics: Iterable[str]) -> Position:
        slots = await self._slots(topics)
        ends = await self._in_thread(self._reader.ends, [slot for _, _, slot in slots])
        return Position({(topic, partition): ends[slot][1] for topic, partition, slot in slots})

    async def at(self, topics: Iterable[str], timestamp_ms: int) -> Position:
        slots = await self._slots(topics)
        found = await self._in_thread(self._reader.at, slots, timestamp_ms)
        return Position({(topic, partition): found[slot] for topic, partition, slot in slots})

    async def partition_counts(self, topics: Iterable[str]) -> Mapping[str, int]:
        # Another process may have changed them.
        self._entries = await self._in_thread(self._reader.topics)
        return {name: len(entry.slots) for name in topics if (entry := self._entries.get(name)) is not None}

    async def topic_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        # A topic lives as long as its file.
        async with self._naming:
            # Jobs that start together must not each give a new file another id.
            if self._id is None:
                self._id = await self.committed(ID_GROUP)
            if self._id is None and self._only_read:
                # It never had one.
                return {}
            if self._id is None:
                own = uuid.uuid4().hex
                await self.commit(ID_GROUP, own)
                self._id = own
        return {name: f"{self._id}.{entry.id}" for name in topics if (entry := self._entries.get(name)) is not None}

    async def topics(self) -> Sequence[TopicInfo]:
        return await self._in_thread(self._retention.topics)

    async def open(self) -> None:
        if self._pool is not None:
            return
        self._pool = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="headwater-log-reader")
        try:
            await self._in_thread(self._prepare)
            self._entries = await self._in_thread(self._reader.topics)
        except BaseException:
            self._pool.shutdown()
            self._pool = None
            raise
        self._writer.start()

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if self._written_slots:
            # A later open can then distinguish a truncated partition. It is only a help: errors do not matter.
            with contextlib.suppress(HeadwaterError):
                await self._writer.run(partial(count_slots, slots=sorted(self._written_slots)))
            self._written_slots.clear()
        await self._writer.stop()
        for slot in self._bell.slots():
            self._bell.ring(slot)
        if self._poll_task is not None:
            self._poll_task.cancel()
            await asyncio.wait([self._poll_task])
            self._poll_task = None
        await asyncio.get_running_loop().run_in_executor(None, pool.shutdown)
        self._reader.close()
        self._cache.clear()
        self._known_next.clear()
        self._entries = {}
        self._id = None

    async def ensure_topic(self, name: str, settings: TopicSettings) -> None:
        # Batches of all topics are compressed in the same way.
        settings = dataclasses.replace(settings, compression=None) if settings.compression else settings
        present = self._entries.get(name)
        if present is None or present.settings != settings:
            await self._writer.run(lambda connection: ensure_topic(connection, name, settings))
            self._entries = await self._in_thread(self._reader.topics)

    async def commit(self, group: str, token: str) -> None:
        await self._writer.submit((), Commit(group, token))

    async def committed(self, group: str) -> str | None:
        return await self._in_thread(self._reader.committed, group)

    async def claim(self, group: str) -> str | None:
        return await self.committed(group)

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return await self._in_thread(self._reader.state_get, namespace, keys)

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        return await self._in_thread(self._reader.state_scan, namespace, after, rows_max)

    async def trim(self) -> int:
        async with self._trimming:
            removed = 0
            entries = await self._in_thread(self._reader.topics)
            for entry in entries.values():
                for partition, slot in enumerate(entry.slots):
                    try:
                        removed += await self._retention.trim(self._in_thread, entry, partition, slot)
                    except LogCorrupt as error:
                        # Damaged batches stay, and so does what compaction would have merged with them.
                        self.damages.note(error)
                    self._cache.forget(slot)
            await self._retention.shrink(self._in_thread)
            return removed

    async def look(self, seconds_max: float) -> bool:
        """As in the contract; each damage is logged once."""
        found, is_whole = await self._in_thread(look, self._reader, seconds_max)
        for error in found:
            self.damages.note(error)
        return is_whole

    def damaged_offsets(self) -> int:
        return self.damages.offsets

    async def verify(self, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Check every batch, row and page. `progress(batches_done, batches_estimated)` is called from a thread."""
        return await self._in_thread(verify, self._reader, progress)

    async def groups(self) -> Sequence[str]:
        return await self._in_thread(self._reader.groups)

    async def namespaces(self) -> Sequence[str]:
        return await self._in_thread(self._reader.namespaces)

    async def stats(self) -> LogStats:
        """Sizes and counts, for people and for metrics."""
        return await self._in_thread(measure, self._reader, self._path, self._writer.queued_bytes)

    def _prepare(self) -> None:
        if self._only_read:
            self._reader.medium = medium_for_reading(self._path)
        writable = self._reader.medium == "writable"
        check_wal(self._path, ordered=writable and self._durability == "fsync")
        if not writable:
            check_tables(self._path, self._reader.medium)
            return
        try:
            make_private_file(self._path)
        except OSError as error:
            raise unmade(self._path, error) from error
        connection = connect(
            self._path,
            durability=self._durability,
            busy_seconds=self._busy_seconds,
            cache_bytes=262_144,
            read_only=False,
        )
        try:
            create_tables(connection, self._path)
        finally:
            connection.close()

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        if self._pool is None:
            raise LogUnavailable("The log is not open.")
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _entry(self, topic: str, partition: int = 0) -> TopicEntry:
        """The topic, looked up again in the file before it counts as unknown."""
        entry = self._entries.get(topic)
        if entry is None or partition >= len(entry.slots):
            self._entries = await self._in_thread(self._reader.topics)
            entry = self._entries.get(topic)
            if entry is None:
                raise TopicUnknown(f"The log has no topic {topic!r}.")
            if partition >= len(entry.slots):
                raise PositionLost(f"Topic {topic!r} has no partition {partition}: it has {len(entry.slots)}.")
        return entry

    async def _slots(self, topics: Iterable[str]) -> list[tuple[str, int, int]]:
        return [
            (topic, partition, slot)
            for topic in topics
            for partition, slot in enumerate((await self._entry(topic)).slots)
        ]

    def _on_written(self, written: list[Written]) -> None:
        cold = asyncio.get_running_loop().time() - WARM_SECONDS
        for batch in written:
            slot, header = batch.slot, batch.header
            # Answers arrive in the order of commits, so this only ever grows.
            self._known_next[slot] = header.last_offset + 1
            self._written_slots.add(slot)
            if self._read_at.get(slot, 0.0) > cold:
                base = header.place & OFFSET_MAX
                self._cache.put(
                    slot, decode_batch(batch.topic, batch.partition, base, header, batch.columns), batch.crc
                )
        for slot in {batch.slot for batch in written}:
            self._bell.ring(slot)

    def _note_ends(self, followed: Sequence[Followed]) -> None:
        for one in followed:
            if one.at_end and one.offset > self._known_next.get(one.slot, -1):
                self._known_next[one.slot] = one.offset

    def _poll(self) -> None:
        if self._poll_task is None or self._poll_task.done():
            self._poll_task = asyncio.get_running_loop().create_task(self._notice_others(), name="headwater-log-poll")

    async def _notice_others(self) -> None:
        """While a reader waits, check whether another process has committed."""
        connection = await self._in_thread(self._poll_connection)
        try:
            pause, version = POLL_SECONDS_MIN, -1
            others: int | None = None
            quiet_since = foreign_at = asyncio.get_running_loop().time()
            while True:
                now = asyncio.get_running_loop().time()
                pause_max = POLL_SECONDS_ALONE if now > foreign_at + ALONE_AFTER_SECONDS else POLL_SECONDS_MAX
                slots = self._bell.slots()
                if slots:
                    quiet_since = now
                elif now > quiet_since + WARM_SECONDS:
                    return
                version_now = data_version(connection)
                if version_now != version and slots:
                    version = version_now
                    # Our own commits change it too, and to look at every slot for each of them would cost much.
                    others_now = await self._others()
                    pause = pause_max
                    if others_now is not None and others_now != others:
                        pause, foreign_at = POLL_SECONDS_MIN, now
                    if others_now is None or others_now != others:
                        others = others_now
                        await self._refresh(self._bell.slots())
                await asyncio.sleep(pause)
                pause = min(pause * 1.2, pause_max)
        finally:
            connection.close()

    async def _others(self) -> int | None:
        """The writer's number for the commits of others; None while it is held up, maybe by them."""
        with contextlib.suppress(LogUnavailable):
            asked = self._writer.others()
            await asyncio.wait([asked], timeout=POLL_SECONDS_ALONE)
            if asked.done():
                return asked.result()
        return None

    async def _refresh(self, slots: Sequence[int]) -> None:
        """Look for new records in partitions that readers wait for, and discard everything else that is cached."""
        # A read in progress may have seen an earlier state of the file.
        self._generation += 1
        self.counts.searches += 1
        self._known_next = {slot: self._known_next[slot] for slot in slots if slot in self._known_next}
        try:
            ends: Mapping[int, int | None] = await self._in_thread(self._reader.next_offsets, slots)
        except HeadwaterError:
            # Waiting readers read for themselves, and get the error of their partition.
            ends = dict.fromkeys(slots)
            self._known_next.clear()
        for slot, end in ends.items():
            if end is None:
                self._bell.ring(slot)
            elif end > self._known_next.get(slot, -1):
                self._known_next[slot] = end
                self._bell.ring(slot)

    def _poll_connection(self) -> sqlite3.Connection:
        return connect(self._path, busy_seconds=0.0, cache_bytes=65_536, read_only=True, medium=self._reader.medium)


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes with every commit of another connection: microseconds, no disk."""
    try:
        return int(connection.execute("PRAGMA data_version").fetchone()[0])
    except sqlite3.Error:
        # Held for a moment, by recovery or a checkpoint; the next look will do.
        return -2
