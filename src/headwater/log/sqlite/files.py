"""Looks for damage in SQLite files that are no logs: tables that jobs fill, and the state that they keep."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

from headwater.errors import LogCorrupt
from headwater.log.diagnostics import Damage, FileLook
from headwater.log.sqlite.medium import medium_for_reading, uri_of
from headwater.log.sqlite.wal import check_wal

MESSAGES_MAX = 20
BUSY_SECONDS = 5.0
# Of SQLite's virtual machine: some hundred microseconds.
STEPS_BETWEEN_LOOKS_AT_THE_CLOCK = 10_000


def look_into(path: Path, seconds_max: float | None = None) -> FileLook:
    """What is damaged in a SQLite file; nothing is changed. With `seconds_max` a quick look, which may end early.

    Raises LogUnavailable where it cannot be read here.
    """
    try:
        # Before SQLite opens it, which deletes a write-ahead log that it considers empty when it closes the file.
        # Commits of tables do not wait for the disk, so that frames after a bad one prove nothing.
        check_wal(path, ordered=False)
    except LogCorrupt as error:
        return FileLook(path, (Damage(str(path), error.message),))
    medium = medium_for_reading(path)
    deadline = None if seconds_max is None else time.monotonic() + seconds_max
    check = "integrity_check" if deadline is None else "quick_check"
    try:
        with contextlib.closing(sqlite3.connect(uri_of(path, medium), uri=True, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA query_only = ON")
            if deadline is not None:
                connection.set_progress_handler(
                    lambda: int(time.monotonic() > deadline), STEPS_BETWEEN_LOOKS_AT_THE_CLOCK
                )
            found = [message for (message,) in connection.execute(f"PRAGMA {check}({MESSAGES_MAX})")]
            rows = _rows(connection) if deadline is None else None
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_INTERRUPT":
            return FileLook(path, unseen=f"not all of it could be checked in {seconds_max:.1f} s")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return FileLook(path, unseen="another process holds it")
        return FileLook(path, (Damage(str(path), str(error)),))
    damages = tuple(Damage(str(path), " ".join(str(one).split())) for one in found if one != "ok")
    return FileLook(path, damages, rows)


def _rows(connection: sqlite3.Connection) -> int:
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    counted = 0
    for (name,) in tables.fetchall():
        quoted = name.replace('"', '""')
        counted += connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0]
    return counted
