"""Reads the stream of changes of an open slot: deliveries with the place after each, and reports to the server."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

from psycopg import sql

from headwater.connectors.contract import Delivery
from headwater.connectors.row_changes.change import RowChange
from headwater.connectors.sources.postgres_cdc import preparation
from headwater.connectors.sources.postgres_cdc.connection import KeepAlive, ReplicationConnection, Session, StreamedData
from headwater.connectors.sources.postgres_cdc.options import PostgresCdcOptions
from headwater.connectors.sources.postgres_cdc.pgoutput import Commit, decode
from headwater.connectors.sources.postgres_cdc.preparation import Table
from headwater.connectors.sources.postgres_cdc.stream import ChangeReader, Decoded
from headwater.connectors.sources.postgres_cdc.token import Place
from headwater.connectors.sources.postgres_cdc.values import TYPES_QUERY, TypeCatalogue, TypeRow
from headwater.errors import HeadwaterError, SourceUnavailable

# How many messages without a delivery are read before other tasks run.
MESSAGES_AT_ONCE = 1_000


class Read(NamedTuple):
    """A delivery, and the place after it."""

    delivery: Delivery
    place: Place


async def type_catalogue(session: Session) -> TypeCatalogue:
    """The types of the database, as they are now."""
    return TypeCatalogue(TypeRow(*row) for row in await session.rows(TYPES_QUERY))


class Streaming:
    """The changes that follow `place`. One task reads it.

    `make` gives the delivery for a change, or None. `place` is the one after what was returned. `is_whole` is False
    while a message is being taken: if the read is cancelled then, another connection must read it again.
    """

    def __init__(
        self,
        session: Session,
        connection: ReplicationConnection,
        reader: ChangeReader,
        place: Place,
        *,
        tables: Mapping[str, Table],
        make: Callable[[RowChange], Delivery | None],
    ) -> None:
        self._session = session
        self._connection = connection
        self._reader = reader
        self._tables = tables
        self._make = make
        self._confirmed_lsn = 0
        self._failure: HeadwaterError | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        # What was taken and not returned, as one message may give several; and the place after it.
        self._ahead: list[Read] = []
        self._read_to = place
        self.place = place
        self.is_whole = True

    def start_tasks(self, options: PostgresCdcOptions, publication: str) -> None:
        """Keep the server informed, and look after the publication, until `end`."""
        self._tasks = (
            asyncio.create_task(self._keep_reporting(options.status_seconds)),
            asyncio.create_task(
                self._keep_checking(options.heartbeat_seconds, options.check_seconds, publication, list(self._tables))
            ),
        )

    async def end(self) -> None:
        """End what `start_tasks` started; the connections are left to their owner."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = ()

    def confirm(self, lsn: int) -> None:
        """Report to the server that everything before `lsn` is stored."""
        self._confirmed_lsn = max(self._confirmed_lsn, lsn)
        self._report()

    async def read(self, deliveries_max: int, wait_seconds: float) -> list[Read]:
        """Up to `deliveries_max`; none if none come in time. Raises PositionLost, SourceRefused, SourceUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        messages = 0
        while len(self._ahead) < deliveries_max:
            if self._failure is not None:
                raise self._failure
            message = self._connection.next()
            if message is None:
                left = deadline - loop.time()
                if self._ahead or left <= 0:
                    break
                await self._connection.wait(left)
            elif isinstance(message, KeepAlive):
                if not self._reader.is_inside and message.lsn > self._read_to.lsn:
                    self._read_to = self._at(message.lsn)
            else:
                self.is_whole = False
                self._ahead += await self._taken(message)
                self.is_whole = True
                messages += 1
                if messages % MESSAGES_AT_ONCE == 0:
                    await asyncio.sleep(0)
        found, self._ahead = self._ahead[:deliveries_max], self._ahead[deliveries_max:]
        self.place = found[-1].place if self._ahead else self._read_to
        return found

    async def _taken(self, data: StreamedData) -> list[Read]:
        """What one message gives."""
        message = decode(data.payload)
        if self._reader.unknown_types(message):
            self._reader.types = await type_catalogue(self._session)
        found: list[Read] = []
        for decoded in self._reader.changes(message, data.lsn):
            change = await self._completed(decoded) if decoded.unchanged else decoded.change
            self._read_to = self._at(decoded.lsn, decoded.number)
            if (delivery := self._make(change)) is not None:
                found.append(Read(delivery, self._read_to))
        if isinstance(message, Commit):
            self._read_to = self._at(message.end_lsn)
        return found

    async def _completed(self, decoded: Decoded) -> RowChange:
        """The change with the large values that were not sent, as the row has them now: if they change later, another
        change says so. Of a row that is gone by now they stay away."""
        change = decoded.change
        table = self._tables.get(change.table)
        if table is None or not change.key:
            return change
        names = [name for name in decoded.unchanged if name in table.columns]
        types = dict(zip(table.columns, table.types, strict=True))
        # Literals are read as the type of the column, so that its index is used.
        conditions = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(str(change.row[name]))) for name in change.key
        )
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        statement = sql.SQL("SELECT {} FROM {} WHERE {}").format(columns, table.identifier, conditions)
        rows = await self._session.texts(statement) if names else []
        if len(rows) != 1:
            return change
        values = {
            name: None if text is None else self._reader.types.convert(types[name])(text)
            for name, text in zip(names, rows[0], strict=True)
        }
        return change._replace(row={**change.row, **values})

    def _at(self, lsn: int, number: int = 0) -> Place:
        return dataclasses.replace(self._read_to, lsn=lsn, number=number)

    def _report(self) -> None:
        try:
            self._connection.report(max(self._read_to.lsn, self._confirmed_lsn), self._confirmed_lsn)
        except SourceUnavailable as error:
            self._failure = error

    async def _keep_reporting(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._report()

    async def _keep_checking(self, heartbeat: float, checking: float, publication: str, tables: list[str]) -> None:
        """Look after the publication, and write a message now and then if that is wanted."""
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        while True:
            await asyncio.sleep(min(heartbeat or checking, checking))
            try:
                if heartbeat:
                    await self._session.rows("SELECT pg_logical_emit_message(false, 'headwater', '')")
                if loop.time() - checked_at >= checking:
                    checked_at = loop.time()
                    await preparation.check_publication(self._session, publication, tables)
            except HeadwaterError as error:
                self._failure = error
                return
