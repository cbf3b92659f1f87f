"""The reading half of the embedded log, for the process that writes it and for those that leave that to another.

How this works: `reader` reads through a small pool of threads; `tail_cache` keeps recent batches in memory; `ends` has
what is known of the ends of partitions and wakes who waits for more. Who appends, and how a waiting reader learns of
it, is the other half's business: the process's own writer (`log`), or the writing process at the other end of a link
(`linked`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from headwater.errors import LogCorrupt, LogUnavailable, PositionLost, TopicUnknown
from headwater.log.contract import Features, Position, StateReader, StoredRecord, TopicInfo
from headwater.log.damage_book import DamageBook
from headwater.log.defaults import LogDefaults
from headwater.log.diagnostics import LogStats, VerifyReport
from headwater.log.sqlite.catalogue import TopicEntry
from headwater.log.sqlite.ends import Ends, ReadCounts
from headwater.log.sqlite.reader import Reader
from headwater.log.sqlite.retention import list_topics
from headwater.log.sqlite.state import OpenState
from headwater.log.sqlite.tables import check_tables
from headwater.log.sqlite.verify import look, measure, verify
from headwater.log.tail_cache import BatchCache, Followed, take_from_memory

READER_THREADS = 2
# The group under whose name a log stores its id.
ID_GROUP = "headwater.log"

T = TypeVar("T")


class ReadableLog(LogDefaults):
    """What both halves share; see `Log` for what each method promises."""

    features = Features(
        transactional_commit=True, keyed_state=True, seek_by_time=True, compaction=True, finds_damage=True
    )

    def __init__(self, path: Path, *, busy_seconds: float, cache_bytes_max: int) -> None:
        self._path = path
        self.damages = DamageBook()
        self.counts = ReadCounts()
        self._cache = BatchCache(cache_bytes_max)
        self.ends = Ends()
        self._reader = Reader(path, busy_seconds=busy_seconds, cache=self._cache)
        self._pool: ThreadPoolExecutor | None = None
        self._entries: dict[str, TopicEntry] = {}
        # When somebody last read from a slot.
        self._read_at: dict[int, float] = {}
        self._id: str | None = None

    async def open(self) -> None:
        if self._pool is not None:
            return
        self._pool = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="headwater-log-reader")
        try:
            await self._in_thread(self._prepare)
            await self._load_entries()
        except BaseException:
            self._pool.shutdown()
            self._pool = None
            raise

    async def close(self) -> None:
        # Readers that wait end with an error.
        pool, self._pool = self._pool, None
        if pool is None:
            return
        self.ends.clear()
        await asyncio.get_running_loop().run_in_executor(None, pool.shutdown)
        self._reader.close()
        self._cache.clear()
        self._entries = {}
        self._id = None

    async def read(
        self, position: Position, *, records_max: int = 1000, bytes_max: int = 4_194_304, wait_seconds: float = 0.0
    ) -> Sequence[StoredRecord]:
        slots = {key: (await self._entry(*key)).slots[key[1]] for key in position.offsets}
        loop = asyncio.get_running_loop()
        now = loop.time()
        deadline = now + wait_seconds
        ends = self.ends
        self._read_at.update(dict.fromkeys(slots.values(), now))
        while True:
            bell = ends.bell.listen(slots.values())
            try:
                followed = [
                    Followed(topic, partition, slots[topic, partition], offset)
                    for (topic, partition), offset in position.offsets.items()
                ]
                self.counts.looks += 1
                found = take_from_memory(self._cache, ends.next, followed, records_max, bytes_max)
                left = deadline - loop.time()
                # The end known in memory may be old if other processes write: the file is authoritative.
                if found is None or (not found and left <= 0):
                    generation = ends.generation
                    found = await self._read_file(followed, records_max, bytes_max)
                    ends.note_read(followed, generation)
                if found or left <= 0:
                    return found
                self._watch(slots.values())
                self.counts.waits += 1
                await asyncio.wait([bell], timeout=left)
            finally:
                ends.bell.leave(slots.values(), bell)

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
        await self._load_entries()
        return {name: len(entry.slots) for name in topics if (entry := self._entries.get(name)) is not None}

    async def topic_ids(self, topics: Iterable[str]) -> Mapping[str, str]:
        # A topic lives as long as its file.
        if self._id is None:
            self._id = await self.file_id()
        if self._id is None:
            return {}
        return {name: f"{self._id}.{entry.id}" for name in topics if (entry := self._entries.get(name)) is not None}

    async def topics(self) -> Sequence[TopicInfo]:
        return await self._in_thread(list_topics, self._reader)

    async def committed(self, group: str) -> str | None:
        return await self._in_thread(self._reader.committed, group)

    async def groups(self) -> Sequence[str]:
        return await self._in_thread(self._reader.groups)

    async def state_get(self, namespace: str, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        return await self._in_thread(self._reader.state_get, namespace, keys)

    async def state_scan(
        self, namespace: str, *, after: bytes = b"", rows_max: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        return await self._in_thread(self._reader.state_scan, namespace, after, rows_max)

    async def namespaces(self) -> Sequence[str]:
        return await self._in_thread(self._reader.namespaces)

    def state_reader(self) -> StateReader:
        return OpenState(self._reader, lambda: self._pool is not None)

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

    async def stats(self) -> LogStats:
        """Sizes and counts, for people and for metrics."""
        return await self._in_thread(measure, self._reader, self._path, self.queued_bytes)

    @property
    def queued_bytes(self) -> int:
        """Bytes of records that wait to be stored, or are being stored."""
        raise NotImplementedError

    def _watch(self, slots: Iterable[int]) -> None:
        """A reader waits for these to grow: see to it that `_ends` learns of it."""
        raise NotImplementedError

    async def file_id(self) -> str | None:
        """The id that is stored in the file, made now if need be; None if it has none and cannot be given one."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Check that the file is ours, in a thread, before it is read."""
        check_tables(self._path, self._reader.medium)

    def _require_open(self) -> ThreadPoolExecutor:
        if self._pool is None:
            raise LogUnavailable("The log is not open.")
        return self._pool

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._require_open(), function, *arguments)

    async def _load_entries(self) -> None:
        self._entries = await self._in_thread(self._reader.topics)

    async def _entry(self, topic: str, partition: int = 0) -> TopicEntry:
        """The topic, looked up again in the file before it counts as unknown."""
        entry = self._entries.get(topic)
        if entry is None or partition >= len(entry.slots):
            await self._load_entries()
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
