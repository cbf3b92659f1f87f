"""The PostgreSQL source: a snapshot of tables, then each of their changes, as events of the project's streams.

How this works: a publication names the tables, and a replication slot makes the server keep its log until it is
confirmed. A token is a place in that log. What is delivered is confirmed when it is stored, and only then may the
server delete it. While nothing comes, the server says how far it has read its log: that place is the token of an empty
batch, so that an idle database does not keep its log for this source either.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from headwater.backoff import Backoff
from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.connectors.row_changes.events import RowEvents, with_key
from headwater.connectors.row_changes.places import tokens
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


class PostgresCdc:
    """Reads the tables that `options` names. `name` is that of the source."""

    features = FEATURES

    def __init__(self, options: PostgresCdcOptions, name: str) -> None:
        """Raises ConfigInvalid."""
        self._options = options
        self._name = name
        self._slot = slot_name(options, name)
        self._publication = publication_name(options, name)
        self._declared = tables_of(options)
        self._keys = {one.table: one.key for one in self._declared if one.key}
        self._session: Session | None = None
        self._connection: ReplicationConnection | None = None
        self._snapshot: Snapshot | None = None
        self._streaming: Streaming | None = None
        self._tables: Mapping[str, Table] = {}
        self._withheld: Counter[tuple[str, str]] = Counter()
        self._events = RowEvents(name, self._declared, self._report_withheld, self._withheld)
        # After what was delivered, or where the server has nothing to send; None if it is closed.
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
            await self._connect()
            self._place = await self._begun() if place is None else await self._resumed(place)
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
            if self._snapshot is None and self._streaming is None:
                await self._connect()
                await self._resumed(before)
            if before.snapshot is not None:
                batch = await self._read_snapshot(before, deliveries_max)
                if batch.deliveries:
                    return batch
            return await self._read_stream(self._place or before, deliveries_max, wait_seconds)
        except BaseException as error:
            if isinstance(error, SourceUnavailable) or self._streaming is None or not self._streaming.is_whole:
                # What was taken and not delivered is read again.
                await self._disconnect()
                self._place = before
            raise

    async def confirm(self, token: str) -> None:
        """The server may delete what precedes `token`. Raises TokenInvalid; a connection that is lost is no failure:
        whatever is confirmed later includes this."""
        place = Place.parse(token)
        if place.snapshot is None and self._streaming is not None:
            self._streaming.confirm(place.lsn)

    async def close(self) -> None:
        await self._disconnect()
        self._place = None

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

    async def _connect(self) -> None:
        await self._disconnect()
        seconds = self._options.connect_seconds_max
        self._session = session = await Session.connect(self._options.url, connect_seconds_max=seconds)
        await preparation.check_server(session)
        self._tables = await preparation.read_tables(session, [one.table for one in self._declared], self._keys)
        declared = [with_key(one, self._tables[one.table].key) for one in self._declared]
        self._events = RowEvents(self._name, declared, self._report_withheld, self._withheld)
        self._connection = await ReplicationConnection.connect(self._options.url, connect_seconds_max=seconds)

    async def _begun(self) -> Place:
        """The place before the first row of a new snapshot."""
        session, connection = self._connected()
        await preparation.ensure_publication(session, self._publication, self._tables)
        if await preparation.find_slot(session, self._slot, invalid_too=True) is not None:
            _log.info("Source %s: the replication slot %s is created again.", self._name, self._slot)
            await self._when_free(lambda: preparation.drop_slot(session, self._slot))
        system = await connection.system()
        first, exported = await connection.create_slot(self._slot)
        snapshot = await self._new_snapshot()
        place = await snapshot.begin(system, read_lsn(first), exported)
        self._snapshot = snapshot
        return place

    async def _resumed(self, place: Place) -> Place:
        session, connection = self._connected()
        if (system := await connection.system()) != place.system:
            raise PositionLost(
                f"The token is of another database cluster ({place.system}) than this one ({system}).",
                hint=preparation.NEW_SNAPSHOT.format(source=self._name),
            )
        slot = await preparation.find_slot(session, self._slot)
        preparation.check_position(slot, self._slot, place.lsn, self._name)
        await preparation.check_publication(session, self._publication, self._tables)
        if place.snapshot is not None:
            snapshot = await self._new_snapshot()
            await snapshot.resume(place)
            self._snapshot = snapshot
        else:
            await self._start_streaming(place)
        return place

    async def _start_streaming(self, place: Place) -> None:
        session, connection = self._connected()
        reader = ChangeReader(place.first_lsn, await type_catalogue(session), self._key_of)
        reader.skip(place.lsn, place.number)
        await self._when_free(lambda: connection.start(self._slot, place.lsn, self._publication))
        streaming = Streaming(session, connection, reader, place, tables=self._tables, make=self._events.delivery)
        streaming.start_tasks(self._options, self._publication)
        self._streaming = streaming

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

    async def _disconnect(self) -> None:
        streaming, connection, session = self._streaming, self._connection, self._session
        self._streaming, self._snapshot, self._connection, self._session = None, None, None, None
        if streaming is not None:
            await streaming.end()
        for one in (connection, session):
            if one is not None:
                with contextlib.suppress(Exception):
                    await one.close()

    def _connected(self) -> tuple[Session, ReplicationConnection]:
        if self._session is None or self._connection is None:
            raise SourceUnavailable("The source is not connected.")
        return self._session, self._connection

    async def _read_snapshot(self, before: Place, deliveries_max: int) -> SourceBatch:
        """The next rows; none at the end of the snapshot, where the stream begins."""
        snapshot = self._snapshot
        assert snapshot is not None
        deliveries: list[Delivery] = []
        places: list[Place] = []
        while rows := await snapshot.read(deliveries_max):
            for row in rows:
                if (delivery := self._events.delivery(row.change)) is not None:
                    deliveries.append(delivery)
                    places.append(row.place)
            self._place = snapshot.place
            if deliveries:
                return SourceBatch(deliveries, tokens(before, places, snapshot.place), "snapshot")
        await snapshot.end()
        self._place = dataclasses.replace(before, snapshot=None)
        self._snapshot = None
        await self._start_streaming(self._place)
        return SourceBatch((), tokens(self._place, (), self._place))

    async def _read_stream(self, before: Place, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        streaming = self._streaming
        assert streaming is not None
        found = await streaming.read(deliveries_max, wait_seconds)
        self._place = streaming.place
        deliveries = [one.delivery for one in found]
        return SourceBatch(deliveries, tokens(before, [one.place for one in found], streaming.place))

    def _key_of(self, table: str) -> tuple[str, ...]:
        """The key of a table, where its replica identity does not say it."""
        known = self._tables.get(table)
        is_full = known is not None and known.identity == preparation.FULL
        return self._keys.get(table) or (known.key if known is not None and is_full else ())

    async def _new_snapshot(self) -> Snapshot:
        session, _ = self._connected()
        return Snapshot(session, list(self._tables.values()), await type_catalogue(session), self._keys)

    def _report_withheld(self, table: str, column: str, reason: str) -> None:
        what = f"a row of {table}" if column == "*" else f"the column {column} of {table}"
        _log.warning("Source %s withholds %s: %s.", self._name, what, reason)
