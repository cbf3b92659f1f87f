"""Copies the write-ahead log into the file in parallel with commits, and limits its size.

How this works: a commit only appends to the write-ahead log. A thread with its own connection copies it back every few
megabytes, so that no commit pays for that. Under saturation the copying never catches up and the write-ahead log would
never restart; when it reaches its limit the writer itself, between two commits, copies the small rest.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path

from headwater.errors import HeadwaterError
from headwater.log.sqlite.tables import PAGE_BYTES, Durability, connect

PASS_PAGES = 512
FRAME_HEADER_BYTES = 24

_log = logging.getLogger(__name__)


class Checkpointer:
    """`note` and `relieve` are called by the writing thread."""

    def __init__(self, path: Path, durability: Durability, wal_bytes_max: int) -> None:
        self._path = path
        self._durability: Durability = durability
        self._pages_max = max(wal_bytes_max // PAGE_BYTES, 4)
        self._pass_pages = min(PASS_PAGES, max(self._pages_max // 4, 2))
        self._noted = 0
        self._base = 0
        self._next_pass = self._pass_pages
        self._retry_at = 0
        self._has_failed = False
        # Nothing is copied in parallel: the little space there is belongs to retention.
        self.is_paused = False
        self._wake = threading.Event()
        self._stopping = False
        self._copying = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="headwater-log-checkpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def waiting_bytes(self) -> int:
        """About how much of the write-ahead log may not be in the file yet; rather too much than too little."""
        return max(0, self._noted + self._base) * (PAGE_BYTES + FRAME_HEADER_BYTES)

    def note(self, pages: int) -> None:
        """About this many pages were added to the write-ahead log."""
        self._noted += pages
        if self._noted >= self._next_pass:
            self._next_pass = self._noted + self._pass_pages
            self._wake.set()

    def relieve(self, connection: sqlite3.Connection | None) -> None:
        """When the cap is reached: copy the rest now, while no commit can add to it."""
        if connection is None or self.is_paused or self._noted + self._base < max(self._pages_max, self._retry_at):
            return
        busy = self.copy_now(connection)
        # A reader that pins the old pages keeps the log from starting over; do not stall every commit for it.
        self._retry_at = self._noted + self._base + self._pages_max // 4 if busy else 0

    def copy_now(self, connection: sqlite3.Connection) -> bool:
        """Copy all that can be copied; True when something could not. Between commits only."""
        with self._copying:
            return self._copy(connection)

    def copy_and_empty(self, connection: sqlite3.Connection, busy_seconds: float) -> None:
        """Copy all that can be copied, and give the space of the write-ahead log back where no reader needs it."""
        with self._copying:
            if self._copy(connection):
                return
            # A reader is not waited for: it comes back before space does.
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.Error:
                _log.debug("the write-ahead log cannot be emptied", exc_info=True)
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")

    def _run(self) -> None:
        try:
            connection = connect(
                self._path, durability=self._durability, busy_seconds=0.0, cache_bytes=262_144, read_only=False
            )
        except HeadwaterError:
            _log.warning("no background checkpoints: the log cannot be opened a second time", exc_info=True)
            return
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                if self._stopping:
                    return
                with self._copying:
                    if not self.is_paused:
                        self._copy(connection)
        finally:
            connection.close()

    def _copy(self, connection: sqlite3.Connection) -> bool:
        """Copy what can be copied; True when something could not."""
        noted = self._noted
        try:
            busy, in_log, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            # A full disk is noticed here first; the commits will report it.
            if not self._has_failed:
                _log.warning("the write-ahead log cannot be copied into the file: %s; it is tried again", error)
            self._has_failed = True
            return True
        if self._has_failed:
            _log.info("the write-ahead log is copied into the file again")
        self._has_failed = False
        # When everything is copied and nothing was added in the meantime, the next commit restarts the write-ahead log.
        complete = in_log == copied and noted == self._noted
        self._base = (0 if complete else max(in_log, 0)) - noted
        return bool(busy) or in_log != copied
