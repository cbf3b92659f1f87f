"""The file of one job for its state, position and outbox, if the log keeps no state: one SQLite database.

How this works: a commit is one transaction: the changes of the state, the position they belong to, and their events as
one row of the *outbox*, numbered without gaps. Once the events of a row are known to be in the log, the next commit
deletes it. The file has an id, so that a log can distinguish it from another one, and belongs to one process at a time,
which holds a lock next to it; any process of the machine may read what was committed (`StateFileReader`).
If a job moves between logs, its file is replaced or read; the file then records the number at which that was, to show
whether there were commits since. Everything here blocks; one thread at a time.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from headwater.errors import StateMismatch, StateUnavailable
from headwater.log.contract import Record, StateChange
from headwater.log.sqlite.file_lock import FileLock, is_locked
from headwater.private_files import make_private_file

FORMAT = 1
APPLICATION_ID = 0x48775374
KEYS_AT_ONCE = 500
# No job's state has such a namespace.
MOVED = "headwater.moved"
CACHE_KIB = 4_096
WAL_PAGES_MAX = 4_000
TABLES = """
CREATE TABLE job (id TEXT NOT NULL, number INTEGER NOT NULL, token TEXT) STRICT;
CREATE TABLE state (namespace TEXT, key BLOB, value BLOB NOT NULL, PRIMARY KEY (namespace, key)) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (number INTEGER PRIMARY KEY, token TEXT NOT NULL, records BLOB NOT NULL) STRICT;
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


class Outgoing(NamedTuple):
    """The events of one commit, its number, and the input's position after it."""

    number: int
    token: str
    records: Sequence[Record]


class StateFile:
    """The open file of one job. `number` is that of the last commit, 0 before the first; `token` its position."""

    def __init__(self, path: Path, *, durability: str = "fsync") -> None:
        """Open or create. `durability` as the log's: "fsync" survives a power cut, "os" the end of the process.

        Raises StateUnavailable if it cannot be opened now, StateMismatch if it is something else.
        """
        self.path = path
        # The process that has opened the file keeps it until it ends in any way: otherwise two would run the job.
        self._lock = FileLock(_lock_of(path))
        try:
            make_private_file(path)
            if not self._lock.acquire():
                raise self._in_use()
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.5)
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            raise self._unavailable(error) from None
        try:
            with self._translated():
                self.id, self.number, self.token = self._prepare(durability)
        except BaseException:
            self.close()
            raise

    def waiting(self) -> list[Outgoing]:
        """The commits whose events were not known to be in the log, in order."""
        with self._translated():
            rows = self._connection.execute("SELECT number, token, records FROM outbox ORDER BY number").fetchall()
        return [Outgoing(number, token, _decode(records)) for number, token, records in rows]

    def get(self, namespace: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The current values of `keys`; absent keys are left out."""
        with self._translated():
            return _get(self._connection, namespace, keys)

    def scan(self, namespace: str, after: bytes, rows_max: int) -> list[tuple[bytes, bytes]]:
        """Up to `rows_max` (key, value) pairs with key > `after`, in key order."""
        with self._translated():
            return _scan(self._connection, namespace, after, rows_max)

    def namespaces(self) -> list[str]:
        """The namespaces that have state, sorted."""
        with self._translated():
            rows = self._connection.execute("SELECT DISTINCT namespace FROM state ORDER BY namespace")
            return [namespace for (namespace,) in rows if namespace != MOVED]

    def moved_at(self) -> int | None:
        """The number of the last commit when the job was last moved from or to this file; None if it never was."""
        found = self.get(MOVED, [b"number"])
        return int(found[b"number"]) if found else None

    def mark_migrated(self) -> None:
        """Record that the current content was moved elsewhere."""
        with self._translated(), self._transaction():
            self._note_moved()

    def begin_replacing(self) -> None:
        """Delete state and outbox; undone unless `end_replacing` follows. Only `put` and reads may come between."""
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM state")
            self._connection.execute("DELETE FROM outbox")

    def put(self, namespace: str, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Store these (key, value) pairs."""
        with self._translated():
            self._connection.executemany(
                "INSERT OR REPLACE INTO state VALUES (?, ?, ?)", [(namespace, key, value) for key, value in rows]
            )

    def end_replacing(self, token: str) -> None:
        """Make what was put durable as the next commit, with the position it belongs to."""
        number = self.number + 1
        with self._translated():
            self._connection.execute("UPDATE job SET number = ?, token = ?", (number, token))
            self.number, before = number, self.number
            try:
                self._note_moved()
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                self.number = before
                raise
        self.token = token

    def undo_replacing(self) -> None:
        """Roll back to the content before `begin_replacing`; does nothing after `end_replacing`."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def commit(
        self, records: Sequence[Record], token: str, changes: Sequence[StateChange], *, arrived: int
    ) -> Outgoing:
        """Make one batch durable, and delete the events of commits up to the number `arrived`.

        Of several changes of one key the last one counts.
        """
        number = self.number + 1
        last = {(change.namespace, change.key): change.value for change in changes}
        kept = [(*place, value) for place, value in last.items() if value is not None]
        gone = [place for place, value in last.items() if value is None]
        connection = self._connection
        with self._translated(), self._transaction():
            connection.executemany("DELETE FROM state WHERE namespace = ? AND key = ?", gone)
            connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", kept)
            connection.execute("INSERT INTO outbox VALUES (?, ?, ?)", (number, token, _encode(list(records))))
            connection.execute("DELETE FROM outbox WHERE number <= ?", (arrived,))
            connection.execute("UPDATE job SET number = ?, token = ?", (number, token))
        self.number, self.token = number, token
        return Outgoing(number, token, records)

    def close(self) -> None:
        """Release the file; idempotent."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._lock.release()

    def _note_moved(self) -> None:
        note = (MOVED, b"number", str(self.number).encode())
        self._connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", note)

    def _prepare(self, durability: str) -> tuple[str, int, str | None]:
        connection = self._connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'fsync' else 'NORMAL'}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
        with self._transaction():
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if not tables:
                for statement in TABLES.strip().split("\n"):
                    connection.execute(statement)
                connection.execute("INSERT INTO job VALUES (?, 0, NULL)", (uuid.uuid4().hex,))
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            elif application != APPLICATION_ID or version != FORMAT:
                raise StateMismatch(
                    f"{self.path} is not a state file of a job that this version can read.",
                    hint="Move it away, or name another directory in `jobs.state_path`.",
                )
            found: tuple[str, int, str | None] = connection.execute("SELECT id, number, token FROM job").fetchone()
        return found

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                raise StateMismatch(
                    f"{self.path} is damaged, or not a state file of a job: {error}.",
                    hint="Restore it, or move it away: the job then starts over (docs/reference/kafka.md).",
                ) from None
            raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> StateUnavailable:
        # Earlier versions lock the file itself.
        is_locked = isinstance(error, sqlite3.Error) and "locked" in str(error)
        return self._in_use() if is_locked else _unusable(self.path, error)

    def _in_use(self) -> StateUnavailable:
        return StateUnavailable(
            f"The state of a job, {self.path}, is in use by another process.",
            hint="A job runs in one process at a time; this one takes over when the other has ended.",
        )


