"""A view of a table for people: its columns, some rows, and their total number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TableView:
    """Some rows of a table, values in the order of `columns`; `rows_total` counts all rows."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    rows_total: int
