"""The DuckDB sink: events become rows of a table in a DuckDB file, stored together with the resume token.

A DuckDB file belongs to one process at a time; others read the table over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from headwater.connectors.contract import ColumnType, TableShape
from headwater.connectors.spec import SinkSpec
from headwater.connectors.sql_table import SQL_FEATURES, Dialect, SqlTableSink, create_statement, on_conflict, quoted
from headwater.private_files import make_private_directory
from headwater.settings import REQUIRED, setting

# Tables are for display; by default DuckDB would use most of the machine's memory and every core.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "128MB", "threads": "1"}


class DuckdbSink(SqlTableSink[duckdb.DuckDBPyConnection]):
    """Fills one table of the DuckDB file at `path`."""

    def __init__(self, path: Path, shape: TableShape) -> None:
        super().__init__(path.name, shape, DuckdbDialect(path))


class DuckdbDialect(Dialect[duckdb.DuckDBPyConnection]):
    """The SQL that is specific to DuckDB."""

    types: Mapping[ColumnType, str] = {
        "text": "VARCHAR",
        "integer": "BIGINT",
        "real": "DOUBLE",
        "boolean": "BOOLEAN",
        "json": "VARCHAR",
    }
    row_errors: tuple[type[Exception], ...] = (duckdb.DataError, duckdb.IntegrityError)
    errors: tuple[type[Exception], ...] = (duckdb.Error,)
    begin = "BEGIN TRANSACTION"
    mark = "?"

    def __init__(self, path: Path) -> None:
        self._path = path

    def connect(self) -> duckdb.DuckDBPyConnection:
        make_private_directory(self._path.parent)
        is_new = not self._path.exists()
        writer = duckdb.connect(str(self._path), config=SETTINGS)
        if is_new:
            # DuckDB does not accept an empty file as a new one.
            self._path.chmod(0o600)
        return writer

    def connect_reader(self, writer: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        return writer.cursor()

    def position_table(self, table: str) -> str:
        # A position table per table: DuckDB lets only one of two concurrent transactions change a table's row.
        return quoted([f"_headwater_position_{table}"])

    def columns(self, connection: duckdb.DuckDBPyConnection, table: str) -> frozenset[str]:
        return frozenset(row[1] for row in connection.execute(f"PRAGMA table_info({quoted([table])})").fetchall())

    def insert(self, connection: duckdb.DuckDBPyConnection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        # One list per column: a statement per row costs a millisecond each.
        lists = ", ".join(f"unnest(?::{self.types[column.type]}[])" for column in shape.columns)
        names = quoted(shape.column_names)
        columns = [list(column) for column in zip(*rows, strict=True)]
        into = f"INTO {quoted([shape.name])} ({names}) SELECT {lists}"
        if shape.version:
            connection.execute(f"INSERT {into}{on_conflict(shape)}", columns)
        else:
            connection.execute(f"{'INSERT OR REPLACE' if shape.key else 'INSERT'} {into}", columns)

    def move(self, connection: duckdb.DuckDBPyConnection, table: str, other: str) -> None:
        # A table with a key cannot be renamed.
        connection.execute(f"CREATE TABLE {quoted([other])} AS SELECT * FROM {quoted([table])}")
        connection.execute(f"DROP TABLE {quoted([table])}")


@dataclass(frozen=True, slots=True)
class DuckdbOptions:
    """The options of a DuckDB sink."""

    path: str = setting(
        REQUIRED, "The database file, such as `var/tables.duckdb`, relative to the project; created if absent."
    )


SPEC = SinkSpec(
    name="duckdb",
    summary="Rows of a table in a DuckDB file.",
    options=DuckdbOptions,
    make=lambda options, shape, directory: DuckdbSink(directory / options.path, shape),
    features=SQL_FEATURES,
    statements=lambda shape: [create_statement(shape, DuckdbDialect.types)],
    file=lambda options: str(options.path),
    example="path: var/orders.duckdb",
    extra="duckdb",
)
