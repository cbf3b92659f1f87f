"""A table of a SQL database as a sink: everything these sinks share, so that a database adds only its dialect.

How this works: rows and the resume token of the last batch are written in one transaction on a separate thread;
reads use a separate connection, so that they do not wait for writes. The token is in a table next to the rows, and the
process that opens the sink resumes from it. Each transaction begins by locking the token and comparing it with the one
that this sink read or wrote last: a process that was replaced while it was stopped finds its successor's, and writes
nothing. So a connection may be lost at any moment, even while a commit waits for its answer: the next transaction
reads from the token whether the batch was written.

Where events delete rows and have versions, the versions of the deleted keys are kept in a table of their own
(`Dialect.deleted_table`), so that an older event does not bring a row back.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from headwater.connectors.contract import Column, Delivery, PresentTable, SinkFeatures, TableShape
from headwater.connectors.rows import Batch, Row, RowReader, name_aside, refused_rows
from headwater.connectors.sql_columns import present_columns, widen
from headwater.connectors.sql_dialect import C, Dialect, keeps_deleted, order_by, quoted
from headwater.connectors.sql_session import Session, release
from headwater.connectors.tables import TableView
from headwater.errors import EventMalformed, SinkUnavailable, WriteIncomplete, WriterFenced

SQL_FEATURES = SinkFeatures(token_in_target=True, upsert=True, deletes=True)
# So many rows that the database does not take are looked for in one write of a thousand rows, and fewer in one of more,
# since each attempt takes longer; the others are found in the next ones.
REJECTED_MAX = 100
REJECTED_OF_ROWS = 1_000

_T = TypeVar("_T")


class SqlTableSink(Generic[C]):
    """Fills one table of a database. `place` names the database in errors."""

    features = SQL_FEATURES

    def __init__(self, place: str, shape: TableShape, dialect: Dialect[C]) -> None:
        self.shape = shape
        self._place = place
        self._dialect = dialect
        self._table = dialect.table(shape.name)
        self._position = dialect.position_table(shape.name)
        self._is_open = False
        self._session = Session(dialect)
        self._reader: C | None = None
        # The token that the table had when this sink read or wrote it last.
        self._known: str | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix=f"table-{shape.name}")
        self._reading = threading.Lock()
        self._rows = RowReader(shape, partial(dialect.check, shape))

    async def open(self) -> str | None:
        return await self._on(self._open)

    def check(self, delivery: Delivery) -> None:
        self._rows.check(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        batch = self._rows.batch(deliveries)
        if batch.rejected:
            raise WriteIncomplete(rejected=batch.rejected)
        await self._on(lambda: self._write(batch, token))

    async def widen(self, columns: Sequence[Column]) -> None:
        await self._on(lambda: widen(self._dialect, self._session, self.shape, columns))

    async def set_aside(self) -> str | None:
        return await self._on(self._set_aside)

    async def close(self) -> None:
        await self._on(self._close)

    def view(self, rows_max: int, order: str = "") -> TableView:
        shape = self.shape
        ordered = order_by(shape, order or shape.order)
        names = ", ".join(f"{self._dialect.shown(column)} AS {quoted([column.name])}" for column in shape.columns)
        with self._reading:
            try:
                self._require_open()
                if self._reader is None:
                    self._reader = self._dialect.connect_reader(self._session.connection)
                reader = self._reader
                rows = reader.execute(f"SELECT {names} FROM {self._table}{ordered} LIMIT {rows_max:d}").fetchall()
                total = reader.execute(f"SELECT count(*) FROM {self._table}").fetchall()
            except self._dialect.errors as error:
                release(self._dialect, self._reader)
                self._reader = None
                raise self._unavailable(error) from error
        return TableView(shape.name, shape.column_names, rows, int(total[0][0]))

    def describe(self) -> PresentTable | None:
        """The columns that the table has now, in order; None if there is no table.

        Changes nothing, and needs no open sink. Blocks: call it in a thread. Raises SinkUnavailable.
        """
        try:
            connection = self._dialect.look()
            if connection is None:
                return None
            try:
                return present_columns(self._dialect, connection, self.shape.name)
            finally:
                connection.close()
        except self._dialect.errors as error:
            raise self._unavailable(error) from error

    async def _on(self, work: Callable[[], _T]) -> _T:
        try:
            return await self._session.watch(asyncio.get_running_loop().run_in_executor(self._writing, work))
        except self._dialect.errors as error:
            raise self._unavailable(error) from error

    def _open(self) -> str | None:
        self._close()
        try:
            writer = self._session.current()
            if _missing(self._dialect, self.shape, writer):
                with self._dialect.preparing(writer):
                    for statement in _missing(self._dialect, self.shape, writer):
                        writer.execute(statement)
            self._is_open = True
            self._known = self._last_token()
        except BaseException:
            self._close()
            raise
        return self._known

    def _last_token(self) -> str | None:
        if not self._dialect.lock:
            return self._token(self._session.current())
        # Of a process that was killed the commit may still be under way: it is waited for.
        writer = self._session.begin()
        try:
            return self._token(writer)
        finally:
            self._session.roll_back(writer)

    def _set_aside(self) -> str | None:
        dialect, table = self._dialect, self.shape.name
        other = name_aside(table, dialect.name_characters_max)
        self._require_open()
        with self._session.transaction() as writer:
            require_own(table, self._place, self._token(writer), self._known)
            has_rows = writer.execute(f"SELECT 1 FROM {self._table} LIMIT 1").fetchone() is not None
            if has_rows:
                dialect.move(writer, self.shape, other)
                writer.execute(dialect.create_table(self.shape))
            if keeps_deleted(self.shape):
                writer.execute(f"DELETE FROM {dialect.deleted_table(table)}")
            writer.execute(f"DELETE FROM {self._position} WHERE name = {dialect.mark}", [table])
        self._known = None
        return other if has_rows else None

    def _write(self, batch: Batch, token: str) -> None:
        try:
            self._write_all(batch, token)
        except self._dialect.row_errors as error:
            # Of two that store their first token at once, the key of its row refuses one.
            require_own(self.shape.name, self._place, self._last_token(), self._known)
            rejected = refused_rows(
                batch.rows,
                lambda rows: self._refusal(lambda writer: self._dialect.insert(writer, self.shape, rows)),
                refused_max=_refused_max(len(batch.rows)),
            )
            if not rejected:
                first = partial(_insert_token, self._dialect, self.shape.name, token)
                if self._known is None and not self._dialect.claim and self._refusal(first):
                    # Of the other one that is about to commit its own.
                    raise self._unavailable(error) from error
                require_own(self.shape.name, self._place, self._last_token(), self._known)
                # The database refuses them only when they are committed.
                raise _not_taken(self.shape.name, "a row of these", self._dialect.explain(error)) from error
            reasons = {at: self._dialect.explain(why) for at, why in rejected.items()}
            raise WriteIncomplete(
                rejected={at: _not_taken(self.shape.name, "it", why) for at, why in reasons.items()}
            ) from error

    def _write_all(self, batch: Batch, token: str) -> None:
        mark = self._dialect.mark
        self._require_open()
        with self._session.transaction() as writer:
            known = self._token(writer)
            if known is None and self._dialect.claim:
                # The first one continues; the others wait until it has committed, and find its token.
                writer.execute(self._dialect.claim.format(self._position), [self.shape.name])
                known = self._token(writer)
            if known != token:
                require_own(self.shape.name, self._place, known, self._known)
                if batch.rows:
                    self._dialect.insert(writer, self.shape, _values(batch.rows))
                if batch.deletes:
                    self._dialect.delete(writer, self.shape, _values(batch.deletes))
                if known is None and not self._dialect.claim:
                    _insert_token(self._dialect, self.shape.name, token, writer)
                else:
                    statement = f"UPDATE {self._position} SET token = {mark} WHERE name = {mark}"
                    writer.execute(statement, [token, self.shape.name])
        self._known = token

    def _refusal(self, work: Callable[[C], object]) -> Exception | None:
        """Why the database does not take what `work` writes; it is not kept."""
        writer = self._session.begin()
        try:
            work(writer)
        except self._dialect.row_errors as error:
            return error
        finally:
            self._session.roll_back(writer)
        return None

    def _token(self, writer: C) -> str | None:
        query = f"SELECT token FROM {self._position} WHERE name = {self._dialect.mark}{self._dialect.lock}"
        found = writer.execute(query, [self.shape.name]).fetchone()
        return (str(found[0]) or None) if found else None

    def _require_open(self) -> None:
        if not self._is_open:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")

    def _unavailable(self, error: Exception) -> SinkUnavailable:
        return SinkUnavailable(
            f"The table {self.shape.name} in {self._place} answered: {self._dialect.explain(error).rstrip('.')}."
        )

    def _close(self) -> None:
        with self._reading:
            self._is_open = False
            release(self._dialect, self._reader)
            self._reader = None
            self._session.close()


def require_own(table: str, place: str, found: str | None, known: str | None) -> None:
    """Raise WriterFenced if the token found is not the known one: another process has written the table since."""
    if found != known:
        raise WriterFenced(
            f"Another process has written the table {table} in {place} since this one opened it; nothing of this batch"
            " was written.",
            hint="Run a job in one process only; it continues after what the other one has written.",
        )


def _not_taken(table: str, what: str, why: str) -> EventMalformed:
    return EventMalformed(f"The table {table} does not take {what}: {why.rstrip('.')}.")


def _insert_token(dialect: Dialect[C], table: str, token: str, writer: C) -> None:
    """Store the first token of a table."""
    into = f"INSERT INTO {dialect.position_table(table)} (token, name)"
    writer.execute(f"{into} VALUES ({dialect.mark}, {dialect.mark})", [token, table])


def _refused_max(rows: int) -> int:
    return max(1, REJECTED_MAX * REJECTED_OF_ROWS // max(rows, REJECTED_OF_ROWS))


def _values(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return [values for _, values in rows]


def _missing(dialect: Dialect[C], shape: TableShape, writer: C) -> list[str]:
    """The statements that create what is not there."""
    wanted = {dialect.position_name(shape.name): dialect.create_position_table(shape.name)}
    if keeps_deleted(shape):
        wanted[dialect.deleted_name(shape.name)] = dialect.create_deleted_table(shape)
    statements = [create for name, create in wanted.items() if not dialect.describe(writer, name)]
    present = dialect.describe(writer, shape.name)
    if not present:
        return [*statements, dialect.create_table(shape)]
    return statements + [dialect.add_column(shape, column) for column in shape.columns if column.name not in present]
