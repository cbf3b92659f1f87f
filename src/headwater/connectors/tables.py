"""What people are shown of a target: some rows of a table, and the state of what has no columns."""

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


@dataclass(frozen=True, slots=True)
class TargetState:
    """What a look at a target without columns has found: `found`, a sentence.

    `makes`: what opening the sink makes there, each as a statement or in words; nothing if all is there, or if nothing
    is made in advance. `problem`: why the sink cannot be opened as it is configured.
    """

    found: str
    makes: tuple[str, ...] = ()
    problem: str | None = None
