"""Reserves disk space for what frees space: retention, and copying the write-ahead log into the file.

How this works: an event needs space twice, in the write-ahead log and in the file when it is copied. So appends are
accepted only while what waits to be copied fits into half of the free space; before one is refused, the writer copies.
The free space is determined again when a quarter of it may have been used. And a file next to the log,
`events.db.reserve`, reserves space that no other program can use: when the disk is full it is released for retention
and copying, and appends wait until it exists again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from headwater.errors import LogFull
from headwater.log.sqlite.checkpoint import Checkpointer
from headwater.log.sqlite.medium import FULL_HINT
from headwater.log.sqlite.tables import PAGE_BYTES
from headwater.private_files import make_private_file

# On a small disk no more than this part is reserved.
RESERVE_SHARE_MAX = 1 / 20
# Others write on the disk, too.
LOOK_BYTES_MAX = 67_108_864
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """`file_bytes_max`: a file that would grow over this is treated as a full disk. `reserve_bytes`: kept back."""

    file_bytes_max: int | None = None
    reserve_bytes: int = 0


class Space:
    """What the writing thread may use of the disk."""

    def __init__(self, path: Path, reserve_bytes: int, busy_seconds: float, checkpointer: Checkpointer) -> None:
        self._path = path
        self._reserve = path.with_name(f"{path.name}.reserve")
        self._reserve_bytes = reserve_bytes
        self._busy_seconds = busy_seconds
        self._checkpointer = checkpointer
        self._is_held = reserve_bytes <= 0
        # This many bytes may be appended before free space is determined again.
        self._left = 0

    def require(self, connection: sqlite3.Connection, count: int) -> None:
        """Raise LogFull unless `count` bytes can be written and copied. Between commits."""
        self._left -= count
        if self._left >= 0:
            return
        if not self._has_room(count):
            self._checkpointer.copy_and_empty(connection, self._busy_seconds)
            if not self._has_room(count):
                raise LogFull(
                    f"There is no space left for {self._path}: {self._free():,} bytes are free on its disk.",
                    hint=FULL_HINT,
                    retry_after_seconds=5,
                )

    def give_up_reserve(self) -> None:
        """Make the space that was kept back free. It is taken again before the next append.

        It is for what removes, not for copying: once that is done, there is less to copy.
        """
        if self._reserve_bytes > 0:
            self._is_held = False
            self._left = 0
            self._checkpointer.is_paused = True
            with contextlib.suppress(OSError):
                self._reserve.unlink(missing_ok=True)

    def removed(self, connection: sqlite3.Connection) -> None:
        """Something was removed while the reserve is given up: copy what waits where the file need not grow for it."""
        if self._is_held:
            return
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        if pages * PAGE_BYTES - self._path.stat().st_size <= self._free():
            self._checkpointer.copy_now(connection)

    def _has_room(self, count: int) -> bool:
        if not self._is_held and not self._hold():
            return False
        free, waiting = self._free(), self._checkpointer.waiting_bytes + count
        if waiting > free // 2:
            return False
        self._left = min((free // 2 - waiting) // 2, LOOK_BYTES_MAX)
        return True

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError:
            return 1 << 62

    def _hold(self) -> bool:
        """Create the reserve. Returns whether it exists, or cannot exist for another reason than lack of space."""
        try:
            total = shutil.disk_usage(self._path.parent).total
            wanted = min(self._reserve_bytes, int(total * RESERVE_SHARE_MAX)) // PAGE_BYTES * PAGE_BYTES
            make_private_file(self._reserve)
            with self._reserve.open("r+b") as file:
                if os.fstat(file.fileno()).st_size < wanted:
                    _allocate(file.fileno(), wanted)
        except OSError as error:
            if error.errno in _NO_SPACE:
                with contextlib.suppress(OSError):
                    self._reserve.unlink(missing_ok=True)
                return False
        self._is_held = True
        self._checkpointer.is_paused = False
        return True


def _allocate(descriptor: int, count: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, count)
        return
    piece = bytes(PAGE_BYTES)
    for _ in range(count // PAGE_BYTES):
        os.write(descriptor, piece)
    os.fsync(descriptor)
