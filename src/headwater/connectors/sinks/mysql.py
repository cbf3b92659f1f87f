"""The MySQL and MariaDB sink: events become rows of a table, stored together with the resume token.

How this works: rows are written by statements with many rows each, no larger than the server accepts. Texts have a
binary collation, so that keys that differ in case or in spaces at their end are different keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.constants import ER

from headwater.connectors.contract import Column, ColumnType, TableShape
from headwater.connectors.rows import deletion_columns
from headwater.connectors.spec import SinkSpec
from headwater.connectors.sql_columns import alterations
from headwater.connectors.sql_dialect import Dialect, deletion_names, keeps_deleted, quoted, side_name
from headwater.connectors.sql_table import SQL_FEATURES, SqlTableSink
from headwater.errors import ConfigInvalid, EventMalformed
from headwater.settings import REQUIRED, setting

PORT = 3306
# Statements of this size lose nothing by being no larger.
STATEMENT_BYTES_MAX = 1_048_576
# What all columns of a key may have together, and a character in utf8mb4.
KEY_BYTES_MAX, CHARACTER_BYTES_MAX = 3_072, 4
# Collations that distinguish all that differs, spaces at the end included: of MariaDB and of MySQL.
COLLATIONS = ("utf8mb4_nopad_bin", "utf8mb4_0900_bin")
PADDING_COLLATION = "utf8mb4_bin"
# Refusals of a row that the driver does not class as such: too large a row, values of a type, what a trigger raises,
# CHECK.
_ROW_ERRORS = frozenset((1118, 1292, 1366, 1644, 3140, 3819, 4025))
# By which MariaDB, whose JSON is a text with a CHECK, refuses what it does not read as JSON.
CHECK_FAILED = 4025
JSON_REFUSED = "; of JSON, MariaDB takes what is nested less than 32 deep"
_COLLATIONS = "information_schema.collations WHERE collation_name ="
_SSL = frozenset(("ssl_ca", "ssl_cert", "ssl_key"))
# What a statement has besides its rows.
_HEAD_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class MysqlOptions:
    """The options of a MySQL sink."""

    dsn: str = setting(
        REQUIRED,
        "The database, as a reference such as `${env:ORDERS_DSN}` to a URL: `mysql://USER:PASSWORD@HOST:PORT/DATABASE`."
        " With `?ssl_ca=FILE` the connection is encrypted and the server's certificate verified; `ssl_cert` and"
        " `ssl_key` are those of the client.",
        secret=True,
    )
    key_characters_max: int = setting(
        255,
        "How long a text in the key may be; fewer where the key has so many texts that they would exceed the 3,072"
        " bytes of a key. An event with a longer one becomes an error event.",
        at_least=1,
        at_most=768,
    )
    statement_seconds_max: float = setting(
        60.0, "How long a statement may take, or wait for a lock, before it is cancelled and tried again.", at_least=1
    )
    silence_seconds_max: float = setting(
        30.0,
        "How long the server may be silent, beyond the time of a statement, before the connection is taken for lost and"
        " made again.",
        at_least=1,
    )


class MysqlSink(SqlTableSink["MysqlConnection"]):
    """Fills one table of the database that `options.dsn` names."""

    def __init__(self, options: MysqlOptions, shape: TableShape, directory: Path = Path()) -> None:
        dialect = MysqlDialect(options, directory)
        super().__init__(dialect.place, shape, dialect)


class MysqlConnection:
    """A connection, with the size of its largest statement and the temporary tables that it has made."""

    def __init__(self, driver: pymysql.Connection[Any]) -> None:
        self.driver = driver
        self.statement_bytes_max = STATEMENT_BYTES_MAX
        self.packet_bytes_max = STATEMENT_BYTES_MAX
        self.staged: set[str] = set()

    def execute(self, statement: str, parameters: Sequence[Any] | None = None, /) -> Any:
        cursor = self.driver.cursor()
        try:
            cursor.execute(statement, parameters)
        except pymysql.err.OperationalError as error:
            if error.args and error.args[0] in _ROW_ERRORS:
                raise pymysql.err.DataError(*error.args) from None
            raise
        return cursor

    def insert(self, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "") -> None:
        """Run `head` VALUES … `tail` with all rows, in as many statements as their size asks for."""
        escape = self.driver.escape
        values: list[str] = []
        size = 0
        for row in rows:
            text = f"({','.join([escape(value) for value in row])})"
            count = len(text.encode())
            if count > self.packet_bytes_max:
                raise pymysql.err.DataError(
                    ER.NET_PACKET_TOO_LARGE,
                    f"a row of {count:,} bytes is larger than max_allowed_packet of the server",
                )
            if values and size + count > self.statement_bytes_max:
                self.execute(f"{head} VALUES {','.join(values)}{tail}")
                values, size = [], 0
            values.append(text)
            size += count + 1
        self.execute(f"{head} VALUES {','.join(values)}{tail}")

    def close(self) -> None:
        if self.driver.open:
            self.driver.close()


class MysqlDialect(Dialect[MysqlConnection]):
    """The SQL that is specific to MySQL and MariaDB."""

    types: Mapping[ColumnType, str] = {
        "text": f"LONGTEXT CHARACTER SET utf8mb4 COLLATE {PADDING_COLLATION}",
        "integer": "BIGINT",
        "real": "DOUBLE",
        "boolean": "BOOLEAN",
        "json": "JSON",
        "timestamp": "DATETIME(6)",
    }
    name_type = "VARCHAR(64)"
    row_errors: tuple[type[Exception], ...] = (pymysql.err.DataError, pymysql.err.IntegrityError)
    errors: tuple[type[Exception], ...] = (pymysql.err.Error,)
    alter_column = "MODIFY COLUMN {} {}"
    begin = "START TRANSACTION"
    mark = "%s"
    lock = " FOR UPDATE"
    claim = "INSERT IGNORE INTO {} (name, token) VALUES (%s, '')"
    is_remote = True
    table_options = " ENGINE=InnoDB ROW_FORMAT=DYNAMIC"

    def __init__(self, options: MysqlOptions, directory: Path = Path()) -> None:
        """Raises ConfigInvalid, without the URL, if that cannot be read."""
        self._options = options
        self._parameters = _parameters(options.dsn, directory)
        self.place = "{host}:{port}/{database}".format(**self._parameters)
        self._collation = COLLATIONS[0]

    def connect(self) -> MysqlConnection:
        options = self._options
        wait = options.statement_seconds_max + options.silence_seconds_max
        driver = pymysql.connect(
            **self._parameters,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=max(1, round(options.silence_seconds_max)),
            read_timeout=wait,
            write_timeout=options.silence_seconds_max,
        )
        connection = MysqlConnection(driver)
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def connect_reader(self, writer: MysqlConnection | None) -> MysqlConnection:
        return self.look()

    def look(self) -> MysqlConnection:
        reader = self.connect()
        reader.execute("SET SESSION TRANSACTION READ ONLY")
        return reader

    @contextmanager
    def preparing(self, connection: MysqlConnection) -> Iterator[None]:
        name = "headwater is creating tables"
        connection.execute("SELECT GET_LOCK(%s, %s)", [name, round(self._options.statement_seconds_max)])
        try:
            yield
        finally:
            with suppress(pymysql.err.Error):
                connection.execute("SELECT RELEASE_LOCK(%s)", [name])

    def position_name(self, table: str) -> str:
        # A table for each, so that it can be exchanged in one statement with the one that has the rows.
        return side_name("position", table, self.name_characters_max)

    def describe(self, connection: MysqlConnection, table: str) -> Mapping[str, str]:
        query = (
            "SELECT column_name, column_type FROM information_schema.columns"
            " WHERE table_schema = DATABASE() AND table_name = %s ORDER BY ordinal_position"
        )
        found: dict[str, str] = dict(connection.execute(query, [table]).fetchall())
        if any(kind == "longtext" for kind in found.values()) and "MariaDB" in str(
            connection.execute("SELECT VERSION()").fetchall()
        ):
            # What MariaDB calls JSON is a text with this check.
            checks = (
                "SELECT lower(check_clause) FROM information_schema.check_constraints"
                " WHERE constraint_schema = DATABASE() AND table_name = %s"
            )
            clauses = {clause for (clause,) in connection.execute(checks, [table]).fetchall()}
            # The quotes are those of the mode of the session.
            found |= {name: "json" for name in found if clauses & {f"json_valid({q}{name.lower()}{q})" for q in '`"'}}
        return found

    def column_type(self, shape: TableShape, column: Column) -> str:
        if column.type not in ("text", "json"):
            return self.types[column.type]
        if column.name in shape.key:
            return f"VARCHAR({self._key_characters_max(shape)}) CHARACTER SET utf8mb4 COLLATE {self._collation}"
        if column.type == "json":
            return self.types["json"]
        return f"LONGTEXT CHARACTER SET utf8mb4 COLLATE {self._collation}"

    def shown(self, column: Column) -> str:
        name = quoted([column.name])
        return f"DATE_FORMAT({name}, '%Y-%m-%dT%H:%i:%s.%fZ')" if column.type == "timestamp" else name

    def trimmed(self, text: str) -> str:
        return f"TRIM(TRAILING 'Z' FROM {text})"

    def check(self, shape: TableShape, columns: Sequence[Column], values: Sequence[Any]) -> None:
        for column, value in zip(columns, values, strict=True):
            if column.name not in shape.key or column.type not in ("text", "json"):
                continue
            characters_max = self._key_characters_max(shape)
            at = f"column {column.name} of {shape.name}, which is in the key"
            if len(value) > characters_max:
                raise EventMalformed(
                    f"{column.path} has {len(value):,} characters, and {at}, holds {characters_max}.",
                    hint="Raise `key_characters_max`, or take a shorter key.",
                )
            if self._collation == PADDING_COLLATION and value.endswith(" "):
                raise EventMalformed(
                    f"{column.path} ends with a space, which this server ignores in {at}.",
                    hint="MariaDB 10.2 and MySQL 8.0.17 do not ignore them.",
                )

    def explain(self, error: Exception) -> str:
        if isinstance(error, pymysql.err.Error) and len(error.args) > 1:
            more = JSON_REFUSED if error.args[0] == CHECK_FAILED else ""
            return f"{' '.join(str(error.args[1]).split())} (error {error.args[0]}){more}"
        return super().explain(error)

    def on_conflict(self, shape: TableShape) -> str:
        if not shape.key:
            return ""
        there = self.table(shape.name)
        # They are assigned in this order, and all conditions compare with the version that was there before.
        others = [name for name in shape.column_names if name not in (*shape.key, shape.version)]
        changes = []
        for name in _quoted_each((*others, *((shape.version,) if shape.version else ()))):
            value = f"VALUES({name})"
            if shape.version:
                version = quoted([shape.version])
                newer = self.is_no_newer(shape, f"{there}.{version}", f"VALUES({version})")
                value = f"IF({newer}, {value}, {there}.{name})"
            changes.append(f"{there}.{name} = {value}")
        first = quoted(shape.key[:1])
        return f" ON DUPLICATE KEY UPDATE {', '.join(changes) or f'{there}.{first} = {there}.{first}'}"

    def keep_deleted(self, shape: TableShape, given: str) -> str:
        name, version = self.deleted_table(shape.name), quoted([shape.version])
        newer = f"{self.age(shape, f'VALUES({version})')} > {self.age(shape, f'{name}.{version}')}"
        return (
            f"INSERT INTO {name} ({quoted(deletion_names(shape))}) {given}"
            f" ON DUPLICATE KEY UPDATE {name}.{version} = IF({newer}, VALUES({version}), {name}.{version})"
        )

    def insert(self, connection: MysqlConnection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        table, names = self.table(shape.name), quoted(shape.column_names)
        if not keeps_deleted(shape):
            connection.insert(f"INSERT INTO {table} ({names})", _spelled(shape.columns, rows), self.on_conflict(shape))
            return
        stage = self._staged(connection, shape, "rows", shape.columns, rows)
        known = self.not_deleted(shape, {name: f"s.{quoted([name])}" for name in shape.column_names})
        connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM {stage} AS s WHERE {known}{self.on_conflict(shape)}"
        )

    def delete(self, connection: MysqlConnection, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        names = deletion_names(shape)
        stage = self._staged(connection, shape, "deletes", deletion_columns(shape), rows)
        same = " AND ".join(f"t.{name} = s.{name}" for name in _quoted_each(shape.key))
        where = ""
        if shape.version:
            connection.execute(self.keep_deleted(shape, f"SELECT {quoted(names)} FROM {stage} AS s"))
            version = quoted([shape.version])
            where = f" WHERE {self.is_no_newer(shape, f't.{version}', f's.{version}')}"
        connection.execute(f"DELETE t FROM {self.table(shape.name)} AS t JOIN {stage} AS s ON {same}{where}")

    def move(self, connection: MysqlConnection, shape: TableShape, other: str) -> None:
        # Every change of tables commits: all of them are exchanged with empty ones by one statement.
        kept = {self.table(shape.name): self.table(other)}
        replaced = [self.position_table(shape.name)]
        replaced += [self.deleted_table(shape.name)] if keeps_deleted(shape) else []
        length, table = self.name_characters_max, shape.name
        old = {name: quoted([side_name(f"old_{at}", table, length)]) for at, name in enumerate(replaced)}
        new = {name: quoted([side_name(f"new_{at}", table, length)]) for at, name in enumerate((*kept, *replaced))}
        for name in (*old.values(), *new.values()):
            connection.execute(f"DROP TABLE IF EXISTS {name}")
        for name, empty in new.items():
            connection.execute(f"CREATE TABLE {empty} LIKE {name}")
        moves = [f"{name} TO {away}, {new[name]} TO {name}" for name, away in (kept | old).items()]
        connection.execute(f"RENAME TABLE {', '.join(moves)}")
        for name in old.values():
            connection.execute(f"DROP TABLE IF EXISTS {name}")

    def _key_characters_max(self, shape: TableShape) -> int:
        texts = sum(column.type in ("text", "json") for column in shape.columns if column.name in shape.key)
        room = (KEY_BYTES_MAX - 8 * (len(shape.key) - texts)) // CHARACTER_BYTES_MAX
        return min(self._options.key_characters_max, room // max(1, texts))

    def _configure(self, connection: MysqlConnection) -> None:
        packet, version, *known = connection.execute(
            "SELECT @@max_allowed_packet, VERSION(), "
            + ", ".join(f"EXISTS (SELECT 1 FROM {_COLLATIONS} '{name}')" for name in COLLATIONS)
        ).fetchone()
        found = [name for name, is_known in zip(COLLATIONS, known, strict=True) if is_known]
        self._collation = found[0] if found else PADDING_COLLATION
        limit = max(1, round(self._options.statement_seconds_max))
        connection.execute(f"SET NAMES utf8mb4 COLLATE {self._collation}")
        connection.execute(
            "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00',"
            f" lock_wait_timeout = {limit}, innodb_lock_wait_timeout = {limit}"
        )
        connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        if "mariadb" in version.lower():
            connection.execute(f"SET SESSION max_statement_time = {limit}, idle_transaction_timeout = {limit}")
        connection.packet_bytes_max = packet - _HEAD_BYTES_MAX
        connection.statement_bytes_max = min(STATEMENT_BYTES_MAX, connection.packet_bytes_max)

    def _staged(
        self,
        connection: MysqlConnection,
        shape: TableShape,
        what: str,
        columns: Sequence[Column],
        rows: Sequence[tuple[Any, ...]],
    ) -> str:
        """The temporary table, quoted, that has these rows."""
        stage = self.table(side_name(what, shape.name, self.name_characters_max))
        names = quoted(column.name for column in columns)
        if stage not in connection.staged:
            connection.execute(
                f"CREATE TEMPORARY TABLE {stage} ENGINE=InnoDB SELECT {names} FROM {self.table(shape.name)} LIMIT 0"
            )
            connection.staged.add(stage)
        connection.execute(f"DELETE FROM {stage}")
        connection.insert(f"INSERT INTO {stage} ({names})", _spelled(columns, rows))
        return stage


def _spelled(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """The rows with times as `2026-01-31 12:00:00.000000`: the server reads no other form as UTC."""
    times = {at for at, column in enumerate(columns) if column.type == "timestamp"}
    if not times:
        return rows
    return [
        tuple(
            f"{value[:10]} {value[11:-1]}" if at in times and value is not None else value
            for at, value in enumerate(row)
        )
        for row in rows
    ]


def _quoted_each(names: Sequence[str]) -> list[str]:
    return [quoted([name]) for name in names]


def _parameters(dsn: str, directory: Path) -> dict[str, Any]:
    """What the driver takes; relative paths start in the directory. Raises ConfigInvalid, which does not show it."""
    try:
        parts = urlsplit(dsn)
        port = parts.port or PORT
        given = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise _unreadable("it is no URL") from None
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("mysql", "mariadb") or not parts.hostname or not database or "/" in database:
        raise _unreadable("it needs a host and a database")
    if unknown := sorted(given.keys() - _SSL):
        raise _unreadable(f"it has the unknown parameter {unknown[0]}")
    files = {key: str(directory / value) for key, value in given.items()}
    return {
        "host": parts.hostname,
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": database,
        **files,
        **({"ssl_verify_identity": True} if files else {}),
    }


def _unreadable(why: str) -> ConfigInvalid:
    return ConfigInvalid(
        f"The dsn of a mysql sink cannot be read: {why}.",
        hint=f"Use `mysql://USER:PASSWORD@HOST:PORT/DATABASE`; it may have the parameters {', '.join(sorted(_SSL))}.",
    )


SPEC = SinkSpec(
    name="mysql",
    summary="Rows of a table in MySQL or MariaDB.",
    options=MysqlOptions,
    make=MysqlSink,
    features=SQL_FEATURES,
    statements=lambda options, shape: [MysqlDialect(MysqlOptions("mysql://localhost/database")).create_table(shape)],
    describe=lambda options, shape, directory: MysqlSink(options, shape, directory).describe(),
    alterations=lambda options, change: alterations(MysqlDialect(MysqlOptions("mysql://localhost/database")), change),
    example='dsn: "${env:ORDERS_DSN}"',
    extra="mysql",
)
