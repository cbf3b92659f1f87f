"""The PostgreSQL source: a snapshot of tables, then each of their changes, as events of the project's streams.

How this works: a publication names the tables, and a replication slot makes the server keep its log until it is
confirmed. A token is a place in that log. What is delivered is confirmed when it is stored, and only then may the
server delete it. While nothing comes, the server says how far it has read its log: that place is the token of an empty
batch, so that an idle database does not keep its log for this source either.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from headwater.backoff import Backoff
from headwater.connectors.contract import SourceFeatures
from headwater.connectors.row_changes.capture import RowChangeSource, TableFacts
from headwater.connectors.sources.postgres_cdc import preparation
from headwater.connectors.sources.postgres_cdc.connection import ReplicationConnection, Session, SlotInUse
from headwater.connectors.sources.postgres_cdc.options import (
    PostgresCdcOptions,
    publication_name,
    slot_name,
    tables_of,
)
from headwater.connectors.sources.postgres_cdc.preparation import Table
from headwater.connectors.sources.postgres_cdc.snapshot import Snapshot
from headwater.connectors.sources.postgres_cdc.stream import ChangeReader
from headwater.connectors.sources.postgres_cdc.streaming import Streaming, type_catalogue
from headwater.connectors.sources.postgres_cdc.token import Place, lsn_text, read_lsn
from headwater.errors import PositionLost, SourceRefused, SourceUnavailable

FEATURES = SourceFeatures(snapshot=True, forgets=True)
# The pauses before a slot in use is tried again.
SLOT_PAUSES_SECONDS = (0.05, 2.0)

_log = logging.getLogger(__name__)


class PostgresCdc(RowChangeSource[Place]):
    """Reads the tables that `options` names. `name` is that of the source."""

    features = FEATURES

    def __init__(self, options: PostgresCdcOptions, name: str) -> None:
        """Raises ConfigInvalid."""
        super().__init__(name, tables_of(options))
        self._options = options
        self._slot = slot_name(options, name)
        self._publication = publication_name(options, name)
        self._session: Session | None = None
        self._connection: ReplicationConnection | None = None
        self._tables: Mapping[str, Table] = {}

    async def probe(self) -> Sequence[str]:
        """Whether the database could be read, without changing anything. Raises as `open`."""
        session = await Session.connect(self._options.url, connect_seconds_max=self._options.connect_seconds_max)
        try:
            await preparation.check_server(session)
            tables = await preparation.read_tables(session, [one.table for one in self._declared], self._keys)
            found = [
                f"{table.name}: {len(table.columns)} columns, identified by {', '.join(table.key) or 'all of them'}"
                for table in tables.values()
            ]
            slot = await preparation.find_slot(session, self._slot)
            about = "will be created" if slot is None else f"is confirmed up to {lsn_text(slot.confirmed_lsn)}"
            return [*found, f"the replication slot {self._slot} {about}"]
        finally:
            await session.close()

    def _parse(self, token: str) -> Place:
        return Place.parse(token)

    async def _connect(self) -> Mapping[str, TableFacts]:
        seconds = self._options.connect_seconds_max
        self._session = session = await Session.connect(self._options.url, connect_seconds_max=seconds)
        await preparation.check_server(session)
        self._tables = await preparation.read_tables(session, [one.table for one in self._declared], self._keys)
        self._connection = await ReplicationConnection.connect(self._options.url, connect_seconds_max=seconds)
        return {name: TableFacts(table.key, table.columns) for name, table in self._tables.items()}

    async def _begin_snapshot(self) -> Snapshot:
        session, connection = self._connected()
        await preparation.ensure_publication(session, self._publication, self._tables)
        if await preparation.find_slot(session, self._slot, invalid_too=True) is not None:
            _log.info("Source %s: the replication slot %s is created again.", self._name, self._slot)
            await self._when_free(lambda: preparation.drop_slot(session, self._slot))
        system = await connection.system()
        first, exported = await connection.create_slot(self._slot)
        snapshot = await self._new_snapshot()
        await snapshot.begin(system, read_lsn(first), exported)
        return snapshot

    async def _check_position(self, place: Place) -> None:
        session, connection = self._connected()
        if (system := await connection.system()) != place.system:
            raise PositionLost(
                f"The token is of another database cluster ({place.system}) than this one ({system}).",
                hint=preparation.NEW_SNAPSHOT.format(source=self._name),
            )
        slot = await preparation.find_slot(session, self._slot)
        preparation.check_position(slot, self._slot, place.lsn, self._name)
        await preparation.check_publication(session, self._publication, self._tables)

    async def _resume_snapshot(self, place: Place) -> Snapshot:
        snapshot = await self._new_snapshot()
        await snapshot.resume(place)
        return snapshot

    async def _follow(self, place: Place) -> Streaming:
        session, connection = self._connected()
        reader = ChangeReader(place.first_lsn, await type_catalogue(session), self._key_of)
        reader.skip(place.lsn, place.number)
        await self._when_free(lambda: connection.start(self._slot, place.lsn, self._publication))
        return Streaming(
            session,
            connection,
            reader,
            place,
            tables=self._tables,
            rules={one.table: one.rules for one in self._declared},
            keys=self._keys,
            options=self._options,
            publication=self._publication,
        )

    async def _close_connections(self) -> None:
        connection, session = self._connection, self._session
        self._connection, self._session = None, None
        for one in (connection, session):
            if one is not None:
                # It may have failed already, and is not used again.
                with contextlib.suppress(Exception):
                    await one.close()

    async def _when_free(self, use: Callable[[], Awaitable[None]]) -> None:
        """Use the slot, once no other client does. Raises SourceRefused if that takes too long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.slot_wait_seconds
        backoff = Backoff(*SLOT_PAUSES_SECONDS)
        while True:
            try:
                await use()
                return
            except SlotInUse as error:
                if loop.time() >= until:
                    who = await preparation.active_client(self._connected()[0], self._slot)
                    raise SourceRefused(
                        f"The replication slot {self._slot} is read by {who}, and only one client can.",
                        hint="Stop the other platform that has this source, or give one of them another `slot`.",
                    ) from error
            await asyncio.sleep(backoff.next_pause())

    def _connected(self) -> tuple[Session, ReplicationConnection]:
        if self._session is None or self._connection is None:
            raise SourceUnavailable("The source is not connected.")
        return self._session, self._connection

    def _key_of(self, table: str) -> tuple[str, ...]:
        """The key of a table; empty if that is its replica identity."""
        known = self._tables.get(table)
        return self._keys.get(table) or (known.key if known is not None else ())

    async def _new_snapshot(self) -> Snapshot:
        session, _ = self._connected()
        return Snapshot(session, list(self._tables.values()), await type_catalogue(session), self._keys)
