"""What SQL databases differ in, as a sink of a table sees it, and the statements that all of them share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from headwater.connectors.contract import Column, ColumnType, TableShape
from headwater.connectors.rows import UTC, deletion_columns


class _Rows(Protocol):
    """What a statement answers."""

    def fetchone(self) -> Any:
        """One row as a tuple, or None."""
        ...

    def fetchall(self) -> Sequence[Any]:
        """All rows, each a tuple."""
        ...


class _Connection(Protocol):
    """A connection of a driver that runs each statement at once; transactions are begun and ended by statements."""

    def execute(self, statement: str, parameters: Any = ..., /) -> _Rows:
        """Run one statement with its values in place of the dialect's marks."""
        ...

    def close(self) -> None:
        """Release it; idempotent."""
        ...


C = TypeVar("C", bound=_Connection)


class Statements(ABC):
    """The statements that a database is given, with the names and types of what they are about."""

    # What the database calls each type of column.
    types: Mapping[ColumnType, str]
    # The type of the names of tables in a table of positions.
    name_type: str
    # How long the name of a table may be.
    name_characters_max: int = 63
    # The end of a statement that creates a table.
    table_options: str = ""
    # How the type of a column is changed: its name, and the new type.
    alter_column: str = "ALTER COLUMN {} TYPE {}"
    # Which further types of column a column of a type holds as it is.
    also_holds: Mapping[ColumnType, tuple[ColumnType, ...]] = MappingProxyType({})

    @abstractmethod
    def position_name(self, table: str) -> str:
        """The name of the table that holds the token of `table`."""

    def table(self, name: str) -> str:
        """The name of a table as statements write it."""
        return quoted([name])

    def position_table(self, table: str) -> str:
        """The table that holds the token of `table`, as statements write it."""
        return self.table(self.position_name(table))

    def deleted_name(self, table: str) -> str:
        """The name of the table that holds the versions of the deleted keys of `table`."""
        return side_name("deleted", table, self.name_characters_max)

    def deleted_table(self, table: str) -> str:
        """The same, as statements write it."""
        return self.table(self.deleted_name(table))

    def column_type(self, shape: TableShape, column: Column) -> str:
        """What the database calls the type of this column."""
        return self.types[column.type]

    def shown(self, column: Column) -> str:
        """The expression by which a column is read: times as in `rows`, JSON as text."""
        return quoted([column.name])

    def trimmed(self, text: str) -> str:
        """The expression that removes the sign of UTC from the end of a text, to compare it by code points."""
        return f"rtrim({text}, '{UTC}')"

    def age(self, shape: TableShape, version: str) -> str:
        """The expression by which versions are compared."""
        return self.trimmed(version) if _version_type(shape) == "text" else version

    def is_no_newer(self, shape: TableShape, there: str, given: str) -> str:
        """The condition that the version `there` is no newer than the one `given`; one that is absent is older."""
        return f"({there} IS NULL OR {self.age(shape, given)} >= {self.age(shape, there)})"

    def create_table(self, shape: TableShape) -> str:
        """The statement that makes the table where it is absent."""
        columns = [f"{quoted([column.name])} {self.column_type(shape, column)}" for column in shape.columns]
        return self._create(self.table(shape.name), columns, shape.key)

    def create_position_table(self, table: str) -> str:
        """The statement that makes the table that holds the token of `table`."""
        columns = [f"name {self.name_type}", f"token {self.types['text']} NOT NULL"]
        return self._create(self.position_table(table), columns, ("name",))

    def create_deleted_table(self, shape: TableShape) -> str:
        """The statement that makes the table of the versions of deleted keys."""
        kinds = {column.name: self.column_type(shape, column) for column in shape.columns}
        columns = [f"{quoted([name])} {kinds[name]}" for name in (*shape.key, shape.version)]
        return self._create(self.deleted_table(shape.name), columns, shape.key)

    def add_column(self, shape: TableShape, column: Column) -> str:
        """The statement that adds a column to an existing table."""
        kind = self.column_type(shape, column)
        return f"ALTER TABLE {self.table(shape.name)} ADD COLUMN {quoted([column.name])} {kind}"

    def on_conflict(self, shape: TableShape) -> str:
        """The clause by which a row replaces the one with its key, unless that one is newer; "" without a key."""
        if not shape.key:
            return ""
        others = [name for name in shape.column_names if name not in shape.key]
        if not others:
            return f" ON CONFLICT ({quoted(shape.key)}) DO NOTHING"
        changes = ", ".join(f"{quoted([name])} = excluded.{quoted([name])}" for name in others)
        clause = f" ON CONFLICT ({quoted(shape.key)}) DO UPDATE SET {changes}"
        if not shape.version:
            return clause
        version = quoted([shape.version])
        return f"{clause} WHERE {self.is_no_newer(shape, f'{quoted([shape.name])}.{version}', f'excluded.{version}')}"

    def not_deleted(self, shape: TableShape, value_of: Mapping[str, str]) -> str:
        """The condition that no newer deletion of the key is known. `value_of`: the expression of each column."""
        version = quoted([shape.version])
        newer = f"{self.age(shape, f'd.{version}')} > {self.age(shape, value_of[shape.version])}"
        keys = " AND ".join(f"d.{quoted([name])} = {value_of[name]}" for name in shape.key)
        return f"NOT EXISTS (SELECT 1 FROM {self.deleted_table(shape.name)} AS d WHERE {keys} AND {newer})"

    def keep_deleted(self, shape: TableShape, given: str) -> str:
        """The statement that keeps the versions of deleted keys, which `given`, VALUES or a SELECT, has."""
        name, version = self.deleted_table(shape.name), quoted([shape.version])
        newer = f"{self.age(shape, f'excluded.{version}')} > {self.age(shape, f'd.{version}')}"
        return (
            f"INSERT INTO {name} AS d ({quoted(deletion_names(shape))}) {given}"
            f" ON CONFLICT ({quoted(shape.key)}) DO UPDATE SET {version} = excluded.{version} WHERE {newer}"
        )

    def _create(self, table: str, columns: Sequence[str], key: Sequence[str]) -> str:
        primary = [f"PRIMARY KEY ({quoted(key)})"] if key else []
        return f"CREATE TABLE IF NOT EXISTS {table} ({', '.join([*columns, *primary])}){self.table_options}"


