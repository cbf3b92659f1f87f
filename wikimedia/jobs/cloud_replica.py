"""The public copy of tables of a wiki's database, without what must not be seen, and one for queries by user."""

import logging
from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Each, Job
from headwater.jobs.tables.materialized import STEP, MaterializedTable
from headwater.jobs.tables.newest import NewestRow

from ..content.public_rows import PublicRows

SOURCE = "mediawiki.row_change.v1"
# How long an older change of a deleted row is recognised.
TOMBSTONE_TTL_MS = 7 * 86_400_000
# The most names of tables and columns that are remembered as reported.
REPORTED_MAX = 1_000

_log = logging.getLogger("headwater.job.cloud_replica")


class Replica:
    """The steps of the public copy of one table. `for_users`: without the rows whose author is hidden."""

    def __init__(self, table: str, *, for_users: bool) -> None:
        self._table = table
        self._rows = PublicRows(for_users=for_users)
        self._reported: set[tuple[str, str]] = set()

    def public(self, event: dict[str, Any], context: Context) -> dict[str, Any] | None:
        """The row as it may be seen, and its key; None if nothing of it may. Counts what no rule speaks of."""

        def report(table: str, column: str, reason: str) -> None:
            context.metrics.counter("rows_withheld" if column == "*" else "columns_withheld")
            if (table, column) not in self._reported and len(self._reported) < REPORTED_MAX:
                self._reported.add((table, column))
                _log.warning("%s of %s is withheld: %s.", "A row" if column == "*" else column, table, reason)

        change = self._rows.change(event)
        public = None if self._is_of_another(change.table) else self._rows.sanitizer(report).sanitized(change)
        if public is None:
            return None
        key = [public.row[name] for name in public.key]
        return {"key": key, "is_deleted": public.operation == "delete", "row": public.row}

    def _is_of_another(self, table: str) -> bool:
        return table != self._table and table in self._rows.tables

    def job(self, name: str) -> Job:
        """The job that keeps the table of this name."""
        table = MaterializedTable(name, self._rows.tables[self._table])
        newest = NewestRow(table, _key, _row, None, _is_deleted, TOMBSTONE_TTL_MS)
        return Job(
            name,
            (SOURCE,),
            (Each("public", self.public), *newest.steps(STEP)),
            summary=f"The rows of {self._table} as they may be seen, by the rules of replica.yaml.",
            history_order="arrival",
            materialized=table,
        )


def _key(change: Mapping[str, Any], context: Context) -> Any:
    return change["key"]


def _row(change: Mapping[str, Any], context: Context) -> Any:
    return change["row"]


def _is_deleted(change: Mapping[str, Any]) -> bool:
    return bool(change["is_deleted"])


cloud_replica = Replica("revision", for_users=False).job("cloud_replica")
cloud_replica_userindex = Replica("revision", for_users=True).job("cloud_replica_userindex")
recentchanges = Replica("recentchanges", for_users=False).job("cloud_replica_recentchanges")
recentchanges_userindex = Replica("recentchanges", for_users=True).job("cloud_replica_recentchanges_userindex")
