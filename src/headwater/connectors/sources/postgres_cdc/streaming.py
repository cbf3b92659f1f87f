"""Reads the stream of changes of an open slot, each with the place after it, and reports to the server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

from psycopg import sql

from headwater.connectors.row_changes.capture import Periodic, Step
from headwater.connectors.row_changes.change import RowChange
from headwater.connectors.row_changes.sanitizing import TableRules
from headwater.connectors.sources.postgres_cdc import preparation
from headwater.connectors.sources.postgres_cdc.connection import KeepAlive, ReplicationConnection, Session, StreamedData
from headwater.connectors.sources.postgres_cdc.options import PostgresCdcOptions
from headwater.connectors.sources.postgres_cdc.pgoutput import Commit, Relation, decode
from headwater.connectors.sources.postgres_cdc.preparation import Table
from headwater.connectors.sources.postgres_cdc.stream import ChangeReader, Decoded
from headwater.connectors.sources.postgres_cdc.token import Place
from headwater.connectors.sources.postgres_cdc.values import TYPES_QUERY, TypeCatalogue, TypeRow
from headwater.errors import SourceRefused, SourceUnavailable

# How many messages without a delivery are read before other tasks run.
MESSAGES_AT_ONCE = 1_000


async def type_catalogue(session: Session) -> TypeCatalogue:
    """The types of the database, as they are now."""
    return TypeCatalogue(TypeRow(*row) for row in await session.rows(TYPES_QUERY))


class Streaming:
    """The changes that follow `place`. One task reads it."""

    def __init__(
        self,
        session: Session,
        connection: ReplicationConnection,
        reader: ChangeReader,
        place: Place,
        *,
        tables: Mapping[str, Table],
        rules: Mapping[str, TableRules],
        keys: Mapping[str, tuple[str, ...]],
        options: PostgresCdcOptions,
        publication: str,
    ) -> None:
        self._session = session
        self._connection = connection
        self._reader = reader
        self._tables = tables
        self._rules = rules
        self._keys = keys
        self._options = options
        self._publication = publication
        self._confirmed_lsn = 0
        # What was taken from the connection and not from here, as one message may give several; the place after it.
        self._ahead: list[Step[Place]] = []
        self._read_to = place
        self.is_whole = True

    @property
    def periodic(self) -> Sequence[Periodic]:
        """Keep the server informed, look after the publication, and write a message if that is wanted."""
        options = self._options
        heartbeat = [Periodic(options.heartbeat_seconds, self._beat)] if options.heartbeat_seconds else []
        return [
            Periodic(options.status_seconds, self._report),
            Periodic(options.check_seconds, self._check),
            *heartbeat,
        ]

    async def end(self) -> None:
        """The connections are left to their owner."""

    def confirm(self, place: Place) -> None:
        """Report to the server that everything before `place` is stored. A connection that is lost is noticed by the
        next read."""
        self._confirmed_lsn = max(self._confirmed_lsn, place.lsn)
        with contextlib.suppress(SourceUnavailable):
            self._report_now()

    async def take(self, count_max: int, wait_seconds: float) -> list[Step[Place]]:
        """Up to `count_max`; none if none come in time. Raises PositionLost, SourceRefused, SourceUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        messages = 0
        while len(self._ahead) < count_max:
            message = self._connection.next()
            if message is None:
                left = deadline - loop.time()
                if self._ahead or left <= 0:
                    break
                await self._connection.wait(left)
            elif isinstance(message, KeepAlive):
                if not self._reader.is_inside and message.lsn > self._read_to.lsn:
                    self._move_to(self._at(message.lsn))
            else:
                self.is_whole = False
                await self._take_message(message)
                self.is_whole = True
                messages += 1
                if messages % MESSAGES_AT_ONCE == 0:
                    await asyncio.sleep(0)
        found, self._ahead = self._ahead[:count_max], self._ahead[count_max:]
        return found

    async def _take_message(self, data: StreamedData) -> None:
        message = decode(data.payload)
        if isinstance(message, Relation):
            message = await self._checked(message)
        if self._reader.unknown_types(message):
            self._reader.types = await type_catalogue(self._session)
        for decoded in self._reader.changes(message, data.lsn):
            change = await self._completed(decoded) if decoded.unchanged else decoded.change
            self._read_to = self._at(decoded.lsn, decoded.number)
            self._ahead.append(Step(change, self._read_to))
        if isinstance(message, Commit):
            self._move_to(self._at(message.end_lsn))

    def _move_to(self, place: Place) -> None:
        """Of places without a change between them only the last one is of use."""
        self._read_to = place
        if self._ahead and self._ahead[-1].change is None:
            self._ahead.pop()
        self._ahead.append(Step(None, place))

    async def _checked(self, relation: Relation) -> Relation:
        """The table under the name that it has now, which it may have had no more for a while. Raises SourceRefused if
        it has another one, or if its deletions do not say any more which row went."""
        for table in self._tables.values():
            if table.number == relation.id and table.name != relation.table:
                now = await preparation.name_of_table(self._session, relation.id)
                if now != table.name:
                    raise preparation.table_is_renamed(table.name, now)
                relation = relation._replace(table=now)
        known = self._tables.get(relation.table)
        if known is None or relation.identity == preparation.FULL:
            return relation
        logged = [name for name, is_key in zip(relation.names, relation.is_key, strict=True) if is_key]
        if wrong := preparation.not_logged(self._keys.get(known.name) or known.key, logged):
            raise SourceRefused(
                f"The table {known.name} {wrong}.",
                hint=preparation.IDENTIFY.format(table=known.name)
                + " What was changed meanwhile cannot be read: begin again with a new snapshot.",
            )
        return relation

    async def _completed(self, decoded: Decoded) -> RowChange:
        """The change with the large values that were not sent, as the row has them now: if they change later, another
        change says so. Of a row that is gone by now, or whose values must not be seen as it is now, they stay away."""
        change = decoded.change
        table, rules = self._tables.get(change.table), self._rules.get(change.table)
        if table is None or rules is None or not change.key:
            return change
        unchanged = [name for name in decoded.unchanged if name in table.columns and name in rules.columns]
        names = [*unchanged, *(name for name in table.columns if name in rules.tested and name not in unchanged)]
        types = dict(zip(table.columns, table.types, strict=True))
        # Literals are read as the type of the column, so that its index is used.
        conditions = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(str(change.row[name]))) for name in change.key
        )
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        statement = sql.SQL("SELECT {} FROM {} WHERE {}").format(columns, table.identifier, conditions)
        try:
            rows = await self._session.texts(statement) if unchanged else []
        except SourceRefused:
            # The table or its columns are others by now, or may not be read any more.
            return change
        if len(rows) != 1:
            return change
        values = {
            name: None if text is None else self._reader.types.convert(types[name])(text)
            for name, text in zip(names, rows[0], strict=True)
        }
        shown = {name: values[name] for name in rules.visible(unchanged, values)}
        return change._replace(row={**change.row, **shown})

    def _at(self, lsn: int, number: int = 0) -> Place:
        return dataclasses.replace(self._read_to, lsn=lsn, number=number)

    def _report_now(self) -> None:
        self._connection.report(max(self._read_to.lsn, self._confirmed_lsn), self._confirmed_lsn)

    async def _report(self) -> None:
        self._report_now()

    async def _beat(self) -> None:
        await self._session.rows("SELECT pg_logical_emit_message(false, 'headwater', '')")

    async def _check(self) -> None:
        await preparation.check_publication(self._session, self._publication, self._tables)
