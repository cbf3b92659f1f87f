"""A sink in memory, for tests: a target that outlives the sinks on it, with its token in the target or without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headwater.connectors.contract import Delivery, SinkFeatures, TableShape
from headwater.connectors.rows import RowReader, age_of, name_aside
from headwater.connectors.sorted_views import sorted_view
from headwater.connectors.tables import TableView
from headwater.errors import SinkUnavailable, WriteIncomplete, WriterFenced

WITH_TOKEN = SinkFeatures(token_in_target=True, upsert=True, deletes=True)
WITHOUT_TOKEN = SinkFeatures(token_in_target=False, upsert=True, deletes=True)


class MemoryTarget:
    """The tables of one database, with the token of each if it stores one."""

    def __init__(self, features: SinkFeatures = WITHOUT_TOKEN) -> None:
        self.features = features
        self.tables: dict[str, dict[Any, tuple[Any, ...]]] = {}
        # Of each table, the versions of the keys that were deleted.
        self.deleted: dict[str, dict[Any, Any]] = {}
        self.tokens: dict[str, str] = {}


class MemorySink:
    """Fills one table of `target`."""

    def __init__(self, target: MemoryTarget, shape: TableShape) -> None:
        self.shape = shape
        self.features = target.features
        self._target = target
        self._rows: dict[Any, tuple[Any, ...]] | None = None
        self._reader = RowReader(shape)
        self._known: str | None = None

    async def open(self) -> str | None:
        self._rows = self._target.tables.setdefault(self.shape.name, {})
        self._known = self._target.tokens.get(self.shape.name)
        return self._known

    def check(self, delivery: Delivery) -> None:
        self._reader.check(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        there = self._opened()
        rows, deletes, rejected = self._reader.batch(deliveries)
        if self.features.token_in_target:
            if rejected:
                raise WriteIncomplete(rejected=rejected)
            if self._target.tokens.get(self.shape.name) == token:
                self._known = token
                return
            self._require_own()
            self._target.tokens[self.shape.name] = self._known = token
        deleted = self._target.deleted.setdefault(self.shape.name, {})
        for _, values in rows:
            key = self._key(values)
            if self._is_newest(key, self._version(values)):
                there[key] = values
        for _, values in deletes:
            key, version = values[: len(self.shape.key)], values[-1] if self.shape.version else None
            if self._is_newest(key, version):
                there.pop(key, None)
                deleted[key] = version
        if rejected:
            raise WriteIncomplete(rejected=rejected)

    async def set_aside(self) -> str | None:
        there = self._opened()
        if self.features.token_in_target:
            self._require_own()
        self._target.tokens.pop(self.shape.name, None)
        self._target.deleted.pop(self.shape.name, None)
        self._known = None
        if not there:
            return None
        other = name_aside(self.shape.name)
        self._target.tables[other] = there
        self._rows = self._target.tables[self.shape.name] = {}
        return other

    async def close(self) -> None:
        self._rows = None

    def view(self, rows_max: int, order: str = "") -> TableView:
        rows = [self._wide(row) for row in self._opened().values()]
        return sorted_view(self.shape, rows, len(rows), rows_max, order)

    def _key(self, values: tuple[Any, ...]) -> Any:
        """The key of a row; without one, a number of its own."""
        names = self.shape.column_names
        return tuple(values[names.index(name)] for name in self.shape.key) or len(self._opened())

    def _version(self, values: tuple[Any, ...]) -> Any:
        """The version of a row; None without one, and for a row that is older than its column."""
        return self._wide(values)[self.shape.column_names.index(self.shape.version)] if self.shape.version else None

    def _is_newest(self, key: Any, version: Any) -> bool:
        """Whether neither a row nor a deletion of the key is newer than this version."""
        present = [self._target.deleted[self.shape.name].get(key)]
        if key in self._opened():
            present.append(self._version(self._opened()[key]))
        return all(one is None or age_of(version) >= age_of(one) for one in present)

    def _wide(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """A row that is older than a column has no value for it."""
        return values + (None,) * (len(self.shape.columns) - len(values))

    def _require_own(self) -> None:
        if self._target.tokens.get(self.shape.name) != self._known:
            raise WriterFenced(f"Another sink has written the table {self.shape.name} since this one was opened.")

    def _opened(self) -> dict[Any, tuple[Any, ...]]:
        if self._rows is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        return self._rows
