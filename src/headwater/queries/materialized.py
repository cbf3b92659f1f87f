"""The rows of a materialized table as a file of lines of JSON, and the types of its columns, found among its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from headwater.config import Config
from headwater.errors import QueryInvalid, StateUnavailable
from headwater.event import encode_json
from headwater.jobs.tables.materialized import KEY_COLUMN, MaterializedTable
from headwater.jobs.tables.reader import TableReader
from headwater.processing.tables import stored_state
from headwater.queries.relations import TABLE_ROWS_MAX, Spool

# What a column with values of these kinds is in DuckDB; any other mixture is JSON.
_TYPES: Mapping[frozenset[str], str] = {
    frozenset({"text"}): "VARCHAR",
    frozenset({"boolean"}): "BOOLEAN",
    frozenset({"integer"}): "BIGINT",
    frozenset({"number"}): "DOUBLE",
    frozenset({"integer", "number"}): "DOUBLE",
}
_BIGINT_END = 2**63


def spool_materialized(config: Config, table: MaterializedTable, spool: Spool) -> tuple[Path, dict[str, str]]:
    """The rows, with the key among their columns, and each column's type.

    Raises QueryInvalid if the table cannot be read here or has too many rows, LogUnavailable.
    """
    try:
        state = stored_state(config, table)
    except StateUnavailable as error:
        raise QueryInvalid(error.message, hint=error.hint) from None
    file = spool.file()
    kinds: dict[str, set[str]] = {name: set() for name in table.key_names or (KEY_COLUMN,)}
    count = 0
    with file.open("wb") as lines:
        for count, found in enumerate(TableReader(table, state.get, state.scan), 1):
            if count > TABLE_ROWS_MAX:
                raise QueryInvalid(f"The table {table.name} has more than {TABLE_ROWS_MAX:,} rows.")
            row = table.flat(found)
            for name, value in row.items():
                if value is not None:
                    kinds.setdefault(name, set()).add(_kind(value))
            spool.wrote(lines.write(_line(row)))
    if not count:
        spool.notes.append(f"{table.name} has no rows: only the columns of its key are known.")
    return file, dict(_columns(table.name, kinds, spool))


def _columns(table: str, kinds: Mapping[str, set[str]], spool: Spool) -> Iterable[tuple[str, str]]:
    known: dict[str, str] = {}
    for name, found in kinds.items():
        other = known.setdefault(name.lower(), name)
        if other == name:
            yield name, _TYPES.get(frozenset(found), "JSON" if found else "VARCHAR")
        else:
            spool.notes.append(f"{table}: the column {name!r} is left out: DuckDB ignores the case of names.")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -_BIGINT_END <= value < _BIGINT_END else "number"
    return "number" if isinstance(value, float) else "text" if isinstance(value, str) else "json"


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row) + b"\n"
    except TypeError:
        return encode_json(row) + b"\n"
