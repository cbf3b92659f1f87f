"""The Iceberg sink: events become rows of a table in any catalog of PyIceberg, committed together with the token.

How this works: each batch is one commit, with the token in its snapshot (see `commits`). Before it, the token that is
there is compared with the one that this sink knows: a process that was replaced finds its successor's, and writes
nothing. A commit that fails because others have committed, such as an engine that merges files, is made again, on what
is there then. After an answer that was lost, the next write finds the token of its own batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from headwater.connectors.contract import Column, Delivery, SinkFeatures, TableShape
from headwater.connectors.rows import Batch, RowReader, name_aside
from headwater.connectors.sinks.iceberg.catalog_table import CatalogTable
from headwater.connectors.sinks.iceberg.columns import alterations, creation, shown_values
from headwater.connectors.sinks.iceberg.commits import commit, token_of
from headwater.connectors.sinks.iceberg.files import DataFiles, planned
from headwater.connectors.sinks.iceberg.maintenance import maintain
from headwater.connectors.sinks.iceberg.merging import DELETED_BRANCH, BranchChange, changes_of
from headwater.connectors.sinks.iceberg.options import IcebergOptions
from headwater.connectors.sinks.iceberg.widening import widen
from headwater.connectors.sorted_views import SORTED_ROWS_MAX, sorted_view
from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.connectors.sql_table import require_own
from headwater.connectors.tables import TableView
from headwater.errors import WriteIncomplete

FEATURES = SinkFeatures(token_in_target=True, upsert=True, deletes=True)

_T = TypeVar("_T")


class IcebergSink:
    """Fills one table."""

    features = FEATURES

    def __init__(self, options: IcebergOptions, shape: TableShape, directory: Path) -> None:
        """Raises ConfigInvalid if the table cannot be partitioned as the options say."""
        self.shape = shape
        self._rows = RowReader(shape)
        self._options = options
        self._table = CatalogTable(options, shape, directory)
        # The token that the table had when this sink read or wrote it last.
        self._known: str | None = None
        self._maintained_at = 0.0
        self._working = ThreadPoolExecutor(1, thread_name_prefix=f"iceberg-{shape.name}")
        self._reading = threading.Lock()

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
        await self._on(lambda: self._table.again(lambda table: self._widen(table, columns)))

    async def set_aside(self) -> str | None:
        return await self._on(lambda: self._table.again(self._set_aside))

    async def close(self) -> None:
        await self._on(self._table.close)

    def view(self, rows_max: int, order: str = "") -> TableView:
        """As `Readable`. 10,000 rows are sorted; a column that the table is about to get is empty."""
        self.shape.order_terms(order)
        names = self.shape.column_names
        with self._reading, self._table.translated():
            table = self._table.load()
            there = {field.name for field in table.schema().fields}
            selected = tuple(name for name in names if name in there)
            found = table.scan(selected_fields=selected, limit=max(rows_max, SORTED_ROWS_MAX)).to_arrow()
            total = table.scan().count()
        empty = [None] * found.num_rows
        columns = [shown_values(found.column(name)) if name in there else empty for name in names]
        return sorted_view(self.shape, list(zip(*columns, strict=True)), total, rows_max, order)

    async def _on(self, work: Callable[[], _T]) -> _T:
        with self._table.translated():
            return await asyncio.get_running_loop().run_in_executor(self._working, work)

    def _open(self) -> str | None:
        self._known = token_of(self._table.open().metadata)
        self._maintained_at = time.monotonic()
        return self._known

    def _write(self, batch: Batch, token: str) -> None:
        def write(table: Table) -> Table:
            if token_of(table.metadata) != token:
                self._require_own(table)
                with self._files(table) as files:
                    changes = changes_of(table, self.shape, batch, files)
                commit(table, token, changes, files)
            return table

        table = self._table.again(write)
        self._known = token
        interval = self._options.maintenance_seconds
        if interval is not None and time.monotonic() - self._maintained_at >= interval:
            maintain(table, self._options)
            self._maintained_at = time.monotonic()

    def _widen(self, table: Table, columns: Sequence[Column]) -> None:
        self._require_own(table)
        widen(table, self.shape, columns, self._known, self._options.file_bytes_max)

    def _set_aside(self, table: Table) -> str | None:
        self._require_own(table)
        other = None
        if table.scan().count():
            other = name_aside(self.shape.name)
            self._table.move(table, other)
        else:
            deleted = [task.file for task in planned(table, DELETED_BRANCH)]
            changes = [BranchChange(MAIN_BRANCH, (), ()), BranchChange(DELETED_BRANCH, deleted, ())]
            commit(table, "", changes if deleted else changes[:1], self._files(table))
        self._known = None
        return other

    def _files(self, table: Table) -> DataFiles:
        return DataFiles(table.io, table.metadata, self._options.file_bytes_max)

    def _require_own(self, table: Table) -> None:
        require_own(self.shape.name, self._options.place, token_of(table.metadata), self._known)


SPEC = SinkSpec(
    name="iceberg",
    summary="Rows of an Iceberg table, in any catalog that PyIceberg knows.",
    options=IcebergOptions,
    make=IcebergSink,
    features=FEATURES,
    statements=lambda options, shape: creation(shape, options.partition_column, options.partition_by),
    describe=lambda options, shape, directory: CatalogTable(options, shape, directory).describe(),
    alterations=lambda options, change: alterations(change),
    extra="iceberg",
    example='catalog: {type: sql, uri: "sqlite:///var/catalog.db", warehouse: var/warehouse}',
    batch=BatchDefaults(rows_max=100_000, bytes_max=67_108_864, seconds_max=60.0),
)