class Dialect(Statements, Generic[C]):
    """What differs from one database to the next.

    Everything is called on the sink's thread but `connect_reader`, `look`, `progress` and `abort`.
    """

    # The driver's errors for a row that the table will never take, and for everything else that it refuses.
    row_errors: tuple[type[Exception], ...]
    errors: tuple[type[Exception], ...]
    begin: str
    # What stands in a statement for a value.
    mark: str
    # The end of a SELECT that keeps others from selecting the same row so until the transaction ends; "" where only
    # one transaction writes at a time.
    lock: str = ""
    # How a token is stored whose row may be there already, with "" for no token; "" where `lock` is.
    claim: str = ""
    # Whether the connection may be lost, and must then be made again.
    is_remote: bool = False
    # After how long without progress the sink aborts the connection; None: never.
    stall_seconds_max: float | None = None

    @abstractmethod
    def connect(self) -> C:
        """A connection that writes; the database is made where it is absent."""

    @abstractmethod
    def connect_reader(self, writer: C | None) -> C:
        """A connection for reading in parallel with the writing one (None: it is lost).

        Called by any thread, one at a time.
        """

    @abstractmethod
    def look(self) -> C | None:
        """A connection for reading only, to a database that nobody may have made yet: None then."""

    @abstractmethod
    def describe(self, connection: C, table: str) -> Mapping[str, str]:
        """The columns that the table has now, in order, and their types as the database names them; empty: no table."""

    @abstractmethod
    def insert(self, connection: C, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows, at least one, no two with the same key; one with the key of a row that is there replaces it,
        and where the shape has a version only if the one there, or its deletion (`deleted_table`), is no newer."""

    @abstractmethod
    def delete(self, connection: C, shape: TableShape, rows: Sequence[tuple[Any, ...]]) -> None:
        """Delete the rows with these keys, at least one, no two the same; each is followed by its version if the shape
        has one: then only rows that are no newer, and the newest version of each key is kept in `deleted_table`."""

    @abstractmethod
    def move(self, connection: C, shape: TableShape, other: str) -> None:
        """Give the table with all its rows the name `other`, so that none of its own name is left, or an empty one."""

    def preparing(self, connection: C) -> AbstractContextManager[None]:
        """Held while tables are created and changed: of several processes, one does so at a time."""
        return nullcontext()

    def check(self, shape: TableShape, columns: Sequence[Column], values: Sequence[Any]) -> None:
        """Raise EventMalformed, with the name of the column, for a value that no table of this database can hold."""
        return

    def explain(self, error: Exception) -> str:
        """What the database answered, in one line, with the column where it is known."""
        return " ".join(str(error).split())

    def progress(self, connection: C) -> int:
        """A number that grows while the connection is not stalled."""
        return 0

    def abort(self, connection: C) -> None:
        """End a stalled connection; the statement that waits for it raises one of `errors`."""
        return


def keeps_deleted(shape: TableShape) -> bool:
    """Whether the versions of deleted keys are kept, so that an older event does not bring a row back."""
    return bool(shape.delete_when and shape.version)


def deletion_names(shape: TableShape) -> tuple[str, ...]:
    """The names of the columns of a deletion."""
    return tuple(column.name for column in deletion_columns(shape))


def order_by(shape: TableShape, order: str) -> str:
    """The ORDER BY clause for `edits desc, wiki`; "" for "". Raises JobInvalid for anything but columns."""
    terms = [f"{quoted([name])} {'DESC' if descending else 'ASC'}" for name, descending in shape.order_terms(order)]
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def quoted(names: Iterable[str]) -> str:
    """Names for SQL, with commas between them. A shape's names hold no quotation mark."""
    return ", ".join(f'"{name}"' for name in names)


def side_name(what: str, table: str, characters_max: int) -> str:
    """The name of a table of ours that belongs to `table`; a long one is shortened and ends with a part of its hash."""
    name = f"_headwater_{what}_{table}"
    if len(name) <= characters_max:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: characters_max - 9]}_{digest}"


def _version_type(shape: TableShape) -> ColumnType:
    return next(column.type for column in shape.columns if column.name == shape.version)
