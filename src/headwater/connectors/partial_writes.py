"""What becomes of the events of a batch when a target without transactions has taken only some of its rows.

How this works: of the events of one key only the newest is written. If that is rejected, the others may still be
written, and if it must be written again, they may be needed when it is rejected then: they remain with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from headwater.connectors.contract import Delivery, TableShape
from headwater.connectors.rows import RowReader, is_delete
from headwater.errors import EventMalformed, WriteIncomplete


def incomplete(
    shape: TableShape,
    deliveries: Sequence[Delivery],
    *,
    rejected: Mapping[int, Exception],
    retry: Collection[int] = (),
    back_off_seconds: float = 0.0,
    message: str = "",
) -> WriteIncomplete:
    """The error to raise about a write: `rejected` and `retry` name rows by the index of their event in the batch."""
    keys = _keys(shape, deliveries) if shape.key else {}
    unwritten = {keys[index] for index in (*rejected, *retry) if index in keys}
    again = {index for index, key in keys.items() if key in unwritten} | set(retry)
    return WriteIncomplete(
        rejected=rejected, retry=again - rejected.keys(), back_off_seconds=back_off_seconds, message=message
    )


def _keys(shape: TableShape, deliveries: Sequence[Delivery]) -> dict[int, tuple[Any, ...]]:
    """The key of each event that can be a row or a deletion, by its index."""
    reader = RowReader(shape)
    positions = [shape.column_names.index(name) for name in shape.key]
    keys = {}
    for index, delivery in enumerate(deliveries):
        try:
            if is_delete(shape, delivery):
                keys[index] = reader.deletion(delivery)[: len(shape.key)]
            else:
                row = reader.row(delivery)
                keys[index] = tuple(row[at] for at in positions)
        except EventMalformed:
            continue
    return keys
