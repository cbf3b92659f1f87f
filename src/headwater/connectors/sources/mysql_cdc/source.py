"""The MariaDB source: a snapshot of tables, then each of their changes, as events of the project's streams.

How this works: a token is a set of global transaction ids, after which the server is asked to continue. The server
keeps its binary log for as long as it is configured to (`expire_logs_days`), whether or not this source has read it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.connectors.contract import SourceFeatures
from headwater.connectors.row_changes.capture import Periodic, RowChangeSource, TableFacts
from headwater.connectors.sources.mysql_cdc import server
from headwater.connectors.sources.mysql_cdc.binlog import Changes, Following, Log, changed_keys, table_is_gone
from headwater.connectors.sources.mysql_cdc.options import MysqlCdcOptions, server_id_of, tables_of
from headwater.connectors.sources.mysql_cdc.server import Address, Table
from headwater.connectors.sources.mysql_cdc.snapshot import CHANGED_MAX, Snapshot
from headwater.connectors.sources.mysql_cdc.token import Place, gtids_text, read_gtids
from headwater.errors import TokenInvalid

FEATURES = SourceFeatures(snapshot=True, seeks_position="global transaction ids, such as `0-1-1234`")
# How often it is checked that the tables are still there.
CHECK_SECONDS = 60.0


class MysqlCdc(RowChangeSource[Place]):
    """Reads the tables that `options` names. `name` is that of the source."""

    features = FEATURES

    def __init__(self, options: MysqlCdcOptions, name: str) -> None:
        """Raises ConfigInvalid."""
        super().__init__(name, tables_of(options))
        self._options = options
        self._address = Address.parse(options.url)
        self._server_id = server_id_of(options, name)
        self._connection: Any = None
        self._tables: Mapping[str, Table] = {}

    async def probe(self) -> Sequence[str]:
        """Whether the server could be read, without changing anything. Raises as `open`."""
        try:
            await self._connect()
            return [
                f"{table.name}: {len(table.columns)} columns, identified by {', '.join(table.key)}"
                for table in self._tables.values()
            ]
        finally:
            await self._close_connections()

    async def token_of(self, position: str) -> str:
        try:
            gtids = read_gtids(position)
        except ValueError as error:
            raise TokenInvalid(f"{error}.", hint="Such as `0-1-1234`: the server shows `@@gtid_binlog_pos`.") from None
        if not gtids:
            raise TokenInvalid("A position is a set of global transaction ids.", hint="Such as `0-1-1234`.")
        return Place(gtids_text(gtids)).token()

    def _parse(self, token: str) -> Place:
        return Place.parse(token)

    async def _connect(self) -> Mapping[str, TableFacts]:
        self._tables = await asyncio.to_thread(self._connected)
        return {name: TableFacts(table.key, table.columns) for name, table in self._tables.items()}

    def _connected(self) -> Mapping[str, Table]:
        self._connection = connection = server.connect(self._address, self._options.connect_seconds_max)
        server.check_server(connection)
        shown = {one.table: one.rules.columns for one in self._declared}
        return server.read_tables(connection, shown, self._keys)

    async def _begin_snapshot(self) -> Snapshot:
        snapshot = self._new_snapshot()
        await snapshot.begin()
        return snapshot

    async def _check_position(self, place: Place) -> None:
        """The server says it itself when its log is read."""

    async def _resume_snapshot(self, place: Place) -> Snapshot:
        snapshot = self._new_snapshot()
        await snapshot.resume(place)
        # The read has begun, so that every change that it may show is in the log by now.
        snapshot.leave_out(await asyncio.to_thread(self._changed_since, place))
        return snapshot

    def _changed_since(self, place: Place) -> set[tuple[str, Any]]:
        ((end,),) = server.rows(self._connection, "SELECT @@gtid_binlog_pos")
        changes = Changes(Place(place.gtids), self._tables, {}, self._described)
        if changes.includes(read_gtids(end)):
            return set()
        log = self._log(place, follow=True)
        try:
            return changed_keys(log, changes, self._tables, read_gtids(end), CHANGED_MAX)
        finally:
            log.close()

    async def _follow(self, place: Place) -> Following:
        log = await asyncio.to_thread(self._log, place, follow=True)
        try:
            # The server says at once whether it still has what follows; this first event has no change.
            await asyncio.to_thread(log.next)
        except BaseException:
            log.abort()
            log.close()
            raise
        changes = Changes(place, self._tables, self._keys, self._described)
        return Following(log, changes.of, [Periodic(CHECK_SECONDS, self._check_tables)])

    async def _check_tables(self) -> None:
        """Raises SourceRefused if a table is gone: the statement that removed it is not read from every server."""
        for name in self._tables:
            if await asyncio.to_thread(self._described, name) is None:
                raise table_is_gone(name)

    def _log(self, place: Place, *, follow: bool) -> Log:
        heartbeat = self._options.heartbeat_seconds
        return Log(
            self._address, place.gtids, self._server_id, self._tables, follow=follow, heartbeat_seconds=heartbeat
        )

    def _described(self, table: str) -> Table | None:
        """A table as it is now; asked in the thread of the log."""
        connection = server.connect(self._address, self._options.connect_seconds_max)
        try:
            return server.read_table(connection, table)
        finally:
            connection.close()

    def _new_snapshot(self) -> Snapshot:
        return Snapshot(self._connection, self._tables, self._keys)

    async def _close_connections(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # It may have failed already, and is not used again.
            with contextlib.suppress(Exception):
                connection.close()
