"""The PostgreSQL sink: events become rows of a table, stored together with the resume token.

How this works: rows are copied (`COPY`), the fastest way in. A table with a key is filled from a temporary table of its
own, which has the same types and is emptied by each commit. That the network or the server is gone without a word is
noticed in two ways: by TCP, and by the sink, which aborts a connection without progress.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from headwater.connectors.contract import Column, ColumnType, TableShape
from headwater.connectors.spec import SinkSpec
from headwater.connectors.sql_columns import alterations
from headwater.connectors.sql_dialect import Dialect, deletion_names, keeps_deleted, quoted, side_name
from headwater.connectors.sql_table import SQL_FEATURES, SqlTableSink
from headwater.errors import ConfigInvalid, EventMalformed
from headwater.settings import REQUIRED, setting

# Taken while tables are created: an arbitrary number that is ours.
_PREPARING = 0x68656164776174
_NUL = "\\u0000"
_SET = "SELECT set_config(%s, %s, false)"


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """The options of a PostgreSQL sink."""

    dsn: str = setting(
        REQUIRED,
        "The database, as a reference such as `${env:ORDERS_DSN}` to a libpq connection string or URL:"
        " `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`.",
        secret=True,
    )
    schema: str = setting(
        "", "The schema of the database in which the table is; it must exist. Empty: the first one of the search path."
    )
    statement_seconds_max: float = setting(
        60.0, "How long a statement may take, or wait for a lock, before it is cancelled and tried again.", at_least=1
    )
    silence_seconds_max: float = setting(
        30.0, "How long the server may be silent before the connection is taken for lost and made again.", at_least=1
    )


class PostgresSink(SqlTableSink["PostgresConnection"]):
    """Fills one table of the database that `options.dsn` names."""

    def __init__(self, options: PostgresOptions, shape: TableShape) -> None:
        dialect = PostgresDialect(options)
        super().__init__(dialect.place, shape, dialect)


class PostgresConnection:
    """A connection, with the number of its statements so far and the temporary tables that it has made."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.driver = connection
        self.statements = 0
        self.staged: set[str] = set()

    def execute(self, statement: str, parameters: Sequence[Any] | None = None, /) -> psycopg.Cursor[tuple[Any, ...]]:
        self.statements += 1
        if statement == "ROLLBACK":
            # One that was made in this transaction is gone with it.
            self.staged.clear()
        return self.driver.execute(statement.encode(), parameters)

    def copy(self, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Copy the rows into this table and these columns."""
        self.statements += 1
        with self.driver.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    def close(self) -> None:
        self.driver.close()


class PostgresDialect(Dialect[PostgresConnection]):
    """The SQL that is specific to PostgreSQL."""

    types: Mapping[ColumnType, str] = {
        "text": "TEXT",
        "integer": "BIGINT",
        "real": "DOUBLE PRECISION",
        "boolean": "BOOLEAN",
        "json": "JSONB",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
    }
    name_type = "TEXT"
    row_errors: tuple[type[Exception], ...] = (
        psycopg.DataError,
        psycopg.IntegrityError,
        # A key that is too long for an index; what a trigger raises.
        psycopg.errors.ProgramLimitExceeded,
        psycopg.errors.RaiseException,
    )
    errors: tuple[type[Exception], ...] = (psycopg.Error,)
    begin = "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED"
    mark = "%s"
    lock = " FOR UPDATE"
    claim = "INSERT INTO {} (name, token) VALUES (%s, '') ON CONFLICT (name) DO NOTHING"
    is_remote = True

    def __init__(self, options: PostgresOptions) -> None:
        """Raises ConfigInvalid, without the connection string, if that cannot be read."""
        try:
            given = conninfo_to_dict(options.dsn)
        except psycopg.Error:
            raise ConfigInvalid(
                "The dsn of a postgres sink cannot be read.",
                hint="Use `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, or `host=HOST dbname=DATABASE`.",
            ) from None
        self._options = options
        self._schema = f"{_identifier(options.schema)}." if options.schema else ""
        self.stall_seconds_max = options.statement_seconds_max + options.silence_seconds_max
        silence = options.silence_seconds_max
        # What the connection string itself sets has precedence.
        self._parameters: dict[str, Any] = {
            "connect_timeout": max(2, round(silence)),
            "keepalives": 1,
            "keepalives_idle": max(1, round(silence / 2)),
            "keepalives_interval": max(1, round(silence / 6)),
            "keepalives_count": 3,
            "tcp_user_timeout": round(silence * 1000),
            "application_name": "headwater",
            **given,
        }
        host, port = given.get("host") or given.get("hostaddr") or "localhost", given.get("port") or "5432"
        self.place = f"{host}:{port}/{given.get('dbname') or given.get('user') or ''}"

    def connect(self) -> PostgresConnection:
        # Statements are not prepared, so that poolers in front of the server need not know of them.
        driver = psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None)
        connection = PostgresConnection(driver)
        try:
            limit = f"{round(self._options.statement_seconds_max * 1000)}ms"
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(_SET, [name, limit])
        except BaseException:
            driver.close()
            raise
        return connection

    def connect_reader(self, writer: PostgresConnection | None) -> PostgresConnection:
        return self.look()

    def look(self) -> PostgresConnection:
        reader = self.connect()
        reader.execute(_SET, ["default_transaction_read_only", "on"])
        return reader

    def progress(self, connection: PostgresConnection) -> int:
        return connection.statements

    def abort(self, connection: PostgresConnection) -> None:
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.driver.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def preparing(self, connection: PostgresConnection) -> Iterator[None]:
        connection.execute(self.begin)
        try:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_PREPARING])
            yield
            connection.execute("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            raise

    def table(self, name: str) -> str:
        return f"{self._schema}{quoted([name])}"

    def position_name(self, table: str) -> str:
        return "_headwater_position"

    def describe(self, connection: PostgresConnection, table: str) -> Mapping[str, str]:
        query = (
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        return dict(connection.execute(query, [self.table(table)]).fetchall())

    def shown(self, column: Column) -> str:
        name = quoted([column.name])
        if column.type == "timestamp":
            return f"""to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
        return f"{name}::text" if column.type == "json" else name

    def trimmed(self, text: str) -> str:
        return f'{super().trimmed(text)} COLLATE "C"'

    def check(self, shape: TableShape, columns: Sequence[Column], values: Sequence[Any]) -> None:
        for column, value in zip(columns, values, strict=True):
            if isinstance(value, str) and ("\0" in value or (column.type == "json" and _has_nul(value))):
                raise EventMalformed(
                    f"{column.path} contains the character U+0000, which PostgreSQL cannot store: column {column.name}"
                    f" of {shape.name}."
                )

    def explain(self, error: Exception) -> str:
        found = error.diag if isinstance(error, psycopg.Error) else None
        if found is None or found.message_primary is None:
            return super().explain(error)
        detail = f" ({found.message_detail})" if found.message_detail else ""
        column = found.column_name or _copied_column(found.context or "")
        return " ".join(f"{found.message_primary}{detail}{f' (column {column})' if column else ''}".split())

    def insert(self, connection: PostgresConnection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        table, names = self.table(shape.name), quoted(shape.column_names)
        if not shape.key:
            connection.copy(f"{table} ({names})", rows)
            return
        stage = self._staged(connection, shape, "rows", shape.column_names, rows)
        known = (
            f" WHERE {self.not_deleted(shape, {name: f's.{quoted([name])}' for name in shape.column_names})}"
            if keeps_deleted(shape)
            else ""
        )
        connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM {stage} AS s{known}{self.on_conflict(shape)}"
        )

    def delete(self, connection: PostgresConnection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        names = deletion_names(shape)
        stage = self._staged(connection, shape, "deletes", names, rows)
        same = [f"t.{quoted([name])} = s.{quoted([name])}" for name in shape.key]
        if shape.version:
            connection.execute(self.keep_deleted(shape, f"SELECT {quoted(names)} FROM {stage}"))
            version = quoted([shape.version])
            same.append(self.is_no_newer(shape, f"t.{version}", f"s.{version}"))
        connection.execute(f"DELETE FROM {self.table(shape.name)} AS t USING {stage} AS s WHERE {' AND '.join(same)}")

    def move(self, connection: PostgresConnection, shape: TableShape, other: str) -> None:
        connection.execute(f"ALTER TABLE {self.table(shape.name)} RENAME TO {quoted([other])}")
        for stage in connection.staged:
            connection.execute(f"DROP TABLE {stage}")
        connection.staged.clear()

    def _staged(
        self,
        connection: PostgresConnection,
        shape: TableShape,
        what: str,
        columns: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
    ) -> str:
        """The temporary table, quoted, that has these rows until the transaction ends."""
        stage = f"pg_temp.{quoted([side_name(what, shape.name, self.name_characters_max)])}"
        names = quoted(columns)
        if stage not in connection.staged:
            # With the types of the table, which may be narrower than ours, so that an error names the column.
            connection.execute(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ON COMMIT DELETE ROWS AS"
                f" SELECT {names} FROM {self.table(shape.name)} WITH NO DATA"
            )
            connection.staged.add(stage)
        connection.copy(f"{stage} ({names})", rows)
        return stage


def _has_nul(text: str) -> bool:
    """Whether a JSON text has an escaped U+0000: a reverse solidus in front of it may itself be escaped."""
    at = text.find(_NUL)
    while at >= 0:
        before = text[:at]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return True
        at = text.find(_NUL, at + 1)
    return False


def _copied_column(context: str) -> str:
    """The column that `COPY pg_temp_3.stage, line 2, column title: "…"` names."""
    head = context.partition(":")[0].split()
    return head[-1] if context.startswith("COPY") and len(head) > 4 and not head[-1].isdigit() else ""


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


SPEC = SinkSpec(
    name="postgres",
    summary="Rows of a table in PostgreSQL.",
    options=PostgresOptions,
    make=lambda options, shape, directory: PostgresSink(options, shape),
    features=SQL_FEATURES,
    statements=lambda options, shape: [PostgresDialect(PostgresOptions("")).create_table(shape)],
    describe=lambda options, shape, directory: PostgresSink(options, shape).describe(),
    alterations=lambda options, change: alterations(PostgresDialect(PostgresOptions("")), change),
    example='dsn: "${env:ORDERS_DSN}"',
    extra="postgres",
)
