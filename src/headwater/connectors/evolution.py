"""What a table needs to hold the columns that are wanted: what is added, what is widened, and what cannot be.

How this works: what is wanted follows from a stream file or a schema, what there is from a look at the target. A column
stays as it is where it can hold the new values, becomes wider where the target can do that without loss, and is
otherwise a conflict, which freezes the sink. Columns that are no longer wanted stay, and new rows have no value there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from headwater.connectors.contract import Column, ColumnType, PresentColumn, PresentTable, TableShape
from headwater.event import is_json

# How many values of a column say whether it has texts or JSON, where the target has one type for both.
TEXTS_LOOKED_AT_MAX = 1000
# What becomes of events whose schema has other columns than the table: the table is changed, the sink stops until
# somebody has changed it, these events are left out, or their new values are.
Contract = Literal["evolve", "freeze", "discard_row", "discard_value"]
# What a column of the first type may become, if no value is lost by it.
WIDER: Mapping[ColumnType, frozenset[ColumnType]] = {"integer": frozenset({"real"})}
# Columns that stay as they are although another type is wanted: they hold its values.
_LIKELY: Sequence[ColumnType] = ("integer", "real", "text", "json", "timestamp", "boolean")
_HOLDS: Mapping[str, frozenset[str]] = {
    "json": frozenset({"text", "integer", "real", "boolean", "timestamp"}),
    "text": frozenset({"timestamp"}),
    "real": frozenset({"integer"}),
}


def with_texts_seen(column: PresentColumn, some: Callable[[], Iterable[object]]) -> PresentColumn:
    """The column; if its type may be that of texts or of JSON, and some of its values are no JSON, not that of JSON.

    `some`: up to TEXTS_LOOKED_AT_MAX of its values; asked only if need be.
    """
    if column.holds is None or not {"text", "json"} <= column.holds:
        return column
    are_json = all(is_json(str(value).encode()) for value in some() if value is not None)
    return column if are_json else column._replace(holds=column.holds - {"json"})


@dataclass(frozen=True, slots=True)
class TableChange:
    """What becomes of a table. `shape` is what is written to it afterwards.

    `is_new`: there is none yet. `added` and `widened` are columns as they will be. `conflicts` are sentences about
    columns that cannot be what is wanted. `left_out` are wanted columns that the contract keeps out of the table.
    """

    shape: TableShape
    is_new: bool = False
    added: tuple[Column, ...] = ()
    widened: tuple[Column, ...] = ()
    conflicts: tuple[str, ...] = ()
    left_out: tuple[Column, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether something has to be created or altered."""
        return self.is_new or bool(self.added or self.widened)


def change_of(wanted: TableShape, present: PresentTable | None, *, widens: bool = True) -> TableChange:
    """What a table that is `present` needs to hold what is wanted; None: it does not exist.

    `widens`: whether the target can give columns a wider type.
    """
    if present is None:
        return TableChange(wanted, is_new=True)
    columns, added, widened, conflicts = [], [], [], []
    by_name = {name.lower(): column for name, column in present.items()}
    for column in wanted.columns:
        there, is_key, kept = by_name.get(column.name.lower()), column.name in wanted.key, column.type
        if there is None:
            added.append(column)
            conflicts += [f"the key column {column.name} is missing"] if is_key else []
        elif there.holds is not None and column.type not in there.holds:
            found = _kept(column.type, there.holds)
            if found is not None:
                kept = found
            elif widens and not is_key and any(column.type in WIDER.get(kind, ()) for kind in there.holds):
                widened.append(column)
            else:
                words = f"is {there.type} in the table and {column.type} in the events ({column.path})"
                conflicts.append(f"the column {column.name} {words}")
        columns.append(dataclasses.replace(column, type=kept))
    shape = dataclasses.replace(wanted, columns=tuple(columns))
    return TableChange(shape, False, tuple(added), tuple(widened), tuple(conflicts))


def without_change(wanted: TableShape, present: PresentTable) -> TableChange:
    """What is written where the table is left as it is: new columns are left out, the others keep their types.

    A key or a version that is missing is a conflict.
    """
    by_name = {name.lower(): column for name, column in present.items()}
    columns, left_out = [], []
    for column in wanted.columns:
        there = by_name.get(column.name.lower())
        if there is None:
            left_out.append(column)
        elif there.holds is None or column.type in there.holds:
            columns.append(column)
        else:
            columns.append(dataclasses.replace(column, type=_kept(column.type, there.holds) or _first(there.holds)))
    needed = [column.name for column in left_out if column.name in (*wanted.key, wanted.version)]
    if needed or not columns:
        conflicts = tuple(f"the column {name}, its key or version, is missing" for name in needed)
        return TableChange(wanted, conflicts=conflicts or ("it has none of the columns",))
    names = {column.name for column in columns}
    order = wanted.order if all(name in names for name, _ in wanted.order_terms(wanted.order)) else ""
    return TableChange(dataclasses.replace(wanted, columns=tuple(columns), order=order), left_out=tuple(left_out))


def settled(
    contract: Contract, wanted: TableShape, present: PresentTable | None, *, widens: bool = True
) -> TableChange:
    """What becomes of the table by the contract; a change with conflicts freezes the sink. `widens`: `change_of`."""
    change = change_of(wanted, present, widens=widens)
    match contract:
        case "evolve":
            return change
        case "freeze":
            refused = [f"column {column.name} of type {column.type} is missing" for column in change.added]
            refused += [f"column {column.name} is to become {column.type}" for column in change.widened]
            return dataclasses.replace(change, conflicts=(*change.conflicts, *refused))
        case "discard_row" | "discard_value":
            return change if present is None else without_change(wanted, present)
        case _:
            assert_never(contract)


def present_as(shape: TableShape) -> PresentTable:
    """The columns of a table that was made for `shape`."""
    return {column.name: PresentColumn(column.type, frozenset({column.type})) for column in shape.columns}


def _first(holds: frozenset[ColumnType]) -> ColumnType:
    """The type that a column has most likely, of those that it is suited for."""
    return min(holds, key=_LIKELY.index)


def _kept(wanted: ColumnType, holds: frozenset[ColumnType]) -> ColumnType | None:
    """The type that a column keeps although another one is wanted, since it holds its values."""
    return next((kind for kind in sorted(holds) if wanted in _HOLDS.get(kind, ())), None)
