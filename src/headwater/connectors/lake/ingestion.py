"""Ingests the events of one stream into a table of the lake: hourly Parquet files, without repeated events.

How this works: canaries are not stored; they prove that an hour has all of its events. Ids are remembered on disk, and
those of a commit before it is made. Everything else that has to be known is part of the commit itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.connectors.contract import Delivery, EventShape
from headwater.connectors.lake.commits import Head, TableDirectory
from headwater.connectors.lake.event_rows import arrow_columns, evolved, ids_in, lake_row, undeclared
from headwater.connectors.lake.file_system import FileSystem
from headwater.connectors.lake.formats import UNFIT, Format, parquet
from headwater.connectors.lake.hour_ids import HourIds
from headwater.connectors.lake.layout import HOUR_MS, hour_place, lake_time_ms
from headwater.connectors.lake.options import FEATURES, LakeOptions, OnStored
from headwater.connectors.lake.seen_ids import SeenIds, digest
from headwater.connectors.lake.state import LakeState, columns_of, columns_text
from headwater.connectors.lake.storage import file_system
from headwater.connectors.lake.writer import Commit, TableWriter
from headwater.errors import EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.event import CANARY_DOMAIN, get_path


@dataclass(slots=True)
class _Batch:
    """What a write adds: rows by hour, each with its index, and the digests of new ids."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    indexes: dict[str, list[int]] = field(default_factory=dict)
    ids: dict[bytes, None] = field(default_factory=dict)
    rejected: dict[int, Exception] = field(default_factory=dict)


