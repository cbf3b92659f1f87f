"""The DuckDB sink: events become rows of a table in a DuckDB file, stored together with the resume token.

A DuckDB file belongs to one process at a time; others read the table over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from headwater.connectors.contract import Column, ColumnType, TableShape
from headwater.connectors.rows import deletion_columns
from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.connectors.sql_columns import alterations
from headwater.connectors.sql_dialect import Dialect, deletion_names, keeps_deleted, quoted
from headwater.connectors.sql_table import SQL_FEATURES, SqlTableSink
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
        "timestamp": "TIMESTAMP WITH TIME ZONE",
    }
    name_type = "VARCHAR"
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

    def connect_reader(self, writer: duckdb.DuckDBPyConnection | None) -> duckdb.DuckDBPyConnection:
        assert writer is not None
        return writer.cursor()

    def position_name(self, table: str) -> str:
        # A position table per table: DuckDB lets only one of two concurrent transactions change a table's row.
        return f"_headwater_position_{table}"

    def look(self) -> duckdb.DuckDBPyConnection | None:
        if not self._path.exists():
            return None
        try:
            return duckdb.connect(str(self._path), read_only=True, config=SETTINGS)
        except duckdb.ConnectionException:
            # This process writes it, and then all of its connections have the same settings.
            return duckdb.connect(str(self._path), config=SETTINGS)

    def describe(self, connection: duckdb.DuckDBPyConnection, table: str) -> Mapping[str, str]:
        query = (
            "SELECT column_name, data_type FROM duckdb_columns()"
            " WHERE table_name = ? AND schema_name = current_schema() AND database_name = current_database()"
            " ORDER BY column_index"
        )
        return dict(connection.execute(query, [table]).fetchall())

    def shown(self, column: Column) -> str:
        name = quoted([column.name])
        return f"strftime({name} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')" if column.type == "timestamp" else name

    def insert(self, connection: duckdb.DuckDBPyConnection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        names = quoted(shape.column_names)
        into = f"INTO {quoted([shape.name])} ({names}) SELECT {names} FROM {self._given(shape.columns)}"
        if keeps_deleted(shape):
            into += f" WHERE {self.not_deleted(shape, {name: f's.{quoted([name])}' for name in shape.column_names})}"
        if shape.version:
            connection.execute(f"INSERT {into}{self.on_conflict(shape)}", _lists(rows))
        else:
            connection.execute(f"{'INSERT OR REPLACE' if shape.key else 'INSERT'} {into}", _lists(rows))

    def delete(self, connection: duckdb.DuckDBPyConnection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        given, table = self._given(deletion_columns(shape)), quoted([shape.name])
        same = [f"t.{quoted([name])} = s.{quoted([name])}" for name in shape.key]
        if shape.version:
            names = quoted(deletion_names(shape))
            connection.execute(self.keep_deleted(shape, f"SELECT {names} FROM {given}"), _lists(rows))
            version = quoted([shape.version])
            same.append(self.is_no_newer(shape, f"t.{version}", f"s.{version}"))
        connection.execute(f"DELETE FROM {table} AS t USING {given} WHERE {' AND '.join(same)}", _lists(rows))

    def move(self, connection: duckdb.DuckDBPyConnection, shape: TableShape, other: str) -> None:
        # A table with a key cannot be renamed.
        connection.execute(f"CREATE TABLE {quoted([other])} AS SELECT * FROM {quoted([shape.name])}")
        connection.execute(f"DROP TABLE {quoted([shape.name])}")

    def _given(self, columns: Sequence[Column]) -> str:
        """The values of these columns as a table `s`, one list for each: a statement per row costs a millisecond."""
        lists = ", ".join(f"unnest(?::{self.types[one.type]}[]) AS {quoted([one.name])}" for one in columns)
        return f"(SELECT {lists}) AS s"


def _lists(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


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
    statements=lambda options, shape: [DuckdbDialect(Path()).create_table(shape)],
    describe=lambda options, shape, directory: DuckdbSink(directory / options.path, shape).describe(),
    alterations=lambda options, change: alterations(DuckdbDialect(Path()), change),
    file=lambda options: str(options.path),
    example="path: var/orders.duckdb",
    extra="duckdb",
    batch=BatchDefaults(rows_max=5_000),
)
