"""The rows of a table that a run over history fills, kept with its state until the end, then written as JSON lines.

How this works: a row replaces the one with its key as in a database (`headwater.connectors.rows`). What is kept of a
deleted row is its version, in an object. Without a key every event is a row, which is written at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from headwater.connectors.contract import Delivery, TableShape
from headwater.connectors.rows import Row, RowReader, age_of
from headwater.event import decode_json, encode_json
from headwater.log.contract import StateChange
from headwater.processing.stores.contract import OnRejected
from headwater.schemas.json_value import identity

NAMESPACE = "headwater.table"

Get = Callable[[str, Sequence[bytes]], Mapping[bytes, bytes]]
Scan = Callable[[str, bytes, int], Sequence[tuple[bytes, bytes]]]
PAGE_ROWS = 1_000
_DELETED = "deleted_at_version"


class TableRows:
    """The table of one run; what a `RowTarget` is to the loop."""

    token_in_target = True

    def __init__(self, shape: TableShape) -> None:
        self.on_rejected: OnRejected | None = None
        self._shape = shape
        self._rows = RowReader(shape)
        self._key = [shape.column_names.index(name) for name in shape.key]
        self._nested = {index for index, column in enumerate(shape.columns) if column.type == "json"}

    def check(self, delivery: Delivery) -> None:
        self._rows.check(delivery)

    async def ready(self, token: str) -> None:
        """Files accept every row."""

    async def set_aside(self) -> str | None:
        return None

    def written(self, deliveries: Sequence[Delivery], get: Get) -> tuple[list[StateChange], list[bytes]]:
        """The changes of the state that keep these rows, and the lines to write at once. They were checked."""
        batch = self._rows.batch(deliveries)
        if not self._key:
            return [], [self._line(row) for _, row in batch.rows]
        changes = [*map(self._kept, batch.rows), *map(self._deleted, batch.deletes)]
        before = get(NAMESPACE, [key for key, _, _ in changes])
        return [
            StateChange(NAMESPACE, key, encode_json(value))
            for key, version, value in changes
            if key not in before or self._is_newer(version, decode_json(before[key]))
        ], []

    def lines(self, scan: Scan) -> Iterator[bytes]:
        """The final rows of a table with a key, without deleted ones, in order of the JSON of their keys."""
        after = b""
        deleted = None if not self._shape.deleted else self._shape.column_names.index(self._shape.deleted)
        while page := scan(NAMESPACE, after, PAGE_ROWS):
            rows = [row for row in (decode_json(row) for _, row in page) if isinstance(row, list)]
            yield from (self._line(row) for row in rows if deleted is None or not row[deleted])
            after = page[-1][0]

    def _kept(self, row: Row) -> tuple[bytes, Any, Any]:
        """The key of a row, its version, and what is stored of it."""
        values = row[1]
        return identity([values[index] for index in self._key]), self._version(values), values

    def _deleted(self, deletion: Row) -> tuple[bytes, Any, Any]:
        values = deletion[1]
        version = values[-1] if self._shape.version else None
        return identity(list(values[: len(self._key)])), version, {_DELETED: version}

    def _version(self, values: Sequence[Any]) -> Any:
        return values[self._shape.column_names.index(self._shape.version)] if self._shape.version else None

    def _is_newer(self, version: Any, stored: Any) -> bool:
        present = stored[_DELETED] if isinstance(stored, dict) else self._version(stored)
        return present is None or bool(age_of(version) >= age_of(present))

    def _line(self, row: Sequence[object]) -> bytes:
        names = self._shape.column_names
        values = (
            decode_json(value) if index in self._nested and isinstance(value, str) else value
            for index, value in enumerate(row)
        )
        return encode_json(dict(zip(names, values, strict=True)))
