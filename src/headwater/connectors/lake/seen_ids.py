"""The ids of the events that a table was given lately, in a file of this machine, to recognise repeated ones.

How this works: ids are kept as digests of 16 bytes, each with the time it was seen and the number of the commit it came
with. Those of commits that were never made are forgotten when the file is opened, or before the next commit. The file
may be lost: it is made again from the table.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import SinkUnavailable
from headwater.private_files import make_private_file
from headwater.times import ms_of

DIGEST_BYTES = 16
BUSY_SECONDS = 10.0
# One statement asks for so many ids.
ASKED_MAX = 500
FORGET_SECONDS = 60.0


class SeenIds:
    """The ids in the file at `path`. Used by one process, from one thread at a time; `open` before use.

    Every method raises SinkUnavailable if the file cannot be used.
    """

    def __init__(self, path: Path, look_back_seconds: float) -> None:
        self._path = path
        self._look_back_ms = int(look_back_seconds * 1000)
        self._connection: sqlite3.Connection | None = None
        self._forget_at = 0.0

    def open(self) -> int:
        """The number of the last commit that it knows the ids of, which may never have been made; 0 if it is new."""
        with self._errors():
            make_private_file(self._path)
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            # Every id is in the table, too: after a power cut the file is read from there.
            connection.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;"
                "CREATE TABLE IF NOT EXISTS ids"
                " (id BLOB PRIMARY KEY, seen_ms INTEGER NOT NULL, number INTEGER NOT NULL) WITHOUT ROWID;"
                "CREATE INDEX IF NOT EXISTS ids_by_time ON ids (seen_ms);"
                "CREATE TABLE IF NOT EXISTS last (number INTEGER NOT NULL);"
            )
            self._connection = connection
            row = connection.execute("SELECT max(number) FROM last").fetchone()
        return int(row[0] or 0)

    def since_ms(self) -> int:
        """The begin of the look-back, in epoch milliseconds."""
        return ms_of(time.time()) - self._look_back_ms

    def known(self, ids: Sequence[str]) -> set[bytes]:
        """The digests of those ids that were seen within the look-back."""
        since_ms = self.since_ms()
        found: set[bytes] = set()
        digests = [digest(one) for one in ids]
        with self._opened() as connection:
            for start in range(0, len(digests), ASKED_MAX):
                some = digests[start : start + ASKED_MAX]
                marks = ", ".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT id FROM ids WHERE id IN ({marks}) AND seen_ms >= ?", [*some, since_ms]
                )
                found.update(row[0] for row in rows)
        return found

    def add(self, digests: Iterable[bytes], number: int, seen_ms: int | None = None) -> None:
        """Keep the ids of the commit `number`, which is about to be made, and forget those before the look-back."""
        now_ms = ms_of(time.time())
        at_ms = now_ms if seen_ms is None else seen_ms
        with self._opened() as connection, _transaction(connection):
            connection.executemany(
                "INSERT OR REPLACE INTO ids VALUES (?, ?, ?)", ((one, at_ms, number) for one in digests)
            )
            connection.execute("DELETE FROM last")
            connection.execute("INSERT INTO last VALUES (?)", (number,))
            if time.monotonic() >= self._forget_at:
                connection.execute("DELETE FROM ids WHERE seen_ms < ?", (now_ms - self._look_back_ms,))
                self._forget_at = time.monotonic() + FORGET_SECONDS

    def take_back(self, number: int) -> None:
        """Forget the ids of the commits after `number`: they were not made."""
        with self._opened() as connection, _transaction(connection):
            last = connection.execute("SELECT max(number) FROM last").fetchone()[0]
            if last is not None and last > number:
                connection.execute("DELETE FROM ids WHERE number > ?", (number,))
                connection.execute("UPDATE last SET number = ?", (number,))

    def clear(self) -> None:
        """Forget everything."""
        with self._opened() as connection, _transaction(connection):
            connection.execute("DELETE FROM ids")
            connection.execute("DELETE FROM last")

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise SinkUnavailable(f"{self._path} is not open.")
        with self._errors():
            yield self._connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise SinkUnavailable(
                f"{self._path} cannot be used: {error}.",
                hint="If it is damaged, delete it: it is made again from the table.",
            ) from error


def digest(event_id: str) -> bytes:
    """What stands for an id here."""
    return hashlib.blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
