"""Notices the commits of other processes while somebody waits for them, by polling `PRAGMA data_version`."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.errors import HeadwaterError, LogUnavailable
from headwater.log.sqlite.ends import Ends, ReadCounts
from headwater.log.sqlite.reader import Reader
from headwater.log.sqlite.tables import connect

POLL_SECONDS_MIN = 0.002
POLL_SECONDS_MAX = 0.020
POLL_SECONDS_ALONE = 0.100
ALONE_AFTER_SECONDS = 5.0
# After the last reader has stopped waiting.
QUIET_SECONDS = 1.0

InThread = Callable[..., Any]


class OtherWriters:
    """Looks at the file while readers wait for `ends` to grow.

    `ask_others` asks the log's own writer for a number that changes with the commits of other processes.
    """

    def __init__(
        self,
        path: Path,
        reader: Reader,
        ends: Ends,
        counts: ReadCounts,
        *,
        in_thread: InThread,
        ask_others: Callable[[], asyncio.Future[int]],
    ) -> None:
        self._path = path
        self._reader = reader
        self._ends = ends
        self._counts = counts
        self._in_thread = in_thread
        self._ask_others = ask_others
        self._task: asyncio.Task[None] | None = None
        self._seeking: set[asyncio.Task[None]] = set()

    def watch(self) -> None:
        """Look until nobody has waited for QUIET_SECONDS."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look(), name="headwater-log-poll")

    def seek(self, slots: Sequence[int]) -> None:
        """Look once for the ends of these, about which nothing is known."""
        task = asyncio.get_running_loop().create_task(self._find(slots), name="headwater-log-seek")
        self._seeking.add(task)
        task.add_done_callback(self._seeking.discard)

    async def stop(self) -> None:
        tasks = [*self._seeking, *([self._task] if self._task is not None else ())]
        self._task = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _find(self, slots: Sequence[int]) -> None:
        try:
            ends: Mapping[int, int | None] = await self._in_thread(self._reader.next_offsets, slots)
        except HeadwaterError:
            ends = dict.fromkeys(slots)
            self._ends.next.clear()
        self._ends.note_found(ends)

    async def _look(self) -> None:
        connection = await self._in_thread(self._connection)
        try:
            pause, version = POLL_SECONDS_MIN, -1
            others: int | None = None
            quiet_since = foreign_at = asyncio.get_running_loop().time()
            while True:
                now = asyncio.get_running_loop().time()
                pause_max = POLL_SECONDS_ALONE if now > foreign_at + ALONE_AFTER_SECONDS else POLL_SECONDS_MAX
                slots = self._ends.bell.slots()
                if slots:
                    quiet_since = now
                elif now > quiet_since + QUIET_SECONDS:
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
                        await self._refresh()
                await asyncio.sleep(pause)
                pause = min(pause * 1.2, pause_max)
        finally:
            connection.close()

    async def _others(self) -> int | None:
        """The writer's number for the commits of others; None while it is held up, maybe by them."""
        with contextlib.suppress(LogUnavailable):
            asked = self._ask_others()
            await asyncio.wait([asked], timeout=POLL_SECONDS_ALONE)
            if asked.done():
                return asked.result()
        return None

    async def _refresh(self) -> None:
        """Look for new records in partitions that readers wait for, and discard everything else that is known."""
        slots = self._ends.bell.slots()
        self._ends.forget_but(slots)
        self._counts.searches += 1
        await self._find(slots)

    def _connection(self) -> sqlite3.Connection:
        return connect(self._path, busy_seconds=0.0, cache_bytes=65_536, read_only=True, medium=self._reader.medium)


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes with every commit of another connection: microseconds, no disk."""
    try:
        return int(connection.execute("PRAGMA data_version").fetchone()[0])
    except sqlite3.Error:
        # Held for a moment, by recovery or a checkpoint; the next look will do.
        return -2
