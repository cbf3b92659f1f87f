"""The SQLite sink: events become rows of a table in a SQLite file, the resume token beside them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from headwater.connectors.contract import ColumnType, Delivery, TableShape
from headwater.connectors.rows import create_statement, latest_rows, name_aside, order_by, quoted, row_of
from headwater.connectors.tables import TableView
from headwater.errors import EventMalformed, SinkUnavailable
from headwater.private_files import make_private_file

BUSY_SECONDS = 10.0
TYPES: dict[ColumnType, str] = {
    "text": "TEXT",
    "integer": "INTEGER",
    "real": "REAL",
    "boolean": "INTEGER",
    "json": "TEXT",
}
_T = TypeVar("_T")


class SqliteSink:
    """Fills one table. Writes happen on a thread of their own, reads on a connection of their own."""

    def __init__(self, path: Path, shape: TableShape) -> None:
        self.path = path
        self.shape = shape
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix=f"table-{shape.name}")
        self._reading = threading.Lock()

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
            except sqlite3.Error as error:
                raise self._unavailable(error) from error
        return TableView(self.shape.name, self.shape.column_names, rows, int(total[0][0]))

    async def _on(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writing, work)
        except (sqlite3.DataError, sqlite3.IntegrityError) as error:
            raise EventMalformed(f"The table {self.shape.name} does not take a row of these: {error}.") from error
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def _open(self) -> str | None:
        if self._writer is not None:
            self._close()
        make_private_file(self.path)
        writer = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        # Rows and token commit together: after a power cut the batch is read and written again, so that waiting for
        # the disk at every commit would buy nothing.
        writer.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;")
        writer.execute("CREATE TABLE IF NOT EXISTS _headwater_position (name TEXT PRIMARY KEY, token TEXT NOT NULL)")
        self._create(writer)
        present = {row[1] for row in writer.execute(f'PRAGMA table_info("{self.shape.name}")')}
        for column in self.shape.columns:
            if column.name not in present:
                writer.execute(f'ALTER TABLE "{self.shape.name}" ADD COLUMN "{column.name}" {TYPES[column.type]}')
        self._writer = writer
        return self._token(writer)

    def _create(self, writer: sqlite3.Connection) -> None:
        writer.execute(create_statement(self.shape, TYPES))

    def _set_aside(self) -> str | None:
        writer = self._writer
        if writer is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        writer.execute("BEGIN IMMEDIATE")
        try:
            has_rows = writer.execute(f'SELECT 1 FROM "{self.shape.name}" LIMIT 1').fetchone() is not None
            other = name_aside(self.shape.name)
            if has_rows:
                writer.execute(f'ALTER TABLE "{self.shape.name}" RENAME TO "{other}"')
                self._create(writer)
            writer.execute("DELETE FROM _headwater_position WHERE name = ?", (self.shape.name,))
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
        marks = ", ".join("?" for _ in self.shape.columns)
        writer.execute("BEGIN IMMEDIATE")
        try:
            if self._token(writer) == token:
                writer.execute("ROLLBACK")
                return
            writer.executemany(f'INSERT OR REPLACE INTO "{self.shape.name}" ({names}) VALUES ({marks})', rows)
            writer.execute("INSERT OR REPLACE INTO _headwater_position VALUES (?, ?)", (self.shape.name, token))
            writer.execute("COMMIT")
        except BaseException:
            writer.execute("ROLLBACK")
            raise

    def _token(self, writer: sqlite3.Connection) -> str | None:
        found = writer.execute("SELECT token FROM _headwater_position WHERE name = ?", (self.shape.name,)).fetchone()
        return str(found[0]) if found else None

    def _reading_connection(self) -> sqlite3.Connection:
        if self._writer is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        if self._reader is None:
            self._reader = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False)
            self._reader.execute("PRAGMA query_only = 1")
        return self._reader

    def _unavailable(self, error: sqlite3.Error) -> SinkUnavailable:
        return SinkUnavailable(f"The table {self.shape.name} in {self.path.name} answered: {error}.")

    def _close(self) -> None:
        with self._reading:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None
