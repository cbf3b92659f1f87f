"""Reads the rows that were there before the changes that follow, table by table, in the order of their keys.

How this works: a consistent read has the place in the binary log at which it was taken: every change after that place
is in the log. The read ends with its connection. When the source is opened again, the rest is read as it is by then,
without the rows that were changed between: their keys are collected from the log first, and their changes come from
there again. If these are too many, rows are read here and come again in the log; the version that they have here is the
lower one.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from headwater.connectors.row_changes.capture import Step
from headwater.connectors.row_changes.change import RowChange
from headwater.connectors.sources.mysql_cdc import server
from headwater.connectors.sources.mysql_cdc.server import Table, row_key
from headwater.connectors.sources.mysql_cdc.token import Place, SnapshotPlace, gtids_text, read_gtids, version_of
from headwater.connectors.sources.mysql_cdc.values import Column, time_text
from headwater.errors import PositionLost, SourceRefused

# The most keys that are remembered of rows that were changed while the source was not open.
CHANGED_MAX = 1_000_000

# Types whose order is that of numbers, which their texts do not have.
_NUMBERED = ("enum", "set", "bit")

Changed = Collection[tuple[str, tuple[Any, ...]]]


class Snapshot:
    """The rows of `tables`, of which `keys` declares other keys than the primary ones. One task uses it."""

    def __init__(self, connection: Any, tables: Mapping[str, Table], keys: Mapping[str, tuple[str, ...]]) -> None:
        self._connection = connection
        self._tables = tuple(tables.values())
        self._keys = keys
        self._changed: Changed = ()
        self._timestamp_ms = 0
        self.place = Place("")

    async def begin(self) -> None:
        """Take a consistent read. Raises SourceRefused, SourceUnavailable."""
        self.place = await asyncio.to_thread(self._begun)

    async def resume(self, place: Place) -> None:
        """Read the rows that follow. Raises PositionLost if the table is not read any more."""
        assert place.snapshot is not None
        if place.snapshot.table not in [table.name for table in self._tables]:
            raise PositionLost(
                f"The snapshot of the table {place.snapshot.table} cannot be resumed: it is not read any more.",
                hint="Begin again with a new snapshot.",
            )
        await asyncio.to_thread(self._start_read)
        self.place = place

    def leave_out(self, changed: Changed) -> None:
        """Leave out the rows of these tables and primary keys."""
        self._changed = changed

    async def read(self, rows_max: int) -> list[Step[Place]]:
        """The next rows, at least one; none at the end of the snapshot."""
        return await asyncio.to_thread(self._rows, rows_max)

    async def end(self) -> None:
        """Let go of the tables, which cannot be altered while they are read."""
        await asyncio.to_thread(server.rows, self._connection, "COMMIT")

    def _begun(self) -> Place:
        self._start_read()
        status = dict(server.rows(self._connection, "SHOW STATUS LIKE 'binlog_snapshot_%%'", ()))
        file, position = status.get("Binlog_snapshot_file"), status.get("Binlog_snapshot_position")
        ((gtids,),) = server.rows(self._connection, "SELECT BINLOG_GTID_POS(%s, %s)", (file, int(position or 0)))
        if gtids is None:
            raise SourceRefused(
                f"MariaDB does not know the transactions before {file}:{position} of its binary log.",
                hint="Is gtid_domain_id configured, and the binary log enabled?",
            )
        return Place(gtids_text(read_gtids(gtids)), snapshot=SnapshotPlace(self._tables[0].name))

    def _rows(self, rows_max: int) -> list[Step[Place]]:
        while (at := self.place.snapshot) is not None:
            number = next(index for index, table in enumerate(self._tables) if table.name == at.table)
            table = self._tables[number]
            found = server.rows(self._connection, *_statement(table, at.after, rows_max))
            if found:
                read = [row for row in (self._read(table, values) for values in found) if row is not None]
                if read:
                    return read
            else:
                following = None if number + 1 == len(self._tables) else SnapshotPlace(self._tables[number + 1].name)
                self.place = Place(self.place.gtids, snapshot=following)
        return []

    def _start_read(self) -> None:
        server.rows(self._connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        server.rows(self._connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        ((now,),) = server.rows(self._connection, "SELECT floor(unix_timestamp(now(3)) * 1000)")
        self._timestamp_ms = int(now)

    def _read(self, table: Table, values: Sequence[Any]) -> Step[Place] | None:
        given = dict(zip(table.columns, values, strict=False))
        row = {name: table.columns[name].convert(value) for name, value in given.items()}
        after = tuple(written(value) for value in values[len(table.columns) :])
        self.place = Place(self.place.gtids, snapshot=SnapshotPlace(table.name, after))
        if (table.name, row_key(row, table.key)) in self._changed:
            return None
        change = RowChange(
            table.name,
            "insert",
            row,
            self._keys.get(table.name) or table.key,
            version_of(read_gtids(self.place.gtids)),
            self.place.gtids,
            timestamp_ms=self._timestamp_ms,
            is_snapshot=True,
        )
        return Step(change, self.place)


def _statement(table: Table, after: Sequence[str | int] | None, rows_max: int) -> tuple[str, list[Any]]:
    """The query of the rows behind a key: `a > x OR (a = x AND b > y)`, for which the index is used where it can be.
    Behind the columns are the values of the key, as they are compared."""
    names = [server.column_identifier(name) for name in table.key]
    compared = [_compared(name, table.columns[column]) for name, column in zip(names, table.key, strict=True)]
    exact = [_exact(name, table.columns[column]) for name, column in zip(names, table.key, strict=True)]
    conditions, values = [], []
    for number in range(len(names) if after is not None else 0):
        conditions.append(" AND ".join([f"{one} = %s" for one in compared[:number]] + [f"{compared[number]} > %s"]))
        values += [_read_back(value) for value in (after or ())[: number + 1]]
    columns = ", ".join([*map(server.column_identifier, table.columns), *exact])
    where = " WHERE " + " OR ".join(f"({one})" for one in conditions) if conditions else ""
    statement = f"SELECT {columns} FROM {server.identifier(table.name)}{where} ORDER BY {', '.join(names)} LIMIT %s"
    return statement.replace("%", "%%").replace("%%s", "%s"), [*values, rows_max]


def _compared(name: str, column: Column) -> str:
    """The value of a key in a condition: as its index orders it."""
    return f"({name} + 0)" if column.kind in _NUMBERED else name


def _exact(name: str, column: Column) -> str:
    """The value of a key as it is found again."""
    return f"CAST({name} AS DOUBLE)" if column.kind == "float" else _compared(name, column)


def written(value: Any) -> str | int:
    """A value of a key for a token."""
    match value:
        case bool() | int():
            return int(value)
        case bytes():
            return "b:" + base64.b64encode(value).decode()
        case Decimal():
            return f"d:{value}"
        case float():
            return f"f:{value!r}"
        case timedelta():
            return f"t:{time_text(value)}"
        case _:
            return f"t:{value}"


def _read_back(value: str | int) -> Any:
    if isinstance(value, int):
        return value
    kind, _, text = value.partition(":")
    match kind:
        case "b":
            return base64.b64decode(text)
        case "d":
            return Decimal(text)
        case "f":
            return float(text)
        case _:
            return text
