"""Looks for damage in SQLite files that are no logs: tables that jobs fill, and the state that they keep."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from headwater.log.inspection import Damage
from headwater.log.sqlite.medium import medium_for_reading, uri_of

MESSAGES_MAX = 20
BUSY_SECONDS = 5.0


def damages_in(path: Path) -> list[Damage]:
    """What is damaged in a SQLite file; nothing is changed. Raises LogUnavailable where it cannot be read here."""
    medium = medium_for_reading(path)
    try:
        with contextlib.closing(sqlite3.connect(uri_of(path, medium), uri=True, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA query_only = ON")
            rows = connection.execute(f"PRAGMA integrity_check({MESSAGES_MAX})").fetchall()
    except sqlite3.DatabaseError as error:
        return [Damage(str(path), str(error))]
    return [Damage(str(path), " ".join(str(message).split())) for (message,) in rows if message != "ok"]
