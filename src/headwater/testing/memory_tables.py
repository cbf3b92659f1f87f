"""Materialized tables whose rows a test gives, read as those of a project are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headwater.jobs.cells import Cell
from headwater.jobs.tables.materialized import ROW, MaterializedTable
from headwater.jobs.tables.reader import TableReader, Tables

Rows = Mapping[Any, Mapping[str, Any]]


def tables_in_memory(tables: Mapping[str, Any]) -> Tables:
    """Name → rows by key, as `context.table` reads them. Changes of the rows are seen by the next read.

    A value that is no mapping is handed out as it is: a reader of the test's own.
    """

    def reader(table: MaterializedTable) -> Any:
        rows = tables[table.name]
        if not isinstance(rows, Mapping):
            return rows
        state = _RowsOfTest(table, rows)
        return TableReader(table, state.get, state.scan)

    known = {name: MaterializedTable(name) for name in tables}
    return Tables(known, reader, otherwise="Give the test one: tables={NAME: {KEY: ROW}}.")


class _RowsOfTest:
    def __init__(self, table: MaterializedTable, rows: Rows) -> None:
        self._table = table
        self._rows = rows

    def get(self, namespace: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        cells = self._cells()
        return {key: cells[key] for key in keys if key in cells}

    def scan(self, namespace: str, after: bytes, rows_max: int) -> list[tuple[bytes, bytes]]:
        return sorted(item for item in self._cells().items() if item[0] > after)[:rows_max]

    def _cells(self) -> dict[bytes, bytes]:
        cells = ((key, Cell.of({ROW: row}).encode()) for key, row in self._rows.items())
        return {self._table.encoded(key): cell for key, cell in cells if cell is not None}
