"""The MariaDB source: a snapshot of tables, then each of their changes, as events of the project's streams.

How this works: a token is a set of global transaction ids, after which the server is asked to continue. The server
keeps its binary log for as long as it is configured to (`expire_logs_days`), whether or not this source has read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.connectors.row_changes.events import RowEvents, with_key
from headwater.connectors.row_changes.places import tokens
from headwater.connectors.sources.mysql_cdc import server
from headwater.connectors.sources.mysql_cdc.binlog import Changes, Following, Log, changed_keys
from headwater.connectors.sources.mysql_cdc.options import MysqlCdcOptions, server_id_of, tables_of
from headwater.connectors.sources.mysql_cdc.server import Address, Table
from headwater.connectors.sources.mysql_cdc.snapshot import CHANGED_MAX, Snapshot
from headwater.connectors.sources.mysql_cdc.token import Place
from headwater.errors import SourceUnavailable

FEATURES = SourceFeatures(snapshot=True)

_log = logging.getLogger(__name__)


class MysqlCdc:
    """Reads the tables that `options` names. `name` is that of the source."""

    features = FEATURES

    def __init__(self, options: MysqlCdcOptions, name: str) -> None:
        """Raises ConfigInvalid."""
        self._options = options
        self._name = name
        self._address = Address.parse(options.url)
        self._server_id = server_id_of(options, name)
        self._declared = tables_of(options)
        self._keys = {one.table: one.key for one in self._declared if one.key}
        self._connection: Any = None
        self._snapshot: Snapshot | None = None
        self._following: Following | None = None
        self._tables: Mapping[str, Table] = {}
        self._withheld: Counter[tuple[str, str]] = Counter()
        self._events = RowEvents(name, self._declared, self._report_withheld, self._withheld)
        # After what was delivered; None if it is closed.
        self._place: Place | None = None

    @property
    def withheld(self) -> Mapping[tuple[str, str], int]:
        """How often something was withheld although no rule says so, by table and column (`*`: the row)."""
        return self._withheld

    async def partitions(self) -> Sequence[str]:
        return ("",)

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Begin with a snapshot, or resume after `token`.

        Raises TokenInvalid, PositionLost, SourceRefused, SourceUnavailable.
        """
        place = None if token is None else Place.parse(token)
        await self.close()
        try:
            await asyncio.to_thread(self._connect)
            if place is None:
                snapshot = self._new_snapshot()
                self._place = await asyncio.to_thread(snapshot.begin)
                self._snapshot = snapshot
            else:
                await self._resume(place)
                self._place = place
        except BaseException:
            await self.close()
            raise

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """The next rows or changes. Raises PositionLost, SourceRefused and SourceUnavailable: then the next read
        connects again, and continues where the last one ended."""
        before = self._place
        if before is None:
            raise SourceUnavailable("The source is not open.")
        try:
            if self._snapshot is None and self._following is None:
                await asyncio.to_thread(self._connect)
                await self._resume(before)
            if self._snapshot is not None:
                batch = await self._read_snapshot(before, deliveries_max)
                if batch.deliveries:
                    return batch
            return await self._read_log(self._place or before, deliveries_max, wait_seconds)
        except BaseException as error:
            if self._snapshot is not None or not isinstance(error, asyncio.CancelledError):
                # What was taken and not delivered is read again.
                await self._disconnect()
                self._place = before
            raise

    async def confirm(self, token: str) -> None:
        """Does nothing: the server keeps its log as long as it is configured to."""

    async def close(self) -> None:
        await self._disconnect()
        self._place = None

    async def probe(self) -> Sequence[str]:
        """Whether the server could be read, without changing anything. Raises as `open`."""
        try:
            await asyncio.to_thread(self._connect)
            return [
                f"{table.name}: {len(table.columns)} columns, identified by {', '.join(table.key)}"
                for table in self._tables.values()
            ]
        finally:
            await self._disconnect()

    def _connect(self) -> None:
        self._connection = connection = server.connect(self._address, self._options.connect_seconds_max)
        server.check_server(connection)
        shown = {one.table: one.rules.columns for one in self._declared}
        self._tables = server.read_tables(connection, shown, self._keys)
        declared = [with_key(one, self._tables[one.table].key) for one in self._declared]
        self._events = RowEvents(self._name, declared, self._report_withheld, self._withheld)

    async def _resume(self, place: Place) -> None:
        if place.snapshot is None:
            await self._follow(place)
            return
        snapshot = self._new_snapshot()
        await asyncio.to_thread(snapshot.resume, place)
        # The read has begun, so that every change that it may show is in the log by now.
        snapshot.leave_out(await asyncio.to_thread(self._changed_since, place))
        self._snapshot = snapshot

    def _changed_since(self, place: Place) -> set[tuple[str, Any]]:
        log = self._log(place, follow=False)
        try:
            changes = Changes(Place(place.gtids), self._tables, {}, self._described)
            return changed_keys(log, changes, self._tables, CHANGED_MAX)
        finally:
            log.close()

    async def _follow(self, place: Place) -> None:
        log = await asyncio.to_thread(self._log, place, follow=True)
        try:
            # The server says at once whether it still has what follows; this first event has no change.
            await asyncio.to_thread(log.next)
        except BaseException:
            log.abort()
            log.close()
            raise
        changes = Changes(place, self._tables, self._keys, self._described)
        self._following = Following(log, changes.of)

    def _log(self, place: Place, *, follow: bool) -> Log:
        heartbeat = self._options.heartbeat_seconds
        return Log(self._address, place.gtids, self._server_id, follow=follow, heartbeat_seconds=heartbeat)

    def _described(self, table: str) -> Table | None:
        """A table as it is now; asked in the thread of the log."""
        connection = server.connect(self._address, self._options.connect_seconds_max)
        try:
            return server.read_table(connection, table)
        finally:
            connection.close()

    def _new_snapshot(self) -> Snapshot:
        return Snapshot(self._connection, self._tables, self._keys)

    async def _disconnect(self) -> None:
        following, connection = self._following, self._connection
        self._following, self._snapshot, self._connection = None, None, None
        if following is not None:
            await following.end()
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    async def _read_snapshot(self, before: Place, deliveries_max: int) -> SourceBatch:
        """The next rows; none at the end of the snapshot, where the changes begin."""
        snapshot = self._snapshot
        assert snapshot is not None
        deliveries: list[Delivery] = []
        places: list[Place] = []
        while rows := await asyncio.to_thread(snapshot.read, deliveries_max):
            for row in rows:
                if (delivery := self._events.delivery(row.change)) is not None:
                    deliveries.append(delivery)
                    places.append(row.place)
            self._place = snapshot.place
            if deliveries:
                return SourceBatch(deliveries, tokens(before, places, snapshot.place), "snapshot")
        await asyncio.to_thread(snapshot.end)
        self._place = dataclasses.replace(before, snapshot=None)
        self._snapshot = None
        await self._follow(self._place)
        return SourceBatch((), tokens(self._place, (), self._place))

    async def _read_log(self, before: Place, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        following = self._following
        assert following is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        deliveries: list[Delivery] = []
        places: list[Place] = []
        place = before
        while True:
            steps = await following.take(deliveries_max, max(0.0, deadline - loop.time()))
            for step in steps:
                place = step.place
                if step.change is not None and (delivery := self._events.delivery(step.change)) is not None:
                    deliveries.append(delivery)
                    places.append(place)
            self._place = place
            if deliveries or not steps:
                return SourceBatch(deliveries, tokens(before, places, place))

    def _report_withheld(self, table: str, column: str, reason: str) -> None:
        what = f"a row of {table}" if column == "*" else f"the column {column} of {table}"
        _log.warning("Source %s withholds %s: %s.", self._name, what, reason)
