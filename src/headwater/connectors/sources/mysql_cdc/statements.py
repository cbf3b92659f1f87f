"""What a statement in the binary log says about tables, without a parser of SQL."""

from __future__ import annotations

import re
from collections.abc import Collection

_COMMENTS = re.compile(r"(?:\s|/\*.*?\*/|--\s[^\n]*(?:\n|$)|#[^\n]*(?:\n|$))*", re.DOTALL)
_NAME = r"(?:`((?:[^`]|``)+)`|([^\s`.,;()]+))"
_TRUNCATE = re.compile(rf"TRUNCATE\s+(?:TABLE\s+)?{_NAME}(?:\s*\.\s*{_NAME})?", re.IGNORECASE)
# They may rename or remove a table, or put another one in its place.
_ALTERING = ("ALTER", "CREATE", "DROP", "RENAME")
# They are logged instead of rows if a session does not log rows.
_WRITING = ("DELETE", "INSERT", "LOAD", "REPLACE", "UPDATE", "WITH")


def without_comments(query: str) -> str:
    """The statement without the comments in front of it."""
    found = _COMMENTS.match(query)
    return query[found.end() :] if found else query


def truncated_table(statement: str, schema: str) -> str | None:
    """`schema.table` of a TRUNCATE; None of other statements. `schema` is that of names without one."""
    found = _TRUNCATE.match(statement)
    if found is None:
        return None
    pairs = (found.group(1, 2), found.group(3, 4))
    first, second = (quoted.replace("``", "`") if quoted else bare for quoted, bare in pairs)
    return f"{first}.{second}" if second else f"{schema}.{first}"


def altered_tables(statement: str, tables: Collection[str]) -> list[str]:
    """Those of `tables` that may have been renamed or removed."""
    return _mentioned(statement, tables) if _verb(statement) in _ALTERING else []


def written_tables(statement: str, tables: Collection[str]) -> list[str]:
    """Those of `tables` whose rows may have been changed by a statement that is logged itself."""
    return _mentioned(statement, tables) if _verb(statement) in _WRITING else []


def _verb(statement: str) -> str:
    return statement.split(None, 1)[0].upper() if statement.strip() else ""


def _mentioned(statement: str, tables: Collection[str]) -> list[str]:
    """Tables whose name, or that of their schema, is somewhere in the statement: at most too many."""
    text = statement.casefold().replace("``", "`")
    is_of_schema = re.match(r"DROP\s+(?:DATABASE|SCHEMA)\b", statement, re.IGNORECASE) is not None
    parts = ((table, *table.split(".", 1)) for table in tables)
    return [table for table, schema, name in parts if (schema if is_of_schema else name).casefold() in text]
