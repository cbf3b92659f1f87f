"""A MariaDB server: connections, what must be right before its changes are read, its tables, and its errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
from pymysql.cursors import Cursor

from headwater.connectors.sources.mysql_cdc.values import UNREADABLE, Column
from headwater.errors import ConfigInvalid, HeadwaterError, PositionLost, SourceRefused, SourceUnavailable

NEW_SNAPSHOT = "`headwater sources reset {source}` lets it begin again with a new snapshot; what was stored stays."
# The binary log does not have what was asked for: it was purged, or belongs to another server.
_LOST = (1236, 1945, 1946, 1947, 1955)
_REFUSED = (1044, 1045, 1049, 1142, 1143, 1146, 1227, 1698)
_WANTED = {"log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL"}
_COLUMNS = """
SELECT c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, coalesce(c.CHARACTER_OCTET_LENGTH, 0),
       EXISTS (SELECT 1 FROM information_schema.CHECK_CONSTRAINTS k WHERE k.CONSTRAINT_SCHEMA = c.TABLE_SCHEMA
               AND k.TABLE_NAME = c.TABLE_NAME
               AND lower(k.CHECK_CLAUSE) = concat('json_valid(`', lower(c.COLUMN_NAME), '`)'))
FROM information_schema.COLUMNS c WHERE c.TABLE_SCHEMA = %s AND c.TABLE_NAME = %s ORDER BY c.ORDINAL_POSITION
"""
_KEY = """
SELECT COLUMN_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, and who asks."""

    host: str
    port: int
    user: str
    password: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises ConfigInvalid, without the password."""
        try:
            parts = urlsplit(url)
            port = parts.port or 3306
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme not in ("mysql", "mariadb") or not parts.hostname:
            raise ConfigInvalid("`url` is not the address of a server.", hint="Write mysql://USER:PASSWORD@HOST:3306.")
        return cls(parts.hostname, port, unquote(parts.username or "root"), unquote(parts.password or ""))


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the server describes it."""

    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]


def connect(address: Address, seconds_max: float, **more: Any) -> Any:
    """A connection. Raises SourceUnavailable, SourceRefused."""
    with translating("be connected to"):
        return pymysql.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=max(1, round(seconds_max)),
            init_command="SET time_zone = '+00:00', sql_mode = ''",
            **more,
        )


def rows(connection: Any, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Raises SourceUnavailable, SourceRefused."""
    with translating("be asked"), connection.cursor(Cursor) as cursor:
        cursor.execute(statement, tuple(values) or None)
        return list(cursor.fetchall())


def translated(error: Exception, doing: str) -> HeadwaterError:
    """The error of this project for one of the driver."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    message = str(error.args[1] if len(error.args) > 1 else error).rstrip(".")
    text = f"MariaDB could not {doing}: {message}."
    if number in _LOST:
        return PositionLost(
            text, hint="What was changed since cannot be read any more: begin again with a new snapshot."
        )
    if number in _REFUSED:
        return SourceRefused(text, hint="The user of the source needs REPLICATION SLAVE, and SELECT on its tables.")
    return SourceUnavailable(text)


@contextlib.contextmanager
def translating(doing: str) -> Iterator[None]:
    """Raise this project's errors for those of the driver."""
    try:
        yield
    except (pymysql.MySQLError, OSError) as error:
        raise translated(error, doing) from error


def version_of_server(connection: Any) -> tuple[int, int]:
    """Raises SourceRefused for anything but MariaDB."""
    ((text,),) = rows(connection, "SELECT version()")
    found = re.match(r"([0-9]+)\.([0-9]+)", text)
    if found is None or "mariadb" not in text.lower():
        raise SourceRefused(
            f"The server is not MariaDB (its version is {text}), and only the global transaction ids of MariaDB are "
            "read.",
            hint="Read MySQL through a replica that is MariaDB.",
        )
    return int(found[1]), int(found[2])


def check_server(connection: Any) -> None:
    """Raises SourceRefused if the server does not write what is needed."""
    version_of_server(connection)
    known = {name.lower(): value for name, value in rows(connection, "SHOW GLOBAL VARIABLES LIKE '%bin%log%'")}
    known |= {name.lower(): value for name, value in rows(connection, "SHOW GLOBAL VARIABLES LIKE 'log_bin'")}
    wrong = [(name, known.get(name, "absent"), value) for name, value in _WANTED.items() if known.get(name) != value]
    if wrong:
        found = ", ".join(f"{name}={value}" for name, value, _ in wrong)
        wanted = ", ".join(f"{name}={value}" for name, _, value in wrong)
        raise SourceRefused(
            f"The MariaDB server has {found}: its binary log does not have the rows with the names of their columns.",
            hint=f"Configure {wanted}; what was logged before cannot be read.",
        )


def read_table(connection: Any, name: str) -> Table | None:
    """The table; None if there is none that may be read."""
    schema, table = name.split(".", 1)
    columns = {
        column: Column(column, kind.lower(), described, bool(json), int(length))
        for column, kind, described, length, json in rows(connection, _COLUMNS, (schema, table))
    }
    key = tuple(column for (column,) in rows(connection, _KEY, (schema, table)))
    return Table(name, columns, key) if columns else None


def read_tables(
    connection: Any, shown: Mapping[str, frozenset[str]], keys: Mapping[str, tuple[str, ...]]
) -> dict[str, Table]:
    """The tables, of which these columns are shown. `keys`: those that the project declares. Raises SourceRefused."""
    found, wrong = {}, []
    for name, columns in shown.items():
        table = read_table(connection, name)
        if table is None:
            wrong.append((f"there is no table {name} that may be read", "Create it, or grant SELECT on it."))
            continue
        found[name] = table
        key = keys.get(name) or table.key
        if not table.key:
            wrong.append((f"the table {name} has no primary key", f"Add one to {name}."))
        if missing := [column for column in key if column not in table.columns]:
            wrong.append((f"the table {name} has no column {missing[0]}, which is declared as its key", "Correct it."))
        for column in table.columns.values():
            if column.kind in UNREADABLE and column.name in columns:
                what = f"the column {column.name} of {name} has the type {column.kind}, which cannot be read"
                wrong.append((what, "Leave it out of `columns`."))
    if wrong:
        raise SourceRefused(
            f"In MariaDB {'; '.join(what for what, _ in wrong)}.", hint=" ".join(fix for _, fix in wrong)
        )
    return found


def identifier(name: str) -> str:
    """The name of a table or a column, quoted."""
    return ".".join(f"`{part.replace('`', '``')}`" for part in name.split(".", 1))


def column_identifier(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def row_key(row: Mapping[str, Any], key: Sequence[str]) -> tuple[Any, ...]:
    """The values of a key, such that they can be looked for."""
    values = (row.get(name) for name in key)
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)
