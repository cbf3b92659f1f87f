"""The one thread that writes the embedded log: everything that is queued goes into one transaction.

How this works: appends are queued from the event loop; the thread takes all that are waiting, packs the records of
each topic partition into batches, and commits them with positions and state in one transaction (group commit: one
fsync for all). Then it completes all appends with a single call into the loop. Each append is all or none: what makes
one fail is found before the transaction, and if a whole group fails its appends are retried one by one. Other work on
the file (topics, retention, compaction) comes as *steps*, small transactions between groups, so that this thread is
the only writer in the process; another process may write too, which `PRAGMA data_version` reveals under the lock.
`checkpoint` copies the write-ahead log into the file in parallel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from headwater.errors import HeadwaterError, LogFull, LogUnavailable, TopicUnknown
from headwater.log.contract import Commit, Placement, Record
from headwater.log.record_batch import BatchCodec, BatchDamaged, BatchHeader, checksum
from headwater.log.sqlite.catalogue import PartitionRow, last_damaged, load_partition, load_topics, slot_range
from headwater.log.sqlite.checkpoint import Checkpointer
from headwater.log.sqlite.commit_group import (
    Append,
    CommitGroup,
    KnownPartition,
    KnownTopic,
    Step,
    Written,
    admitted_size,
    check_types,
)
from headwater.log.sqlite.space import DiskLimits, Space
from headwater.log.sqlite.tables import (
    OFFSET_BITS,
    OFFSET_MAX,
    PAGE_BYTES,
    Durability,
    connect,
    roll_back,
    row_crc,
    state_crc,
    translate,
)

GROUP_BYTES_MAX = 8_388_608

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Look(NamedTuple):
    """Queued: a question whether other connections have committed."""

    future: asyncio.Future[int]


class Writer:
    """The writing thread. `submit` and `run` are called from the event loop that called `start`."""

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability,
        clock: Callable[[], float],
        busy_seconds: float,
        queue_bytes_max: int,
        wal_bytes_max: int,
        disk: DiskLimits,
        on_written: Callable[[list[Written]], None],
    ) -> None:
        self._path = path
        self._durability: Durability = durability
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._queue_bytes_max = queue_bytes_max
        self._file_bytes_max = disk.file_bytes_max
        self._on_written = on_written
        self._checkpointer = Checkpointer(path, durability, wal_bytes_max)
        self._space = Space(path, disk.reserve_bytes, busy_seconds, self._checkpointer)
        self._queue: queue.SimpleQueue[Append | Step | Look | None] = queue.SimpleQueue()
        self._submitted_bytes = 0
        self._finished_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._codec = BatchCodec()
        self._topics: dict[str, KnownTopic] = {}
        self._topics_stale = True
        self._data_version = -1
        self._others = 0

    def start(self) -> None:
        """Begin to accept work. The file is opened for writing when there is something to write."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="headwater-log-writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Finish what is queued, then release the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    @property
    def queued_bytes(self) -> int:
        """Bytes of records waiting or being committed."""
        return self._submitted_bytes - self._finished_bytes

    def submit(self, records: Sequence[Record], commit: Commit | None) -> asyncio.Future[Sequence[Placement]]:
        """Queue an append. Raises LogUnavailable when too much is waiting, EventTooLarge."""
        loop = self._loop
        if self._thread is None or loop is None:
            raise LogUnavailable("The log is not open.")
        size = admitted_size(records, self.queued_bytes, self._queue_bytes_max)
        self._submitted_bytes += size
        future: asyncio.Future[Sequence[Placement]] = loop.create_future()
        self._queue.put(Append(records, commit, future, size))
        return future

    def run(self, change: Callable[[sqlite3.Connection], T], *, frees: bool = False) -> asyncio.Future[T]:
        """Queue a step: `change` is called in a separate transaction and should take milliseconds.

        `frees`: it makes space, so that on a full disk it may use what is kept back for that.
        """
        if self._thread is None or self._loop is None:
            raise LogUnavailable("The log is not open.")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(Step(change, future, frees))
        return future

    def others(self) -> asyncio.Future[int]:
        """Queue a question: the number differs if another connection has committed in the meantime."""
        if self._thread is None or self._loop is None:
            raise LogUnavailable("The log is not open.")
        future: asyncio.Future[int] = self._loop.create_future()
        self._queue.put(Look(future))
        return future

    def _run(self) -> None:
        waiting: deque[Append | Step | Look | None] = deque()
        while True:
            item = waiting.popleft() if waiting else self._queue.get()
            if item is None:
                break
            if isinstance(item, Step):
                self._step(item)
            elif isinstance(item, Look):
                self._look(item)
            else:
                self._commit(self._collect(item, waiting))
        self._checkpointer.stop()
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _collect(self, first: Append, waiting: deque[Append | Step | Look | None]) -> list[Append]:
        """`first` and the appends queued behind it, up to the first item that is not an append."""
        group, size = [first], first.bytes_total
        while size < GROUP_BYTES_MAX:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(item, Append):
                waiting.append(item)
                break
            group.append(item)
            size += item.bytes_total
        return group

    def _commit(self, appends: list[Append]) -> None:
        """Commit a group and complete its appends, also after any error."""
        answers: list[tuple[asyncio.Future[Any], Any]] = []
        written: list[Written] = []
        try:
            self._commit_group(appends, answers, written)
        except BaseException as error:
            _log.exception("the log's writer failed")
            answered = {id(future) for future, _ in answers}
            answers.extend((a.future, error) for a in appends if id(a.future) not in answered)
        self._finished_bytes += sum([append.bytes_total for append in appends])
        self._call(self._answer, answers, written)
        self._checkpointer.relieve(self._connection)

    def _commit_group(
        self, appends: list[Append], answers: list[tuple[asyncio.Future[Any], Any]], written: list[Written]
    ) -> None:
        try:
            connection = self._opened()
            group = self._grouped(connection, appends, answers)
            for building in group.buildings.values():
                building.pack(self._codec)
            try:
                written.extend(self._transaction(connection, group))
            except sqlite3.Error as error:
                if not isinstance(translate(error, self._path, "writing"), LogFull):
                    raise
                # Once all of the write-ahead log is in the file, its space is there to be used again.
                self._checkpointer.copy_now(connection)
                written.extend(self._transaction(connection, group))
        except Exception as error:
            self._forget()
            problem = translate(error, self._path, "writing") if isinstance(error, sqlite3.Error) else error
            left = [append for append in appends if not any(future is append.future for future, _ in answers)]
            alone = isinstance(problem, LogFull) or not isinstance(problem, LogUnavailable)
            if len(left) > 1 and alone:
                for append in left:
                    self._commit_group([append], answers, written)
            else:
                answers.extend((append.future, problem) for append in left)
            return
        answers.extend((append.future, group.placements(index)) for index, append in enumerate(group.appends))

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            # Other processes may have written since this log was closed; a new connection restarts the version count.
            self._forget()
            self._data_version = -1
            self._connection = connect(
                self._path,
                durability=self._durability,
                busy_seconds=self._busy_seconds,
                cache_bytes=8_388_608,
                read_only=False,
            )
            if self._file_bytes_max is not None:
                self._connection.execute(f"PRAGMA max_page_count = {max(16, self._file_bytes_max // PAGE_BYTES)}")
            self._checkpointer.start()
        return self._connection

    def _grouped(
        self, connection: sqlite3.Connection, appends: list[Append], answers: list[tuple[asyncio.Future[Any], Any]]
    ) -> CommitGroup:
        if self._topics_stale:
            self._load_topics(connection)
        group = CommitGroup(self._topics)
        for append in appends:
            if append.future.cancelled():
                continue
            try:
                try:
                    check_types(append.records)
                    group.add(append)
                except TopicUnknown:
                    # Perhaps another process has just created it, or its partition.
                    self._load_topics(connection)
                    group.add(append)
            except (HeadwaterError, TypeError) as error:
                answers.append((append.future, error))
        return group

    def _load_topics(self, connection: sqlite3.Connection) -> None:
        for entry in load_topics(connection).values():
            topic = self._topics.setdefault(entry.name, KnownTopic(entry.name, [], [0]))
            for number in range(len(topic.partitions), len(entry.slots)):
                topic.partitions.append(KnownPartition(entry.name, number, entry.slots[number]))
        self._topics_stale = False

    def _transaction(self, connection: sqlite3.Connection, group: CommitGroup) -> list[Written]:
        """One commit; nothing of the writer's own knowledge changes unless it succeeds."""
        if not group.appends:
            return []
        written: list[Written] = []
        self._space.require(connection, sum([append.bytes_total for append in group.appends]))
        now_ms = int(self._clock() * 1000)
        pages = 3
        try:
            self._begin(connection)
            for building in group.buildings.values():
                partition = building.partition
                if partition.next_offset < 0:
                    self._load_tail(connection, partition)
                building.base_offset = offset = partition.next_offset
                building.set_times(self._codec, now_ms)
                if offset + building.count > OFFSET_MAX:
                    raise LogFull(f"Partition {partition.number} of {partition.topic!r} has no more offsets.")
                for (columns, codec, data), (first_ms, last_ms) in zip(building.packed, building.spans, strict=True):
                    count = len(columns.values)
                    place = (partition.slot << OFFSET_BITS) | offset
                    header = BatchHeader(place, offset + count - 1, count, first_ms, last_ms, codec)
                    crc = checksum(header, data)
                    connection.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*header, crc, data))
                    written.append(Written(partition.topic, partition.number, partition.slot, header, crc, columns))
                    offset += count
                    pages += 2 + len(data) // PAGE_BYTES
            for append in group.appends:
                if append.commit is not None:
                    _store_commit(connection, append.commit)
                    pages += 2 + len(append.commit.state)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        self._checkpointer.note(pages)
        for building in group.buildings.values():
            building.partition.next_offset = building.base_offset + building.count
            building.partition.last_ms = building.timestamp_ms
        return written

    def _begin(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        self._meet_others(connection)

    def _meet_others(self, connection: sqlite3.Connection) -> None:
        """This connection's own commits do not change the version that it sees."""
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:
            self._forget()
            self._data_version = version
            self._others += 1

    def _look(self, look: Look) -> None:
        try:
            if self._connection is None:
                # A writer that has not written has no commits of its own to distinguish.
                self._others += 1
            else:
                self._meet_others(self._connection)
        except sqlite3.Error:
            self._others += 1
        self._call(self._answer, [(look.future, self._others)], [])

    def _forget(self) -> None:
        """Another process has written, or a commit has failed: what is known may be wrong."""
        self._topics_stale = True
        for topic in self._topics.values():
            for partition in topic.partitions:
                partition.next_offset = -1

    def _load_tail(self, connection: sqlite3.Connection, partition: KnownPartition) -> None:
        # The last batch is read whole: the numbers in the header of a damaged one may be anything.
        low, high = slot_range(partition.slot)
        found = connection.execute(
            "SELECT id, last_offset, count, first_ms, last_ms, codec, crc, data FROM batches"
            " WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (low, high),
        ).fetchone()
        row = load_partition(connection, partition.slot)
        if found is None:
            partition.next_offset, partition.last_ms = max(row.floor, row.counted_to), row.floor_ms
            return
        header = BatchHeader(*found[:6])
        end, last_ms = header.last_offset + 1, header.last_ms
        try:
            self._codec.unpack(header, found[6], found[7])
        except BatchDamaged:
            # Its row stays unchanged, and its readers get the error. Its times are useless, and must not go back.
            end = last_damaged(connection, header) + 1
            last_ms = self._time_before(connection, header, row)
        # Where the end is missing its numbers are not given again: verify shows the gap.
        partition.next_offset, partition.last_ms = max(end, row.counted_to), last_ms

    def _time_before(self, connection: sqlite3.Connection, damaged: BatchHeader, row: PartitionRow) -> int:
        """The newest time of receipt before a damaged batch, or of that one where it is no later than now."""
        found = connection.execute(
            "SELECT last_ms FROM batches WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1",
            (slot_range(row.slot)[0], damaged.place),
        ).fetchone()
        now_ms = int(self._clock() * 1000)
        times = [row.floor_ms, damaged.last_ms, *(found or ())]
        return max((time for time in times if type(time) is int and time <= now_ms), default=0)

    def _step(self, step: Step) -> None:
        answer: Any
        try:
            connection = self._opened()
            try:
                answer = self._change(connection, step)
            except sqlite3.Error as error:
                if not step.frees or not isinstance(translate(error, self._path, "changing the log"), LogFull):
                    raise
                self._space.give_up_reserve()
                answer = self._change(connection, step)
            self._checkpointer.note(64)
            self._space.removed(connection)
        except sqlite3.Error as error:
            answer = translate(error, self._path, "changing the log")
        except BaseException as error:
            answer = error
        self._topics_stale = True
        self._call(self._answer, [(step.future, answer)], [])
        self._checkpointer.relieve(self._connection)

    def _change(self, connection: sqlite3.Connection, step: Step) -> Any:
        try:
            self._begin(connection)
            answer = step.change(connection)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        return answer

    def _answer(self, answers: list[tuple[asyncio.Future[Any], Any]], written: list[Written]) -> None:
        for future, answer in answers:
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        if written:
            self._on_written(written)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        # The loop may be closed if a test, or a crash of the program, leaves the log open.
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *arguments)


def _store_commit(connection: sqlite3.Connection, commit: Commit) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
        (commit.group, commit.token, row_crc(commit.group, commit.token)),
    )
    if not commit.state:
        return
    deleted: list[tuple[str, bytes]] = []
    stored: list[tuple[str, bytes, bytes, int]] = []
    # Of several changes of a key the last one counts.
    last = {(change.namespace, change.key): change.value for change in commit.state}
    for (namespace, key), value in last.items():
        if value is None:
            deleted.append((namespace, key))
        else:
            stored.append((namespace, key, value, state_crc(namespace, key, value)))
    # One statement for many rows: each call of one costs as much as the row.
    connection.executemany("DELETE FROM state WHERE namespace = ? AND key = ?", deleted)
    connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)", stored)
