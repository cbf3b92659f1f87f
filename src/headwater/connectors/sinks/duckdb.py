"""The DuckDB sink: events become rows of a table in a DuckDB file, the resume token beside them.

A DuckDB file belongs to one process at a time; others look at the table through `rows`, over HTTP.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from headwater.connectors.contract import ColumnType, Delivery, TableShape
from headwater.connectors.rows import create_statement, latest_rows, name_aside, order_by, quoted, row_of
from headwater.connectors.tables import TableView
from headwater.errors import EventMalformed, SinkUnavailable
from headwater.private_files import make_private_directory

# Tables here are what a page shows; DuckDB would else take most of the machine's memory and every core.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "128MB", "threads": "1"}
TYPES: dict[ColumnType, str] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "real": "DOUBLE",
    "boolean": "BOOLEAN",
    "json": "VARCHAR",
}
_T = TypeVar("_T")


class DuckdbSink:
    """Fills one table. Writes happen on a thread of their own, reads on a connection of their own."""

    def __init__(self, path: Path, shape: TableShape) -> None:
        self.path = path
        self.shape = shape
        self._writer: duckdb.DuckDBPyConnection | None = None
        self._reader: duckdb.DuckDBPyConnection | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix=f"table-{shape.name}")
        self._reading = threading.Lock()
        # A position table per table: DuckDB lets only one of two concurrent transactions change a table's row.
        self._position = f'"_headwater_position_{shape.name}"'

    async def open(self) -> str | None:
        return await self._on(self._open)

    def check(self, delivery: Delivery) -> None:
        row_of(self.shape, delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        await self._on(lambda: self._write(latest_rows(self.shape, deliveries), token))

    async def set_aside(self) -> str | None:
        return await self._on(self._set_aside)

    async def close(self) -> None:
        await self._on(self._close)

    def view(self, rows_max: int, order: str = "") -> TableView:
        ordered = order_by(self.shape, order or self.shape.order)
        query = f'SELECT {quoted(self.shape.column_names)} FROM "{self.shape.name}"{ordered} LIMIT ?'
        with self._reading:
            try:
                rows = self._reading_connection().execute(query, [rows_max]).fetchall()
                total = self._reading_connection().execute(f'SELECT count(*) FROM "{self.shape.name}"').fetchall()
            except duckdb.Error as error:
                raise self._unavailable(error) from error
        return TableView(self.shape.name, self.shape.column_names, rows, int(total[0][0]))

    async def _on(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writing, work)
        except (duckdb.DataError, duckdb.IntegrityError) as error:
            raise EventMalformed(f"The table {self.shape.name} does not take a row of these: {error}.") from error
        except duckdb.Error as error:
            raise self._unavailable(error) from error

    def _open(self) -> str | None:
        if self._writer is not None:
            self._close()
        make_private_directory(self.path.parent)
        is_new = not self.path.exists()
        writer = duckdb.connect(str(self.path), config=SETTINGS)
        if is_new:
            # DuckDB takes no empty file for a new one.
            self.path.chmod(0o600)
        writer.execute(f"CREATE TABLE IF NOT EXISTS {self._position} (name VARCHAR PRIMARY KEY, token VARCHAR)")
        self._create(writer)
        for column in self.shape.columns:
            writer.execute(
                f'ALTER TABLE "{self.shape.name}" ADD COLUMN IF NOT EXISTS "{column.name}" {TYPES[column.type]}'
            )
        self._writer = writer
        return self._token(writer)

    def _create(self, writer: duckdb.DuckDBPyConnection) -> None:
        writer.execute(create_statement(self.shape, TYPES))

    def _set_aside(self) -> str | None:
        writer = self._writer
        if writer is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        writer.execute("BEGIN TRANSACTION")
        try:
            has_rows = writer.execute(f'SELECT 1 FROM "{self.shape.name}" LIMIT 1').fetchone() is not None
            other = name_aside(self.shape.name)
            if has_rows:
                # A table with a key cannot be renamed.
                writer.execute(f'CREATE TABLE "{other}" AS SELECT * FROM "{self.shape.name}"')
                writer.execute(f'DROP TABLE "{self.shape.name}"')
                self._create(writer)
            writer.execute(f"DELETE FROM {self._position} WHERE name = ?", [self.shape.name])
            writer.execute("COMMIT")
        except BaseException:
            writer.execute("ROLLBACK")
            raise
        return other if has_rows else None

    def _write(self, rows: Sequence[tuple[Any, ...]], token: str) -> None:
        writer = self._writer
        if writer is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        names = quoted(self.shape.column_names)
        # One list per column: a statement per row costs a millisecond each.
        lists = ", ".join(f"unnest(?::{TYPES[column.type]}[])" for column in self.shape.columns)
        insert = "INSERT OR REPLACE" if self.shape.key else "INSERT"
        writer.execute("BEGIN TRANSACTION")
        try:
            if self._token(writer) == token:
                writer.execute("ROLLBACK")
                return
            if rows:
                writer.execute(f'{insert} INTO "{self.shape.name}" ({names}) SELECT {lists}', _columns(rows))
            writer.execute(f"INSERT OR REPLACE INTO {self._position} VALUES (?, ?)", [self.shape.name, token])
            writer.execute("COMMIT")
        except BaseException:
            writer.execute("ROLLBACK")
            raise

    def _token(self, writer: duckdb.DuckDBPyConnection) -> str | None:
        found = writer.execute(f"SELECT token FROM {self._position} WHERE name = ?", [self.shape.name]).fetchone()
        return str(found[0]) if found else None

    def _reading_connection(self) -> duckdb.DuckDBPyConnection:
        if self._writer is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        if self._reader is None:
            self._reader = self._writer.cursor()
        return self._reader

    def _unavailable(self, error: duckdb.Error) -> SinkUnavailable:
        return SinkUnavailable(f"The table {self.shape.name} in {self.path.name} answered: {error}.")

    def _close(self) -> None:
        with self._reading:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
