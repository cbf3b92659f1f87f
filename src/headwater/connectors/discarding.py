"""What a sink leaves out of events by its contract: rows, or values, for which the table has no column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.evolution import Contract
from headwater.connectors.rows import RowReader, is_delete
from headwater.errors import EventMalformed
from headwater.event import get_path

# How many rows, or values, were left out of what has been written.
OnDiscarded = Callable[[Literal["rows", "values"], int], None]


class Discarding:
    """Leaves out what does not fit `shape`, and what would be in the columns `left_out`, if the contract says so.

    Key and version are never left out. Used by one task at a time.
    """

    def __init__(
        self, shape: TableShape, left_out: Sequence[Column], contract: Contract, on_discarded: OnDiscarded
    ) -> None:
        self._shape = shape
        self._left_out = tuple(left_out)
        self._of_rows = contract == "discard_row"
        self.is_active = contract in ("discard_row", "discard_value")
        self._on_discarded = on_discarded
        needed = {*shape.key, shape.version}
        # A table of each column alone, to find the ones that an event does not fit.
        self._columns = [
            (column.path, RowReader(TableShape(shape.name, (column,))))
            for column in shape.columns
            if column.name not in needed
        ]
        self._rows_of = RowReader(shape)
        self._rows = self._values = 0

    def stripped(self, delivery: Delivery) -> Delivery:
        """The event without the values that do not fit their columns."""
        if not self.is_active or not (paths := self._unfit(delivery)):
            return delivery
        value = delivery.value
        for path in paths:
            value = _without(value, path.split("."))
        return delivery._replace(value=value)

    def kept(self, deliveries: Sequence[Delivery]) -> list[tuple[int, Delivery]]:
        """What is to be written, with the index of each event."""
        if not self.is_active:
            return list(enumerate(deliveries))
        self._rows = self._values = 0
        kept = []
        for index, delivery in enumerate(deliveries):
            unfit = len(self._unfit(delivery))
            unfit += sum(get_path(delivery.value, column.path) is not None for column in self._left_out)
            if unfit and self._of_rows:
                self._rows += 1
            else:
                self._values += unfit
                kept.append((index, self.stripped(delivery)))
        return kept

    def written(self) -> None:
        """What `kept` returned last has been written: report what was left out."""
        for what, count in (("rows", self._rows), ("values", self._values)):
            if count:
                self._on_discarded("rows" if what == "rows" else "values", count)
        self._rows = self._values = 0

    def _unfit(self, delivery: Delivery) -> list[str]:
        """The paths of the values that do not fit their columns."""
        if is_delete(self._shape, delivery) or _fits(self._rows_of, delivery):
            return []
        return [path for path, reader in self._columns if not _fits(reader, delivery)]


def _fits(reader: RowReader, delivery: Delivery) -> bool:
    try:
        reader.row(delivery)
    except EventMalformed:
        return False
    return True


def _without(value: Mapping[str, Any], parts: Sequence[str]) -> Mapping[str, Any]:
    inner = value.get(parts[0])
    if len(parts) > 1 and isinstance(inner, Mapping):
        return {**value, parts[0]: _without(inner, parts[1:])}
    return {name: one for name, one in value.items() if name != parts[0]}
