"""The kinds of jobs that `headwater job new` creates."""

from __future__ import annotations

from typing import Literal

# function: an output for each event. state: a count per key. window: counts per key and hour. lookup: asks a service.
# sql: a query that never ends. table: the newest event of each key as a row of a database. materialized: the same as
# the state of a job, which other jobs read.
Kind = Literal["function", "state", "window", "lookup", "sql", "table", "materialized"]
KINDS: tuple[Kind, ...] = ("function", "state", "window", "lookup", "sql", "table", "materialized")
NEED_KEY: frozenset[Kind] = frozenset({"state", "window", "table", "materialized"})
TABLES: frozenset[Kind] = frozenset({"table", "materialized"})
