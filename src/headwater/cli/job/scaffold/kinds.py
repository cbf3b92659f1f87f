"""The kinds of jobs that `headwater job new` creates."""

from __future__ import annotations

from typing import Literal

# function: an output for each event. state: a count per key. window: counts per key and hour. lookup: asks a service.
# sql: a query that never ends. table: the newest event of each key as a row.
Kind = Literal["function", "state", "window", "lookup", "sql", "table"]
KINDS: tuple[Kind, ...] = ("function", "state", "window", "lookup", "sql", "table")
NEED_KEY: frozenset[Kind] = frozenset({"state", "window", "table"})
