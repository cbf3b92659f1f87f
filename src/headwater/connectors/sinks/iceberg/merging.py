"""How a batch changes a table by key: which rows are replaced or deleted, and which data files that concerns.

How this works: PyIceberg writes no delete files, so a data file with a row that is replaced is replaced itself, by one
without that row (copy on write). Of all data files only those are read whose bounds admit a key of the batch: first
their key and version, and if a row is to go, all of it. Small remainders are written together with the new rows.

The versions of deleted keys are rows of a branch of the same table, in which the other columns have no values. So they
change together with the table, in one commit, other engines do not see them, and their clean-ups respect them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, In, LessThanOrEqual, Reference
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.refs import MAIN_BRANCH

from headwater.connectors.contract import Column, TableShape
from headwater.connectors.rows import Batch, age_of, deletion_columns
from headwater.connectors.sinks.iceberg.columns import arrow_rows, plain_value, plain_values
from headwater.connectors.sinks.iceberg.files import DataFiles, planned, read_file
from headwater.connectors.sql_dialect import keeps_deleted

DELETED_BRANCH = "headwater_deleted"
# PyIceberg compares so many values with the bounds of a file; of more, it takes the least and the greatest.
VALUES_MAX = 200

Key = tuple[Any, ...]


class BranchChange(NamedTuple):
    """The data files that are removed from a branch and added to it in one commit."""

    branch: str
    removed: Sequence[DataFile]
    added: Sequence[DataFile]


class _Wanted(NamedTuple):
    """What a batch wants of one key: its version, and its row or deletion."""

    age: Any
    values: tuple[Any, ...]
    is_row: bool


class _Found(NamedTuple):
    """The greatest age of each wanted key that is there, and the keys that each data file of the branch has."""

    branch: str
    ages: Mapping[Key, Any]
    files: Sequence[tuple[FileScanTask, frozenset[Key]]]


def changes_of(table: Table, shape: TableShape, batch: Batch, files: DataFiles) -> list[BranchChange]:
    """What a batch changes: the branch `main` first, and then, if deletions are kept, theirs. Writes the data files."""
    if not shape.key:
        rows = [values for _, values in batch.rows]
        files.add(arrow_rows(table.schema(), shape.columns, rows))
        return [BranchChange(MAIN_BRANCH, (), list(files.finish()))]
    wanted = _wanted(shape, batch)
    deleted = _deletions(shape, wanted)
    if keeps_deleted(shape) and wanted:
        known = _found(table, DELETED_BRANCH, shape, wanted)
        wanted = {key: one for key, one in wanted.items() if not (one.is_row and _is_newer(known.ages.get(key), one))}
        changed = [_merged(table, shape, wanted, files)]
        newer = {key: one for key, one in deleted.items() if not _is_newer(known.ages.get(key), one)}
        if newer:
            changed.append(_replaced(table, shape, newer, known, files))
        return changed
    return [_merged(table, shape, wanted, files)]


def _wanted(shape: TableShape, batch: Batch) -> dict[Key, _Wanted]:
    wanted: dict[Key, _Wanted] = {}
    key_at = [shape.column_names.index(name) for name in shape.key]
    version_at = shape.column_names.index(shape.version) if shape.version else None
    kinds = [column.type for column in shape.columns]
    for _, values in batch.rows:
        key = tuple(plain_value(kinds[at], values[at]) for at in key_at)
        age = None if version_at is None else age_of(plain_value(kinds[version_at], values[version_at]))
        wanted[key] = _Wanted(age, values, True)
    columns = deletion_columns(shape)
    for _, values in batch.deletes:
        plain = tuple(plain_value(column.type, value) for column, value in zip(columns, values, strict=True))
        count = len(shape.key)
        wanted[plain[:count]] = _Wanted(age_of(plain[count]) if shape.version else None, values, False)
    return wanted


def _deletions(shape: TableShape, wanted: Mapping[Key, _Wanted]) -> dict[Key, _Wanted]:
    """The deletions as rows of their own branch."""
    return {key: one._replace(is_row=True) for key, one in wanted.items() if not one.is_row}


def _merged(table: Table, shape: TableShape, wanted: Mapping[Key, _Wanted], files: DataFiles) -> BranchChange:
    """Write what is wanted, where it is no older than what is there."""
    found = _found(table, MAIN_BRANCH, shape, wanted) if wanted else _Found(MAIN_BRANCH, {}, ())
    newer = {key: one for key, one in wanted.items() if not _is_newer(found.ages.get(key), one)}
    return _replaced(table, shape, newer, found, files)


def _replaced(
    table: Table, shape: TableShape, wanted: Mapping[Key, _Wanted], found: _Found, files: DataFiles
) -> BranchChange:
    """Write what is wanted, and again what else is in the data files with rows of these keys."""
    schema, removed, before = table.schema(), [], len(files.written)
    for task, keys in found.files:
        if keys.isdisjoint(wanted):
            continue
        rows = read_file(table, task, schema)
        files.add(rows.filter(pyarrow.array([key not in wanted for key in _keys(shape, rows)], pyarrow.bool_())))
        removed.append(task.file)
    columns: Sequence[Column] = shape.columns if found.branch == MAIN_BRANCH else deletion_columns(shape)
    files.add(arrow_rows(schema, columns, [one.values for one in wanted.values() if one.is_row]))
    return BranchChange(found.branch, removed, files.finish()[before:])


def _found(table: Table, branch: str, shape: TableShape, wanted: Mapping[Key, _Wanted]) -> _Found:
    """Which of the keys are there, how old, and in which data files."""
    names = (*shape.key, shape.version) if shape.version else shape.key
    schema = table.schema().select(*names)
    ages: dict[Key, Any] = {}
    files = []
    for task in planned(table, branch, _bounds(shape, wanted)):
        rows = read_file(table, task, schema)
        versions = plain_values(rows.column(shape.version)) if shape.version else [None] * rows.num_rows
        there = set()
        for key, version in zip(_keys(shape, rows), versions, strict=True):
            if key in wanted:
                there.add(key)
                age = age_of(version)
                if age is not None and (ages.get(key) is None or age > ages[key]):
                    ages[key] = age
        if there:
            files.append((task, frozenset(there)))
    return _Found(branch, ages, files)


def _is_newer(present: Any, one: _Wanted) -> bool:
    """Whether what is there is newer than what is wanted. Without a version it never is."""
    return present is not None and one.age is not None and bool(one.age < present)


def _keys(shape: TableShape, rows: pyarrow.Table) -> Iterator[Key]:
    return zip(*(plain_values(rows.column(name)) for name in shape.key), strict=True)


def _bounds(shape: TableShape, wanted: Mapping[Key, _Wanted]) -> BooleanExpression | None:
    """A filter that holds for all rows with these keys, by which data files are left out."""
    terms: list[BooleanExpression] = []
    for at, name in enumerate(shape.key):
        values = {key[at] for key in wanted}
        if any(isinstance(value, bool) for value in values):
            continue
        if len(values) <= VALUES_MAX:
            terms.append(In(term=Reference(name), values=values))
        else:
            column = Reference(name)
            terms += [
                GreaterThanOrEqual(term=column, value=min(values)),
                LessThanOrEqual(term=column, value=max(values)),
            ]
    if not terms:
        return None
    return terms[0] if len(terms) == 1 else And(*terms)
