"""Views of tables in stores that cannot sort: rows are read as they come and sorted here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headwater.connectors.contract import TableShape
from headwater.connectors.tables import TableView

# So many rows are read to be sorted; of a larger table these are any.
SORTED_ROWS_MAX = 10_000


def sorted_view(
    shape: TableShape, rows: Sequence[tuple[Any, ...]], rows_total: int, rows_max: int, order: str = ""
) -> TableView:
    """The first `rows_max` of the rows in `order`, by default the shape's. Absent values sort first.

    Raises JobInvalid if `order` has something else than columns.
    """
    ordered = list(rows)
    # Sorting is stable: the most significant term is the last to be sorted by.
    for name, descending in reversed(shape.order_terms(order or shape.order)):
        at = shape.column_names.index(name)
        ordered.sort(key=lambda row: (row[at] is not None, row[at]), reverse=descending)
    return TableView(shape.name, shape.column_names, ordered[:rows_max], rows_total)
