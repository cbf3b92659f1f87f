"""Gives columns of an Iceberg table a wider type where the format has no change of type for it.

How this works: integers become numbers by replacing the column, and each data file that has it, in one commit. Iceberg
identifies columns by numbers, not names, so that older snapshots keep their column.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from headwater.connectors.contract import Column, TableShape
from headwater.connectors.sinks.iceberg.columns import FROZEN_PAUSE_SECONDS, TYPES
from headwater.connectors.sinks.iceberg.commits import OneAttempt, commit
from headwater.connectors.sinks.iceberg.files import DataFiles, as_schema, planned, read_file
from headwater.connectors.sinks.iceberg.merging import DELETED_BRANCH, BranchChange
from headwater.errors import SinkFrozen


def widen(table: Table, shape: TableShape, columns: Sequence[Column], token: str | None, bytes_max: int) -> None:
    """Give each column its type here. Raises SinkFrozen, and changes nothing, if a value would be changed by it.

    Raises CommitFailedException as `commit`.
    """
    transaction = OneAttempt(table)
    with transaction.update_schema(allow_incompatible_changes=True) as update:
        for column in columns:
            update.delete_column(column.name)
            update.add_column(column.name, TYPES[column.type])
    schema = transaction.table_metadata.schema()
    files = DataFiles(table.io, transaction.table_metadata, bytes_max)
    changes = []
    with files:
        for branch in (MAIN_BRANCH, DELETED_BRANCH):
            before, tasks = len(files.written), planned(table, branch)
            for task in tasks:
                rows = read_file(table, task, table.schema())
                files.add(_widened(rows, schema, shape, columns))
            if tasks or branch == MAIN_BRANCH:
                changes.append(BranchChange(branch, [task.file for task in tasks], files.finish()[before:]))
    commit(table, token or "", changes, files, transaction)


def _widened(rows: pyarrow.Table, schema: Schema, shape: TableShape, columns: Sequence[Column]) -> pyarrow.Table:
    for column in columns:
        at = rows.column_names.index(column.name)
        try:
            # It refuses integers that have no exact number.
            rows = rows.set_column(at, column.name, rows.column(at).cast(pyarrow.float64()))
        except pyarrow.ArrowInvalid as error:
            raise SinkFrozen(
                f"The table {shape.name} cannot hold its events: the column {column.name} is to become {column.type},"
                f" and has integers that would lose their last digits ({error}).",
                hint="Give the field another name in the schema, or list the columns of the sink and leave it out.",
                back_off_seconds=FROZEN_PAUSE_SECONDS,
            ) from error
    return as_schema(rows, schema)
