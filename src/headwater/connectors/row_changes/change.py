"""One change of one row of a database table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Operation = Literal["insert", "update", "delete", "truncate"]
OPERATIONS: tuple[Operation, ...] = ("insert", "update", "delete", "truncate")


class RowChange(NamedTuple):
    """What happened to one row.

    `table` is `schema.table`. `row` has the values by column, as JSON has them: the new ones or, of a row that was
    deleted, what is known of it, at least its key. `key` names the columns that identify the row, and may be empty.
    `version` grows with each change of a row and is larger than that of the snapshot. `position` is the place in the
    log of the database, as its tools write it; `number` counts the changes there. A row that is only read, because it
    was there before, is an insert with `is_snapshot`.
    """

    table: str
    operation: Operation
    row: Mapping[str, Any]
    key: tuple[str, ...]
    version: int
    position: str
    number: int = 0
    timestamp_ms: int = 0
    transaction: str = ""
    is_snapshot: bool = False
