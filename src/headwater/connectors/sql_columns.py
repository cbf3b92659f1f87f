"""The columns that a table of a SQL database has, and how they are given a wider type."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial

from headwater.connectors.contract import Column, ColumnType, PresentColumn, PresentTable, TableShape
from headwater.connectors.evolution import TEXTS_LOOKED_AT_MAX, TableChange, with_texts_seen
from headwater.connectors.sql_dialect import C, Dialect, quoted
from headwater.connectors.sql_session import Session
from headwater.errors import SinkFrozen

FROZEN_PAUSE_SECONDS = 2.0
# Beyond this, two integers are the same floating-point number.
EXACT_MAX = 2**53
# Other names of a type, as databases give them.
_ALIASES = {"TINYINT": "BOOLEAN"}


def present_columns(dialect: Dialect[C], connection: C, table: str) -> PresentTable | None:
    """The columns of a table; None if it has none, so that there is no table."""
    found = {}
    for name, kind in dialect.describe(connection, table).items():
        column = PresentColumn(kind, holds(dialect, kind))
        found[name] = with_texts_seen(column, partial(_some, dialect, connection, table, name))
    return found or None


def _some(dialect: Dialect[C], connection: C, table: str, column: str) -> Iterable[object]:
    name = quoted([column])
    some = f"SELECT {name} FROM {dialect.table(table)} WHERE {name} IS NOT NULL LIMIT {TEXTS_LOOKED_AT_MAX}"
    return (value for (value,) in connection.execute(some).fetchall())


def holds(dialect: Dialect[C], described: str) -> frozenset[ColumnType] | None:
    """The types of column that a type of the database was made for; None if it is none of ours."""
    kinds = {kind for kind, name in dialect.types.items() if _plain(name) == _plain(described)}
    kinds |= {wider for kind in kinds for wider in dialect.also_holds.get(kind, ())}
    return frozenset(kinds) or None


def alterations(dialect: Dialect[C], change: TableChange) -> list[str]:
    """The statements that add and widen columns."""
    added = [dialect.add_column(change.shape, column) for column in change.added]
    return added + [_widening(dialect, change.shape, column) for column in change.widened]


def widen(dialect: Dialect[C], session: Session[C], shape: TableShape, columns: Sequence[Column]) -> None:
    """Give integer columns the type of numbers. Raises SinkFrozen if one has values that this would change."""
    with session.transaction() as connection:
        _require_exact(dialect, connection, shape, columns)
        for column in columns:
            connection.execute(_widening(dialect, shape, column))


def _require_exact(dialect: Dialect[C], connection: C, shape: TableShape, columns: Sequence[Column]) -> None:
    table = dialect.table(shape.name)
    for column in columns:
        name = quoted([column.name])
        inexact = f"SELECT 1 FROM {table} WHERE {name} > {EXACT_MAX} OR {name} < -{EXACT_MAX} LIMIT 1"
        if connection.execute(inexact).fetchone() is not None:
            raise inexact_error(shape, column)


def inexact_error(shape: TableShape, column: Column) -> SinkFrozen:
    """That a column has integers which its wider type would change."""
    return SinkFrozen(
        f"The table {shape.name} cannot hold its events: the column {column.name} is to become {column.type},"
        f" and has integers beyond {EXACT_MAX}, which would lose their last digits.",
        hint="Give the field another name in the schema, or list the columns of the sink and leave it out.",
        back_off_seconds=FROZEN_PAUSE_SECONDS,
    )


def _widening(dialect: Dialect[C], shape: TableShape, column: Column) -> str:
    changed = dialect.alter_column.format(quoted([column.name]), dialect.column_type(shape, column))
    return f"ALTER TABLE {dialect.table(shape.name)} {changed}"


def _plain(name: str) -> str:
    """The name of a type without lengths and collations, such as VARCHAR for `varchar(20) COLLATE x`."""
    bare = re.split(r" CHARACTER SET | COLLATE ", re.sub(r"\([^)]*\)", "", name.upper()))[0]
    text = " ".join(bare.split())
    return _ALIASES.get(text, text)
