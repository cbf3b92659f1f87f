"""The embedded log: `Log` on one SQLite file, with no server, for one machine.

How this works: `readable` is the half that reads; `writer` is the one thread that writes, `retention` removes what need
not be kept. What was just written is kept in memory, so that readers that keep up never touch the file. Processes of
the same platform hand what they write to this one (`serving`, `linked`), and `claimed_groups` keeps their groups apart.
Other processes may read, and may write too (more slowly): their commits are noticed by polling while a reader waits
(`other_writers`). See docs/explanation/embedded-log.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from headwater.errors import HeadwaterError, LogCorrupt
from headwater.log.contract import Commit, Placement, Record, TopicSettings
from headwater.log.record_batch import decode_batch
from headwater.log.sqlite.catalogue import ensure_topic
from headwater.log.sqlite.claimed_groups import ClaimedGroups, WriterName
from headwater.log.sqlite.commit_group import Written
from headwater.log.sqlite.ends import Ends
from headwater.log.sqlite.medium import medium_for_reading, unmade
from headwater.log.sqlite.other_writers import OtherWriters
from headwater.log.sqlite.readable import ID_GROUP, ReadableLog
from headwater.log.sqlite.retention import Retention, count_slots
from headwater.log.sqlite.space import DiskLimits
from headwater.log.sqlite.tables import OFFSET_MAX, Durability, check_tables, connect, create_tables
from headwater.log.sqlite.wal import check_wal
from headwater.log.sqlite.writer import Writer
from headwater.private_files import make_private_file

# What is written to a partition that was read within this time is kept in memory for its readers.
WARM_SECONDS = 1.0


class SqliteLog(ReadableLog):
    """One file; see `Log` for what each method promises."""

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
        super().__init__(path, busy_seconds=busy_seconds, cache_bytes_max=cache_bytes_max)
        self._durability: Durability = durability
        self._busy_seconds = busy_seconds
        self._only_read = only_read
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
        self._retention = Retention(self._reader, self._writer, clock)
        self._others = OtherWriters(
            path, self._reader, self.ends, self.counts, in_thread=self._in_thread, ask_others=self._writer.others
        )
        self._groups = ClaimedGroups()
        self._written_slots: set[int] = set()
        self._trimming = asyncio.Lock()
        self._naming = asyncio.Lock()

    async def open(self) -> None:
        is_open = self._pool is not None
        await super().open()
        if not is_open:
            self._writer.start()

    async def close(self) -> None:
        if self._written_slots and self._pool is not None:
            # A later open can then distinguish a truncated partition. It is only a help: errors do not matter.
            with contextlib.suppress(HeadwaterError):
                await self._writer.run(partial(count_slots, slots=sorted(self._written_slots)))
            self._written_slots.clear()
        await self._writer.stop()
        await self._others.stop()
        await super().close()

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        return await self.submit(records, commit)

    def submit(
        self, records: Sequence[Record], commit: Commit | None = None, *, by: WriterName = None
    ) -> asyncio.Future[Sequence[Placement]]:
        """As in the contract, also with a commit, and in the name of a writer at the other end of a link."""
        if commit is not None:
            self._groups.require(commit.group, by)
        return self._writer.submit(records, commit)

    async def ensure_topic(self, name: str, settings: TopicSettings) -> None:
        # Batches of all topics are compressed in the same way.
        settings = dataclasses.replace(settings, compression=None) if settings.compression else settings
        present = self._entries.get(name)
        if present is None or present.settings != settings:
            await self._writer.run(lambda connection: ensure_topic(connection, name, settings))
            await self._load_entries()

    async def commit(self, group: str, token: str) -> None:
        await self.submit((), Commit(group, token))

    async def claim(self, group: str, *, by: WriterName = None) -> str | None:
        """As in the contract, for a writer at the other end of a link too."""
        self._groups.take(group, by)
        # Whatever was queued before, for this group too, is committed by the time the writer answers.
        await self._writer.others()
        return await self.committed(group)

    async def release(self, group: str, *, by: WriterName = None) -> None:
        self._groups.give_up(group, by)

    def follow(self, slots: Iterable[int]) -> Ends:
        """`ends`, kept up to date for one who waits at the other end of a link for these to grow.

        Raises LogUnavailable.
        """
        self._require_open()
        self._others.watch()
        if unknown := [slot for slot in slots if slot not in self.ends.next]:
            self._others.seek(unknown)
        return self.ends

    def forget(self, writer: WriterName) -> None:
        """A writer at the other end of a link is gone."""
        self._groups.forget(writer)

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

    @property
    def queued_bytes(self) -> int:
        return self._writer.queued_bytes

    def _watch(self, slots: Iterable[int]) -> None:
        self._others.watch()

    async def file_id(self) -> str | None:
        async with self._naming:
            # Jobs that start together must not each give a new file another id.
            found = self._id or await self.committed(ID_GROUP)
            if found is None and not self._only_read:
                found = uuid.uuid4().hex
                await self.commit(ID_GROUP, found)
            self._id = found
            return found

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

    def _on_written(self, written: list[Written]) -> None:
        cold = asyncio.get_running_loop().time() - WARM_SECONDS
        ends = self.ends
        for batch in written:
            slot, header = batch.slot, batch.header
            # Answers arrive in the order of commits, so this only ever grows.
            ends.next[slot] = header.last_offset + 1
            self._written_slots.add(slot)
            if self._read_at.get(slot, 0.0) > cold:
                base = header.place & OFFSET_MAX
                self._cache.put(
                    slot, decode_batch(batch.topic, batch.partition, base, header, batch.columns), batch.crc
                )
        for slot in {batch.slot for batch in written}:
            ends.bell.ring(slot)
