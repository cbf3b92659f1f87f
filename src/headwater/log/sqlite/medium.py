"""Determines what the location of a SQLite file allows: writing, only reading, or nothing more because it is full.

SQLite reports a full, a read-only and a forbidden directory with much the same error ("unable to open database file",
"disk I/O error"), so the operating system is asked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path
from typing import Literal

from headwater.errors import LogFull, LogUnavailable

# "read_only": SQLite reads the file and its write-ahead log without writing; "unchanging": it reads only the file,
# which cannot change.
Medium = Literal["writable", "read_only", "unchanging"]
Obstacle = Literal["full", "read_only", "forbidden"]

_OBSTACLES: dict[int, Obstacle] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "forbidden",
    errno.EPERM: "forbidden",
}
FULL_HINT = "Free space on its disk, or shorten the retention of streams; writing resumes automatically."
# Where the log is not open yet, nothing runs that could make room.
FULL_AT_START_HINT = "Free space on its disk, and start again."
READ_ONLY_HINT = (
    "Mount it for writing, or copy the file together with its -wal file elsewhere. `headwater log topics`, `read` and"
    " `verify` work on it as it is."
)


def obstacle_to_writing(path: Path) -> Obstacle | None:
    """Why nothing can be written in the directory of `path`, found by trying; None if it can, or for other reasons."""
    # An ENOSPC inside SQLite's shared memory, or a quota, arrives as a mere input/output error.
    probe = path.with_name(f"{path.name}.probe-{os.getpid()}")
    try:
        with open(probe, "wb") as file:
            file.write(b"\0" * 65_536)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _OBSTACLES.get(error.errno or 0)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    # The directory may be written to and the file not.
    return None if not path.exists() or os.access(path, os.W_OK) else "forbidden"


def unwritable(path: Path, doing: str, obstacle: Obstacle) -> LogUnavailable:
    """The error for a file that cannot be written, though there is space."""
    if obstacle == "read_only":
        return LogUnavailable(
            f"{path} is read-only: its file system is mounted for reading ({doing}).", hint=READ_ONLY_HINT
        )
    return LogUnavailable(
        f"{path}, or its directory, may not be written by this user ({doing}).",
        hint="Give the user that runs Headwater the right to write both, or run it as their owner.",
    )


def unmade(path: Path, error: OSError) -> LogUnavailable:
    """The error for a file, or its directory, that cannot be made."""
    obstacle = _OBSTACLES.get(error.errno or 0)
    if obstacle == "full":
        return LogFull(
            f"There is no space left for {path} (making it).", hint=FULL_AT_START_HINT, retry_after_seconds=5
        )
    if obstacle is not None:
        return unwritable(path, "making it", obstacle)
    return LogUnavailable(f"{path} cannot be made: {error}.")


def medium_for_reading(path: Path) -> Medium:
    """How to open a log that is only read. Raises LogUnavailable if a part of it could not be read.

    In a read-only directory SQLite cannot create the index of the write-ahead log (`-shm`). Without a write-ahead log
    the file is complete; with one, its content would silently be missing.
    """
    if os.access(path.parent, os.W_OK) and os.access(path, os.W_OK):
        return "writable"
    try:
        with contextlib.closing(sqlite3.connect(uri_of(path, "read_only"), uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            _require_no_wal(path)
            return "unchanging"
    return "read_only"


def uri_of(path: Path, medium: Medium) -> str:
    """The file as a URI for SQLite."""
    options = {"writable": "", "read_only": "?mode=ro", "unchanging": "?mode=ro&immutable=1"}
    return path.absolute().as_uri() + options[medium]


def _require_no_wal(path: Path) -> None:
    wal = path.with_name(f"{path.name}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    if size:
        raise LogUnavailable(
            f"{path} cannot be read where it is: {size:,} bytes of it are in the write-ahead log {wal.name}, and its"
            " index cannot be created there, because nothing may be written there.",
            hint=f"Copy {path.name} and {wal.name} to a directory that can be written, and name the copy with --log.",
        )
