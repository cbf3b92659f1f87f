"""The SQLite sink: events become rows of a table in a SQLite file, stored together with the resume token."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.connectors.contract import ColumnType, TableShape
from headwater.connectors.spec import SinkSpec
from headwater.connectors.sql_table import SQL_FEATURES, Dialect, SqlTableSink, create_statement, on_conflict, quoted
from headwater.private_files import make_private_file
from headwater.settings import REQUIRED, setting

BUSY_SECONDS = 10.0


class SqliteSink(SqlTableSink[sqlite3.Connection]):
    """Fills one table of the SQLite file at `path`."""

    def __init__(self, path: Path, shape: TableShape) -> None:
        super().__init__(path.name, shape, SqliteDialect(path))


class SqliteDialect(Dialect[sqlite3.Connection]):
    """The SQL that is specific to SQLite."""

    types: Mapping[ColumnType, str] = {
        "text": "TEXT",
        "integer": "INTEGER",
        "real": "REAL",
        "boolean": "INTEGER",
        "json": "TEXT",
    }
    row_errors: tuple[type[Exception], ...] = (sqlite3.DataError, sqlite3.IntegrityError)
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    begin = "BEGIN IMMEDIATE"
    mark = "?"

    def __init__(self, path: Path) -> None:
        self._path = path

    def connect(self) -> sqlite3.Connection:
        make_private_file(self._path)
        writer = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        # Rows and token commit together: after a power cut the batch is read and written again, so that waiting for
        # the disk at every commit would gain nothing.
        writer.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;")
        return writer

    def connect_reader(self, writer: sqlite3.Connection) -> sqlite3.Connection:
        reader = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        reader.execute("PRAGMA query_only = 1")
        return reader

    def position_table(self, table: str) -> str:
        return "_headwater_position"

    def columns(self, connection: sqlite3.Connection, table: str) -> frozenset[str]:
        return frozenset(row[1] for row in connection.execute(f"PRAGMA table_info({quoted([table])})"))

    def insert(self, connection: sqlite3.Connection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" for _ in shape.columns)
        names = quoted(shape.column_names)
        into = f"INTO {quoted([shape.name])} ({names}) VALUES ({marks})"
        # Without a version, this is the faster statement.
        how = f"INSERT {into}{on_conflict(shape)}" if shape.version else f"INSERT OR REPLACE {into}"
        connection.executemany(how, rows)

    def move(self, connection: sqlite3.Connection, table: str, other: str) -> None:
        connection.execute(f"ALTER TABLE {quoted([table])} RENAME TO {quoted([other])}")


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """The options of a SQLite sink."""

    path: str = setting(
        REQUIRED, "The database file, such as `var/tables.db`, relative to the project; created if absent."
    )


SPEC = SinkSpec(
    name="sqlite",
    summary="Rows of a table in a SQLite file.",
    options=SqliteOptions,
    make=lambda options, shape, directory: SqliteSink(directory / options.path, shape),
    features=SQL_FEATURES,
    statements=lambda shape: [create_statement(shape, SqliteDialect.types)],
    file=lambda options: str(options.path),
    example="path: var/orders.db",
)
