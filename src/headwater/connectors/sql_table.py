"""A table of a SQL database as a sink: everything these sinks share, so that a database adds only its dialect.

How this works: rows and the resume token of the last batch are written in one transaction on a separate thread;
reads use a separate connection, so that they do not wait for writes. The token is in a table next to the rows, and the
process that opens the sink resumes from it. Each transaction begins by comparing the token with the one that this sink
read or wrote last: a process that was replaced while it was stopped finds its successor's, and writes nothing.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from headwater.connectors.contract import ColumnType, Delivery, SinkFeatures, TableShape
from headwater.connectors.rows import UTC, Row, latest_rows, name_aside, refused_rows, row_of
from headwater.connectors.tables import TableView
from headwater.errors import EventMalformed, SinkUnavailable, WriteIncomplete, WriterFenced

if TYPE_CHECKING:
    from collections.abc import Iterator

SQL_FEATURES = SinkFeatures(token_in_target=True, upsert=True)
# So many rows that the database does not take are looked for in one write; the others are found in the next ones.
REJECTED_MAX = 100


class _Rows(Protocol):
    """What a statement answers."""

    def fetchone(self) -> Any:
        """One row as a tuple, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows, each a tuple."""
        ...


class _Connection(Protocol):
    """A connection of a driver that runs each statement at once; transactions are begun and ended by statements."""

    def execute(self, statement: str, parameters: Any = ..., /) -> _Rows:
        """Run one statement with its values in place of the dialect's marks."""
        ...

    def close(self) -> None:
        """Release it; idempotent."""
        ...


_C = TypeVar("_C", bound=_Connection)
_T = TypeVar("_T")


