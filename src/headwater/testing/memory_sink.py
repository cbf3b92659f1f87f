"""A sink in memory, for tests: a target that outlives the sinks on it, with its token in the target or without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headwater.connectors.contract import Delivery, SinkFeatures, TableShape
from headwater.connectors.rows import is_newer, latest_rows, name_aside, row_of
from headwater.connectors.sorted_views import sorted_view
from headwater.connectors.tables import TableView
from headwater.errors import SinkUnavailable, WriteIncomplete, WriterFenced

WITH_TOKEN = SinkFeatures(token_in_target=True, upsert=True)
WITHOUT_TOKEN = SinkFeatures(token_in_target=False, upsert=True)


class MemoryTarget:
    """The tables of one database, with the token of each if it stores one."""

    def __init__(self, features: SinkFeatures = WITHOUT_TOKEN) -> None:
        self.features = features
        self.tables: dict[str, dict[Any, tuple[Any, ...]]] = {}
        self.tokens: dict[str, str] = {}


class MemorySink:
    """Fills one table of `target`."""

    def __init__(self, target: MemoryTarget, shape: TableShape) -> None:
        self.shape = shape
        self.features = target.features
        self._target = target
        self._rows: dict[Any, tuple[Any, ...]] | None = None
        self._known: str | None = None

    async def open(self) -> str | None:
        self._rows = self._target.tables.setdefault(self.shape.name, {})
        self._known = self._target.tokens.get(self.shape.name)
        return self._known

    def check(self, delivery: Delivery) -> None:
        row_of(self.shape, delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        there = self._opened()
        rows, rejected = latest_rows(self.shape, deliveries)
        if self.features.token_in_target:
            if rejected:
                raise WriteIncomplete(rejected=rejected)
            if self._target.tokens.get(self.shape.name) == token:
                self._known = token
                return
            self._require_own()
            self._target.tokens[self.shape.name] = self._known = token
        for _, values in rows:
            key = self._key(values)
            if key not in there or is_newer(self.shape, values, there[key]):
                there[key] = values
        if rejected:
            raise WriteIncomplete(rejected=rejected)

    async def set_aside(self) -> str | None:
        there = self._opened()
        if self.features.token_in_target:
            self._require_own()
        self._target.tokens.pop(self.shape.name, None)
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