class LakeSink:
    """Stores the events of one stream in a table of the lake. It is not read through this, but as files."""

    features = FEATURES

    def __init__(
        self, shape: EventShape, options: LakeOptions, directory: Path, *, files: FileSystem | None = None
    ) -> None:
        """`files`: instead of those that the options name."""
        self.shape = shape
        self.on_stored: OnStored = lambda stored: None
        self._files = files
        self._options = options
        self._directory = directory
        self._writer: TableWriter | None = None
        self._format: Format | None = None
        self._hours: HourIds | None = None
        self._ids = SeenIds(directory / options.state / f"{options.table}.ids.db", options.look_back_seconds)
        self._columns = ""

    async def open(self) -> str | None:
        return await asyncio.to_thread(self._open)

    def check(self, delivery: Delivery) -> None:
        if get_path(delivery.value, "meta.domain") != CANARY_DOMAIN:
            self._time_ms(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        await asyncio.to_thread(self._write, deliveries, token)

    async def set_aside(self) -> str | None:
        return await asyncio.to_thread(self._set_aside)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _open(self) -> str | None:
        self._close()
        files = self._files or file_system(self._options.location, self._options, self._directory)
        table = TableDirectory(files, self._options.table)
        new = arrow_columns(self._options.columns)
        writer = TableWriter(table, parquet(new))
        head = writer.open()
        columns = new
        if head is not None and head.facts.get("columns"):
            columns = evolved(self._options.table, columns_of(head.facts["columns"]), new)
        self._format = parquet(columns)
        self._columns = columns_text(columns)
        self._writer = TableWriter(table, self._format)
        self._writer.open()
        self._hours = HourIds(table.read)
        self._open_ids(head)
        self.on_stored(LakeState({} if head is None else head.facts, self._options.datacenters).stored())
        return None if head is None else head.token

    def _open_ids(self, head: Head | None) -> None:
        number = 0 if head is None else head.number
        known = self._ids.open()
        self._ids.take_back(number)
        if head is not None and known < head.facts.get("ids", 0):
            self._read_ids()

    def _read_ids(self) -> None:
        """Remember the ids that are in the table: the file of this machine is older, or there is none."""
        assert self._writer is not None
        self._ids.clear()
        since_ms = self._ids.since_ms()
        table = self._writer.table
        for place in table.places():
            manifest = table.manifest(place)
            for name, part in manifest.files.items():
                if part.written_ms < since_ms or (content := table.read(place, name)) is None:
                    continue
                self._ids.add([digest(one) for one in ids_in(content)], manifest.commit, part.written_ms)
        self._ids.add([], self._writer.number)

    def _write(self, deliveries: Sequence[Delivery], token: str) -> None:
        writer, head = self._begun(token)
        if head is not None and head.token == token:
            return
        state = LakeState({} if head is None else head.facts, self._options.datacenters)
        state.columns = self._columns
        self._ids.take_back(writer.number)
        batch = self._batch(deliveries, state)
        if batch.rejected:
            raise WriteIncomplete(rejected=batch.rejected)
        complete = state.completed(token, batch.rows.keys())
        number = writer.number + 1
        facts = state.facts() | {"ids": number if batch.ids else (0 if head is None else head.facts.get("ids", 0))}
        if batch.ids:
            self._ids.add(batch.ids, number)
        try:
            writer.commit(Commit(token, batch.rows, facts, complete))
            self.on_stored(state.stored())
        except UNFIT:
            rejected = self._unfit(batch)
            if not rejected:
                raise
            raise WriteIncomplete(rejected=rejected) from None

    def _batch(self, deliveries: Sequence[Delivery], state: LakeState) -> _Batch:
        """The rows of a write: no canaries, no events that were stored already."""
        batch = _Batch()
        ids = [delivery.event_id for delivery in deliveries if delivery.event_id is not None]
        known = self._ids.known(ids)
        older: dict[str, list[frozenset[bytes]]] = {}
        for index, delivery in enumerate(deliveries):
            try:
                at_ms = self._time_ms(delivery)
                if get_path(delivery.value, "meta.domain") == CANARY_DOMAIN:
                    # The clock of who sends canaries is not believed if it is ahead.
                    state.saw_canary(delivery.partition, min(at_ms, delivery.timestamp_ms or at_ms) // HOUR_MS)
                    continue
                one = None if delivery.event_id is None else digest(delivery.event_id)
                if one is not None and (one in known or one in batch.ids):
                    state.duplicates += 1
                    continue
                place = hour_place(self._datacenter(delivery), at_ms // HOUR_MS)
                if one is not None and any(one in ids for ids in self._older_ids(place, older)):
                    state.duplicates += 1
                    continue
                row = lake_row(delivery.value, self._options.columns)
            except EventMalformed as error:
                batch.rejected[index] = error
                continue
            if one is not None:
                batch.ids[one] = None
            batch.rows.setdefault(place, []).append(row)
            batch.indexes.setdefault(place, []).append(index)
            state.saw_undeclared(undeclared(delivery.value, self._options.columns))
        return batch

    def _older_ids(self, place: str, older: dict[str, list[frozenset[bytes]]]) -> list[frozenset[bytes]]:
        """The ids of an hour that are not remembered otherwise; `older` has those of the hours of this write."""
        found = older.get(place)
        if found is None:
            assert self._writer is not None
            assert self._hours is not None
            found = older[place] = self._hours.older(place, self._writer.manifest(place), self._ids.since_ms())
        return found

    def _unfit(self, batch: _Batch) -> dict[int, Exception]:
        """The rows that the format does not take, by their index in the write."""
        assert self._format is not None
        found: dict[int, Exception] = {}
        for place, rows in batch.rows.items():
            for index, row in zip(batch.indexes[place], rows, strict=True):
                try:
                    self._format.encoded([row])
                except UNFIT as error:
                    found[index] = EventMalformed(
                        f"The event does not fit the columns of {self._options.table}: {error}"
                    )
        return found

    def _time_ms(self, delivery: Delivery) -> int:
        at_ms = lake_time_ms(delivery.value, legacy=self._options.legacy)
        if at_ms is None:
            where = "dt or meta.dt" if self._options.legacy else "meta.dt"
            raise EventMalformed(f"The event has no time at {where}, which says in which hour it is stored.")
        return at_ms

    def _datacenter(self, delivery: Delivery) -> str:
        topic = delivery.partition.rpartition("/")[0]
        return self._options.datacenters.get(topic, "default")

    def _begun(self, token: str) -> tuple[TableWriter, Head | None]:
        if self._writer is None:
            raise SinkUnavailable(f"The table {self._options.table} of the lake is not open.")
        return self._writer, self._writer.begin(token)

    def _set_aside(self) -> str | None:
        if self._writer is None:
            raise SinkUnavailable(f"The table {self._options.table} of the lake is not open.")
        aside = self._writer.set_aside()
        self._ids.clear()
        self._hours = HourIds(self._writer.table.read)
        return aside

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._ids.close()