class Dialect(ABC, Generic[_C]):
    """What differs from one database to the next. Everything is called on the sink's thread but `connect_reader`."""

    # What the database calls each type of column.
    types: Mapping[ColumnType, str]
    # The driver's errors for a row that the table will never take, and for everything else that it refuses.
    row_errors: tuple[type[Exception], ...]
    errors: tuple[type[Exception], ...]
    begin: str
    # What stands in a statement for a value.
    mark: str

    @abstractmethod
    def connect(self) -> _C:
        """A connection that writes; the database is made where it is absent."""

    @abstractmethod
    def connect_reader(self, writer: _C) -> _C:
        """A connection for reading in parallel with the writing one. Called by any thread, one at a time."""

    @abstractmethod
    def position_table(self, table: str) -> str:
        """The name, quoted, of the table that holds the token of `table`."""

    @abstractmethod
    def columns(self, connection: _C, table: str) -> frozenset[str]:
        """The names of the columns that the table has now."""

    @abstractmethod
    def insert(self, connection: _C, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows, at least one, no two with the same key; one with the key of a row that is there replaces it,
        and where the shape has a version only if the one there is no newer (`on_conflict`)."""

    @abstractmethod
    def move(self, connection: _C, table: str, other: str) -> None:
        """Give the table with all its rows the name `other`, so that none of its own name is left."""


class SqlTableSink(Generic[_C]):
    """Fills one table of a database. `place` names the database in errors."""

    features = SQL_FEATURES

    def __init__(self, place: str, shape: TableShape, dialect: Dialect[_C]) -> None:
        self.shape = shape
        self._place = place
        self._dialect = dialect
        self._position = dialect.position_table(shape.name)
        self._writer: _C | None = None
        self._reader: _C | None = None
        # The token that the table had when this sink read or wrote it last.
        self._known: str | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix=f"table-{shape.name}")
        self._reading = threading.Lock()

    async def open(self) -> str | None:
        return await self._on(self._open)

    def check(self, delivery: Delivery) -> None:
        row_of(self.shape, delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        rows, malformed = latest_rows(self.shape, deliveries)
        if malformed:
            raise WriteIncomplete(rejected=malformed)
        await self._on(lambda: self._write(rows, token))

    async def set_aside(self) -> str | None:
        return await self._on(self._set_aside)

    async def close(self) -> None:
        await self._on(self._close)

    def view(self, rows_max: int, order: str = "") -> TableView:
        shape = self.shape
        ordered = order_by(shape, order or shape.order)
        with self._reading:
            try:
                reader = self._reading_connection()
                names = quoted(shape.column_names)
                rows = reader.execute(
                    f"SELECT {names} FROM {quoted([shape.name])}{ordered} LIMIT {rows_max:d}"
                ).fetchall()
                total = reader.execute(f"SELECT count(*) FROM {quoted([shape.name])}").fetchall()
            except self._dialect.errors as error:
                raise self._unavailable(error) from error
        return TableView(shape.name, shape.column_names, rows, int(total[0][0]))

    async def _on(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writing, work)
        except self._dialect.errors as error:
            raise self._unavailable(error) from error

    def _open(self) -> str | None:
        if self._writer is not None:
            self._close()
        writer = self._dialect.connect()
        text = self._dialect.types["text"]
        writer.execute(f"CREATE TABLE IF NOT EXISTS {self._position} (name {text} PRIMARY KEY, token {text} NOT NULL)")
        self._create(writer)
        present = self._dialect.columns(writer, self.shape.name)
        for column in self.shape.columns:
            if column.name not in present:
                kind = self._dialect.types[column.type]
                writer.execute(f"ALTER TABLE {quoted([self.shape.name])} ADD COLUMN {quoted([column.name])} {kind}")
        self._writer = writer
        self._known = self._token(writer)
        return self._known

    def _create(self, writer: _C) -> None:
        writer.execute(create_statement(self.shape, self._dialect.types))

    def _set_aside(self) -> str | None:
        table = self.shape.name
        other = name_aside(table)
        with self._transaction() as writer:
            require_own(table, self._place, self._token(writer), self._known)
            has_rows = writer.execute(f"SELECT 1 FROM {quoted([table])} LIMIT 1").fetchone() is not None
            if has_rows:
                self._dialect.move(writer, table, other)
                self._create(writer)
            writer.execute(f"DELETE FROM {self._position} WHERE name = {self._dialect.mark}", [table])
        self._known = None
        return other if has_rows else None

    def _write(self, rows: Sequence[Row], token: str) -> None:
        try:
            self._write_all([values for _, values in rows], token)
        except self._dialect.row_errors as error:
            rejected = refused_rows(rows, self._refusal, refused_max=REJECTED_MAX)
            if not rejected:  # the database refuses them only when they are committed
                raise EventMalformed(f"The table {self.shape.name} does not take a row of these: {error}.") from error
            reasons = {at: f"The table {self.shape.name} does not take it: {why}." for at, why in rejected.items()}
            raise WriteIncomplete(rejected={at: EventMalformed(why) for at, why in reasons.items()}) from error

    def _write_all(self, rows: Sequence[tuple[Any, ...]], token: str) -> None:
        table, mark = self.shape.name, self._dialect.mark
        with self._transaction() as writer:
            known = self._token(writer)
            if known != token:
                require_own(self.shape.name, self._place, known, self._known)
                if rows:
                    self._dialect.insert(writer, self.shape, rows)
                if known is None:
                    insert = f"INSERT INTO {self._position} (name, token) VALUES ({mark}, {mark})"
                    writer.execute(insert, [table, token])
                else:
                    writer.execute(f"UPDATE {self._position} SET token = {mark} WHERE name = {mark}", [token, table])
        self._known = token

    def _refusal(self, rows: Sequence[tuple[Any, ...]]) -> Exception | None:
        """Why the database does not take the rows all together; they are not written."""
        writer = self._opened()
        writer.execute(self._dialect.begin)
        try:
            self._dialect.insert(writer, self.shape, rows)
        except self._dialect.row_errors as error:
            return error
        finally:
            writer.execute("ROLLBACK")
        return None

    @contextmanager
    def _transaction(self) -> Iterator[_C]:
        """All of it or nothing."""
        writer = self._opened()
        writer.execute(self._dialect.begin)
        try:
            yield writer
            writer.execute("COMMIT")
        except BaseException:
            writer.execute("ROLLBACK")
            raise

    def _token(self, writer: _C) -> str | None:
        query = f"SELECT token FROM {self._position} WHERE name = {self._dialect.mark}"
        found = writer.execute(query, [self.shape.name]).fetchone()
        return str(found[0]) if found else None

    def _opened(self) -> _C:
        if self._writer is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        return self._writer

    def _reading_connection(self) -> _C:
        writer = self._opened()
        if self._reader is None:
            self._reader = self._dialect.connect_reader(writer)
        return self._reader

    def _unavailable(self, error: Exception) -> SinkUnavailable:
        return SinkUnavailable(f"The table {self.shape.name} in {self._place} answered: {error}.")

    def _close(self) -> None:
        with self._reading:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None


def require_own(table: str, place: str, found: str | None, known: str | None) -> None:
    """Raise WriterFenced if the token found is not the known one: another process has written the table since."""
    if found != known:
        raise WriterFenced(
            f"Another process has written the table {table} in {place} since this one opened it; nothing of this batch"
            " was written.",
            hint="Run a job in one process only; it continues after what the other one has written.",
        )


def on_conflict(shape: TableShape) -> str:
    """The clause by which a row replaces the one with its key, unless that one is newer; "" for a shape without key."""
    if not shape.key:
        return ""
    others = [name for name in shape.column_names if name not in shape.key]
    if not others:
        return f" ON CONFLICT ({quoted(shape.key)}) DO NOTHING"
    changes = ", ".join(f"{quoted([name])} = excluded.{quoted([name])}" for name in others)
    clause = f" ON CONFLICT ({quoted(shape.key)}) DO UPDATE SET {changes}"
    if not shape.version:
        return clause
    given, there = f"excluded.{quoted([shape.version])}", f"{quoted([shape.name])}.{quoted([shape.version])}"
    if next(column.type for column in shape.columns if column.name == shape.version) == "text":
        return f"{clause} WHERE {there} IS NULL OR rtrim({given}, '{UTC}') >= rtrim({there}, '{UTC}')"
    return f"{clause} WHERE {there} IS NULL OR {given} >= {there}"


def order_by(shape: TableShape, order: str) -> str:
    """The ORDER BY clause for `edits desc, wiki`; "" for "". Raises JobInvalid for anything but columns."""
    terms = [f"{quoted([name])} {'DESC' if descending else 'ASC'}" for name, descending in shape.order_terms(order)]
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def create_statement(shape: TableShape, types: Mapping[ColumnType, str]) -> str:
    """The statement that makes the table where it is absent; `types` is what the database calls each type."""
    columns = [f"{quoted([column.name])} {types[column.type]}" for column in shape.columns]
    if shape.key:
        columns.append(f"PRIMARY KEY ({quoted(shape.key)})")
    return f"CREATE TABLE IF NOT EXISTS {quoted([shape.name])} ({', '.join(columns)})"


def quoted(names: Iterable[str]) -> str:
    """Names for SQL, with commas between them. A shape's names hold no quotation mark."""
    return ", ".join(f'"{name}"' for name in names)
