"""The tables of the embedded log: their layout, how a connection to them is opened, and what SQLite's errors mean.

How this works: everything is in one file. `batches` is the log: its row id is the partition's slot and the base
offset in one number, so the rows of a partition lie together, in order, without a second index; appending touches
one leaf, retention frees whole pages. The rows of a partition tile the offsets from `partitions.floor` (what
retention has removed) to the end without a gap, so a lost row is noticed like a damaged one. The rows of the small
tables carry checksums of their own.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from headwater.errors import HeadwaterError, LogCorrupt, LogFull, LogUnavailable
from headwater.log.sqlite.medium import FULL_AT_START_HINT, FULL_HINT, Medium, obstacle_to_writing, unwritable, uri_of

PAGE_BYTES = 16_384
OPENING = "opening the log"
OFFSET_BITS = 43
OFFSET_MAX = (1 << OFFSET_BITS) - 1
APPLICATION_ID = 0x48775731
SCHEMA_VERSION = 1

Durability = Literal["fsync", "os"]

_TABLES = """
CREATE TABLE topics (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL,
    retention_seconds REAL, retention_bytes INTEGER, compact INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;
CREATE TABLE partitions (
    slot INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, partition INTEGER NOT NULL,
    floor INTEGER NOT NULL, floor_ms INTEGER NOT NULL,
    counted_to INTEGER NOT NULL, counted_bytes INTEGER NOT NULL, clean_to INTEGER NOT NULL, crc INTEGER NOT NULL,
    UNIQUE (topic_id, partition)
) STRICT;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, last_offset INTEGER NOT NULL, count INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, codec INTEGER NOT NULL, crc INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE positions (
    name TEXT PRIMARY KEY, token TEXT NOT NULL, crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE state (
    namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;
"""


def row_crc(*values: object) -> int:
    """The checksum of a row of the small tables. Types are part of it; fields cannot run into each other."""
    crc = 0
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
        crc = zlib.crc32(data, zlib.crc32(b"%d;" % len(data), crc))
    return crc


def state_crc(namespace: str, key: bytes, value: bytes) -> int:
    """The same as `row_crc`, for a row of `state`: there are many of one namespace."""
    crc = zlib.crc32(key, zlib.crc32(b"%d;" % len(key), _crc_of_namespace(namespace)))
    return zlib.crc32(value, zlib.crc32(b"%d;" % len(value), crc))


@functools.lru_cache(maxsize=1024)
def _crc_of_namespace(namespace: str) -> int:
    return row_crc(namespace)


def connect(
    path: Path,
    *,
    durability: Durability = "fsync",
    busy_seconds: float = 5.0,
    cache_bytes: int,
    read_only: bool,
    medium: Medium = "writable",
) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time. Raises LogUnavailable, LogCorrupt."""
    with translated(path, OPENING):
        connection = sqlite3.connect(
            uri_of(path, medium), uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute(f"PRAGMA cache_size = {-cache_bytes // 1024}")
            if read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'fsync' else 'NORMAL'}")
                connection.execute("PRAGMA wal_autocheckpoint = 0")
                # Debian's SQLite overwrites deleted content by default, which doubles what retention writes.
                connection.execute("PRAGMA secure_delete = FAST")
        except BaseException:
            connection.close()
            raise
        return connection


def create_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a new file; check that an old one is ours. Raises LogCorrupt."""
    with translated(path, OPENING):
        if _owner(connection) == (APPLICATION_ID, SCHEMA_VERSION):
            return
        # Order matters: page size and auto_vacuum are fixed by the first write, which is the switch to WAL.
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise LogUnavailable(
                f"{path} cannot use a write-ahead log (journal mode {mode!r}).",
                hint="Keep the log on a local disk, not on a network file system.",
            )
        connection.execute("BEGIN IMMEDIATE")
        try:
            owner, version = _owner(connection)
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if version == 0 and owner == 0 and tables == 0:
                for statement in _TABLES.split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            else:
                _require_ours(path, owner, version)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise


def check_tables(path: Path, medium: Medium) -> None:
    """Check that a file that cannot be written is ours. Raises LogCorrupt, LogUnavailable."""
    connection = connect(path, cache_bytes=65_536, read_only=True, medium=medium)
    with contextlib.closing(connection), translated(path, OPENING):
        _require_ours(path, *_owner(connection))


def _require_ours(path: Path, owner: int, version: int) -> None:
    if (owner, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise LogCorrupt(
            f"{path} is not a Headwater log of version {SCHEMA_VERSION}"
            f" (application id {owner:#x}, version {version}).",
            hint="Point `log` at another file, or restore this one.",
        )


def _owner(connection: sqlite3.Connection) -> tuple[int, int]:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return owner, version


def roll_back(connection: sqlite3.Connection) -> None:
    """Roll back a transaction, if SQLite has not done so itself."""
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Turn SQLite's errors into the family's."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path, doing) from error


_CORRUPT = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_SCHEMA", "SQLITE_FORMAT"}
_DAMAGED_SCHEMA = ("malformed", "no such table", "no such column", "has no column", "columns but", "UTF-8")
_PERHAPS_UNWRITABLE = {"SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY"}
_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED"}


def translate(error: sqlite3.Error, path: Path, doing: str) -> HeadwaterError:
    """The family's error for an error of SQLite's."""
    name = getattr(error, "sqlite_errorname", "") or ""
    primary = "_".join(name.split("_")[:2])
    obstacle = obstacle_to_writing(path) if primary in _PERHAPS_UNWRITABLE else None
    if primary == "SQLITE_FULL" or obstacle == "full":
        hint = FULL_AT_START_HINT if doing == OPENING else FULL_HINT
        return LogFull(f"There is no space left for {path} ({doing}).", hint=hint, retry_after_seconds=5)
    if obstacle is not None:
        return unwritable(path, doing, obstacle)
    if primary in _CORRUPT:
        return LogCorrupt(f"{path} is damaged ({doing}: {error}).", hint="Run `headwater log verify` to see where.")
    if primary in {"SQLITE_ERROR", ""} and any(text in str(error) for text in _DAMAGED_SCHEMA):
        return LogCorrupt(f"{path} is damaged ({doing}: {error}).", hint="Run `headwater log verify` to see where.")
    if primary in _BUSY:
        return LogUnavailable(f"Another process is holding {path} ({doing}).", hint="Try again.")
    return LogUnavailable(f"{path} does not answer ({doing}: {name} {error}).", hint="Check the disk and try again.")