def is_in_use(path: Path) -> bool:
    """Whether a process of this machine has the state file open as its own."""
    return is_locked(_lock_of(path))


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


class StateFileReader:
    """The committed state in the file of a job, which this or another process may be writing: see `StateReader`.

    `absent` is called when the file has no commit: it raises why that is, or returns if there is just no state yet.
    """

    def __init__(self, path: Path, absent: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._absent = absent
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def get(self, namespace: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        with self._opened() as connection:
            return {} if connection is None else _get(connection, namespace, keys)

    def scan(self, namespace: str, after: bytes, rows_max: int) -> list[tuple[bytes, bytes]]:
        with self._opened() as connection:
            return [] if connection is None else _scan(connection, namespace, after, rows_max)

    def close(self) -> None:
        """Release the file; a later read opens it again."""
        with self._lock:
            self._close()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, if the job has committed anything; one thread at a time. Raises StateUnavailable."""
        with self._lock:
            try:
                connection = self._connect()
                if connection is None or not _has_committed(connection):
                    self._absent()
                yield connection
            except (OSError, sqlite3.Error) as error:
                self._close()
                raise _unusable(self._path, error) from None

    def _connect(self) -> sqlite3.Connection | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._close()
            return None
        # A file of the same name may be another one by now.
        if self._connection is None or self._file != (found.st_dev, found.st_ino):
            self._close()
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._connection.execute("PRAGMA query_only = ON")
            self._file = found.st_dev, found.st_ino
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _has_committed(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'job'").fetchone()
    return tables is not None and connection.execute("SELECT number FROM job").fetchone()[0] > 0


def _get(connection: sqlite3.Connection, namespace: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        marks = ",".join("?" * len(some))
        statement = f"SELECT key, value FROM state WHERE namespace = ? AND key IN ({marks})"
        found.update(connection.execute(statement, (namespace, *some)))
    return found


def _scan(connection: sqlite3.Connection, namespace: str, after: bytes, rows_max: int) -> list[tuple[bytes, bytes]]:
    return connection.execute(
        "SELECT key, value FROM state WHERE namespace = ? AND key > ? ORDER BY key LIMIT ?",
        (namespace, after, rows_max),
    ).fetchall()


def _unusable(path: Path, error: Exception) -> StateUnavailable:
    return StateUnavailable(f"The state of a job, {path}, cannot be used: {error}.", hint="Check the disk.")
