"""The SQLite sink: events become rows of a table in a SQLite file, stored together with the resume token."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.connectors.contract import ColumnType, TableShape
from headwater.connectors.spec import SinkSpec
from headwater.connectors.sql_columns import alterations
from headwater.connectors.sql_dialect import Dialect, keeps_deleted, quoted
from headwater.connectors.sql_table import SQL_FEATURES, SqlTableSink
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
        "timestamp": "TEXT",
    }
    name_type = "TEXT"
    row_errors: tuple[type[Exception], ...] = (sqlite3.DataError, sqlite3.IntegrityError)
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    begin = "BEGIN IMMEDIATE"
    # A column of integers stores a fraction as it is.
    also_holds: Mapping[ColumnType, tuple[ColumnType, ...]] = {"integer": ("real",)}
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

    def connect_reader(self, writer: sqlite3.Connection | None) -> sqlite3.Connection:
        reader = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        reader.execute("PRAGMA query_only = 1")
        return reader

    def look(self) -> sqlite3.Connection | None:
        if not self._path.exists():
            return None
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)

    def position_name(self, table: str) -> str:
        return "_headwater_position"

    def describe(self, connection: sqlite3.Connection, table: str) -> Mapping[str, str]:
        return {row[1]: row[2] for row in connection.execute(f"PRAGMA table_info({quoted([table])})")}

    def insert(self, connection: sqlite3.Connection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        marks = [f"?{number}" for number in range(1, len(shape.columns) + 1)]
        names = quoted(shape.column_names)
        into = f"INTO {quoted([shape.name])} ({names})"
        if keeps_deleted(shape):
            where = self.not_deleted(shape, dict(zip(shape.column_names, marks, strict=True)))
            how = f"INSERT {into} SELECT {', '.join(marks)} WHERE {where}{self.on_conflict(shape)}"
        elif shape.version:
            how = f"INSERT {into} VALUES ({', '.join(marks)}){self.on_conflict(shape)}"
        else:  # this is the faster statement
            how = f"INSERT OR REPLACE {into} VALUES ({', '.join(marks)})"
        connection.executemany(how, rows)

    def delete(self, connection: sqlite3.Connection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        marks = [f"?{number}" for number in range(1, len(rows[0]) + 1)]
        same = [f"{quoted([name])} = {mark}" for name, mark in zip(shape.key, marks, strict=False)]
        if shape.version:
            connection.executemany(self.keep_deleted(shape, f"VALUES ({', '.join(marks)})"), rows)
            same.append(self.is_no_newer(shape, quoted([shape.version]), marks[-1]))
        connection.executemany(f"DELETE FROM {quoted([shape.name])} WHERE {' AND '.join(same)}", rows)

    def move(self, connection: sqlite3.Connection, shape: TableShape, other: str) -> None:
        connection.execute(f"ALTER TABLE {quoted([shape.name])} RENAME TO {quoted([other])}")


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
    statements=lambda options, shape: [SqliteDialect(Path()).create_table(shape)],
    describe=lambda options, shape, directory: SqliteSink(directory / options.path, shape).describe(),
    alterations=lambda options, change: alterations(SqliteDialect(Path()), change),
    file=lambda options: str(options.path),
    example="path: var/orders.db",
)
