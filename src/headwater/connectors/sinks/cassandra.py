"""The Cassandra sink: events become rows, written with the version of the event as the write timestamp.

How this works: Cassandra itself keeps the newest value of every cell by its write timestamp. That of a row is its
version, a time as microseconds, so that events may come in any order, several times and over several connections, and
nothing has to be read. A deletion is written with a timestamp in the same way. Statements of a batch are sent at the
same time, limited in number; what Cassandra answers for each decides about that event alone.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import cassandra
from cassandra import cluster, concurrent, connection, policies, protocol
from cassandra.auth import PlainTextAuthProvider

from headwater.connectors.contract import (
    Column,
    ColumnType,
    Delivery,
    PresentColumn,
    PresentTable,
    SinkFeatures,
    TableShape,
)
from headwater.connectors.evolution import TEXTS_LOOKED_AT_MAX, TableChange, with_texts_seen
from headwater.connectors.partial_writes import incomplete
from headwater.connectors.rows import RowReader
from headwater.connectors.sorted_views import SORTED_ROWS_MAX, sorted_view
from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.connectors.sql_dialect import quoted
from headwater.connectors.tables import TableView
from headwater.connectors.whole_versions import whole_version
from headwater.errors import ConfigInvalid, EventMalformed, JobInvalid, SinkFrozen, SinkUnavailable
from headwater.settings import REQUIRED, setting
from headwater.times import time_us

FEATURES = SinkFeatures(token_in_target=False, upsert=True, deletes=True)
TYPES: Mapping[ColumnType, str] = {
    "text": "text",
    "integer": "bigint",
    "real": "double",
    "boolean": "boolean",
    "json": "text",
    # Its own type has milliseconds only.
    "timestamp": "text",
}
PORT = 9042
# The column that identifies a row of a table without a key: the id of the event, so that it is there once.
EVENT_COLUMN = "_event"
RECONNECT_SECONDS = 1.0
BUSY_BACK_OFF_SECONDS = 1.0
# What Cassandra refuses for what it is asked; everything else is a matter of time.
PERMANENT = (cassandra.InvalidRequest, protocol.SyntaxException, TypeError, ValueError)
FAILURES = (
    cassandra.DriverException,
    cluster.NoHostAvailable,
    protocol.ErrorMessage,
    connection.ConnectionException,
    OSError,
)

_KEYSPACE = re.compile(r"[A-Za-z0-9_]{1,48}")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CassandraOptions:
    """The options of a Cassandra sink."""

    hosts: tuple[str, ...] = setting(REQUIRED, "Some nodes, each `HOST` or `HOST:PORT`; the others are found by them.")
    keyspace: str = setting(REQUIRED, "The keyspace; it must exist, unless `replication` is given.")
    replication: Mapping[str, Any] = setting(
        {}, "How a keyspace that is absent is created, such as `{class: NetworkTopologyStrategy, dc1: 3}`."
    )
    partition: tuple[str, ...] = setting(
        (),
        "The columns of the key by which rows are divided into partitions; the others order the rows of a partition, as"
        " `key` lists them. Default: all of the key.",
    )
    user: str | None = setting(None, "The user to log in as.")
    password: str | None = setting(None, "The password of the user.", secret=True)
    tls: bool = setting(False, "Whether connections are encrypted.")
    ca_file: str | None = setting(None, "A file with the certificates to trust; null: those of the system.")
    datacenter: str | None = setting(None, "The data centre whose nodes are used; null: all nodes.")
    consistency: str = setting("LOCAL_QUORUM", "How many replicas must have stored a row, such as `LOCAL_ONE`.")
    requests_max: int = setting(64, "How many statements are sent at the same time.", at_least=1, at_most=1024)
    timeout_seconds: float = setting(10.0, "How long Cassandra may take to connect, and to answer.", at_least=0.1)

    def __post_init__(self) -> None:
        """Raises ConfigInvalid for an unknown level of consistency, and for what is no host."""
        if self.consistency.upper() not in cassandra.ConsistencyLevel.name_to_value:
            known = ", ".join(cassandra.ConsistencyLevel.name_to_value)
            raise ConfigInvalid(f"{self.consistency!r} is no level of consistency.", hint=f"Known: {known}.")
        if not _KEYSPACE.fullmatch(self.keyspace):
            raise ConfigInvalid(
                f"{self.keyspace!r} cannot name a keyspace.", hint="Use at most 48 letters, digits and '_'."
            )
        for host in self.hosts:
            name, separator, port = host.partition(":")
            if not name or (separator and not port.isdecimal()):
                raise ConfigInvalid(f"{host!r} is no host.", hint="Write `HOST` or `HOST:PORT`.")

    @property
    def contact_points(self) -> list[tuple[str, int]]:
        """Host and port of each."""
        pairs = [host.partition(":") for host in self.hosts]
        return [(host, int(port or PORT)) for host, _, port in pairs]


class _Present(NamedTuple):
    """A column that the table has: its type, and what it is in the primary key."""

    type: str
    kind: str


def check_partition(options: CassandraOptions, shape: TableShape) -> None:
    """Raise JobInvalid for a partition that is not part of the key."""
    if wrong := [name for name in options.partition if name not in shape.key]:
        raise JobInvalid(
            f"{', '.join(wrong)} cannot divide table {shape.name} into partitions.",
            hint=f"Use columns of its key: {', '.join(shape.key) or 'it has none'}.",
        )


class CassandraSink:
    """Fills one table of a keyspace."""

    features = FEATURES

    def __init__(self, options: CassandraOptions, shape: TableShape) -> None:
        """Raises JobInvalid if `partition` names a column that is no part of the key."""
        self.shape = shape
        self._options = options
        self._place = f"{shape.name} in {', '.join(options.hosts)}"
        self._table = f"{quoted([options.keyspace])}.{quoted([shape.name])}"
        check_partition(options, shape)
        self._rows = RowReader(shape, self._check_version)
        self._version_at = shape.column_names.index(shape.version) if shape.version else None
        self._cluster: Any = None
        self._session: Any = None
        self._insert: Any = None
        self._delete: Any = None

    async def open(self) -> str | None:
        await self.close()
        try:
            await self._in_thread(self._connect)
        except BaseException:
            await self.close()
            raise
        return None

    def check(self, delivery: Delivery) -> None:
        self._rows.check(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        self._opened()
        rows, deletes, rejected = self._rows.batch(deliveries)
        written: list[tuple[int, Any, tuple[Any, ...]]] = []
        for index, values in rows:
            own = () if self.shape.key else (deliveries[index].event_id or str(uuid.uuid4()),)
            using = () if self._version_at is None else (_timestamp(values[self._version_at], self.shape.version),)
            written.append((index, self._insert, (*own, *values, *using)))
        for index, values in deletes:
            key, version = values[: len(self.shape.key)], values[len(self.shape.key) :]
            written.append((index, self._delete, (*(_timestamp(one, self.shape.version) for one in version), *key)))
        retry = await self._in_thread(lambda: self._send(written, rejected)) if written else {}
        if len(retry) == len(written) > 0:
            raise SinkUnavailable(f"The table {self._place} took nothing: {next(iter(retry.values()))}")
        if rejected or retry:
            raise incomplete(
                self.shape,
                deliveries,
                rejected=rejected,
                retry=retry,
                back_off_seconds=BUSY_BACK_OFF_SECONDS if retry else 0.0,
                message=next(iter(retry.values()), ""),
            )

    async def close(self) -> None:
        there, self._cluster, self._session = self._cluster, None, None
        if there is not None:
            await asyncio.get_running_loop().run_in_executor(None, there.shutdown)

    def view(self, rows_max: int, order: str = "") -> TableView:
        """As `Readable`. 10,000 rows are sorted; those of a larger table are counted, which reads it whole."""
        self.shape.order_terms(order)
        session = self._opened()
        size = max(rows_max, SORTED_ROWS_MAX)
        with self._translated():
            found = session.execute(f"SELECT {quoted(self.shape.column_names)} FROM {self._table} LIMIT {size + 1:d}")
            rows = [tuple(row) for row in found]
            total = len(rows)
            if total > size:
                total = int(session.execute(f"SELECT count(*) FROM {self._table}").one()[0])
        return sorted_view(self.shape, rows[:size], total, rows_max, order)

    def _connect(self) -> None:
        """Create what is absent: the keyspace, if it is known how, the table, and its columns."""
        session = self._connected()
        for statement in created(self._options, self.shape):
            session.execute(statement)
        there = self._columns(session)
        for column in self.shape.columns:
            if column.name not in there:
                session.execute(add_statement(self._options, self.shape, column))
        self._insert = session.prepare(self._insert_statement())
        self._insert.is_idempotent = True
        if self.shape.delete_when:
            self._delete = session.prepare(self._delete_statement())
            self._delete.is_idempotent = True
        self._session = session

    def _connected(self) -> Any:
        """A session of a new cluster."""
        options = self._options
        inner = (
            policies.DCAwareRoundRobinPolicy(options.datacenter) if options.datacenter else policies.RoundRobinPolicy()
        )
        profile = cluster.ExecutionProfile(
            load_balancing_policy=policies.TokenAwarePolicy(inner),
            consistency_level=cassandra.ConsistencyLevel.name_to_value[options.consistency.upper()],
            request_timeout=options.timeout_seconds,
            row_factory=lambda columns, rows: rows,
        )
        arguments: dict[str, Any] = {}
        if options.user is not None:
            arguments["auth_provider"] = PlainTextAuthProvider(options.user, options.password or "")
        if options.tls:
            arguments["ssl_context"] = ssl.create_default_context(cafile=options.ca_file)
        self._cluster = cluster.Cluster(
            options.contact_points,
            execution_profiles={cluster.EXEC_PROFILE_DEFAULT: profile},
            connect_timeout=options.timeout_seconds,
            control_connection_timeout=options.timeout_seconds,
            reconnection_policy=policies.ConstantReconnectionPolicy(RECONNECT_SECONDS, max_attempts=None),
            **arguments,
        )
        return self._cluster.connect()

    def describe(self) -> PresentTable | None:
        """The columns that the table has; None if there is none. Changes nothing, and needs no open sink. Blocks.

        Raises SinkFrozen if its primary key is another one.
        """
        with self._translated():
            try:
                session = self._connected()
                if not self._options.replication:
                    self._require_keyspace(session)
                columns = self._columns(session)
                present = {
                    name: with_texts_seen(
                        PresentColumn(column.type, holds(column.type)), partial(self._some, session, name)
                    )
                    for name, column in columns.items()
                }
            finally:
                there, self._cluster = self._cluster, None
                if there is not None:
                    there.shutdown()
        wanted = self.shape.key or (EVENT_COLUMN,)
        primary = [name for name, column in columns.items() if column.kind in ("partition_key", "clustering")]
        if columns and set(primary) != set(wanted):
            raise SinkFrozen(
                f"The table {self._place} has the primary key {', '.join(primary)}, and its rows are to be identified"
                f" by {', '.join(wanted)}.",
                hint="Give the sink the key of the table, or another `table`.",
            )
        return present or None

    def _some(self, session: Any, column: str) -> Iterable[object]:
        query = f"SELECT {quoted([column])} FROM {self._table} LIMIT {TEXTS_LOOKED_AT_MAX}"
        return (value for (value,) in session.execute(query))

    def _require_keyspace(self, session: Any) -> None:
        keyspace = self._options.keyspace
        query = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s"
        if not list(session.execute(query, (keyspace,))):
            raise SinkUnavailable(
                f"There is no keyspace {keyspace} at {', '.join(self._options.hosts)}.",
                hint="Create it, or give the sink `replication`, so that it does.",
            )

    def _columns(self, session: Any) -> dict[str, _Present]:
        """The columns of the table by name; nothing if there is no table."""
        query = "SELECT column_name, type, kind FROM system_schema.columns WHERE keyspace_name = %s AND table_name = %s"
        rows = session.execute(query, (self._options.keyspace, self.shape.name))
        return {name: _Present(kind, part) for name, kind, part in rows}

    def _insert_statement(self) -> str:
        names = [*(() if self.shape.key else (EVENT_COLUMN,)), *self.shape.column_names]
        marks = ", ".join("?" for _ in names)
        using = " USING TIMESTAMP ?" if self._version_at is not None else ""
        return f"INSERT INTO {self._table} ({quoted(names)}) VALUES ({marks}){using}"

    def _delete_statement(self) -> str:
        using = " USING TIMESTAMP ?" if self._version_at is not None else ""
        where = " AND ".join(f"{quoted([name])} = ?" for name in self.shape.key)
        return f"DELETE FROM {self._table}{using} WHERE {where}"

    def _check_version(self, columns: Sequence[Column], values: Sequence[Any]) -> None:
        """Raise EventMalformed if the version is no write timestamp."""
        for column, value in zip(columns, values, strict=True):
            if column.name == self.shape.version:
                _timestamp(value, column.path)

    def _send(
        self, written: Sequence[tuple[int, Any, tuple[Any, ...]]], rejected: dict[int, EventMalformed]
    ) -> dict[int, str]:
        """Which statements must be sent again, and why; `rejected` gets those that are refused."""
        session = self._opened()
        statements = []
        for index, prepared, values in written:
            try:
                statements.append((index, prepared.bind(values)))
            except PERMANENT as error:
                rejected[index] = EventMalformed(f"The table {self.shape.name} does not take it: {error}")
        answers = concurrent.execute_concurrent(
            session,
            [(bound, None) for _, bound in statements],
            concurrency=self._options.requests_max,
            raise_on_first_error=False,
        )
        retry = {}
        for (index, _), answer in zip(statements, answers, strict=True):
            refusal = None if answer.success else answer.result_or_exc
            if isinstance(refusal, PERMANENT):
                rejected[index] = EventMalformed(f"The table {self.shape.name} does not take it: {_said(refusal)}")
            elif refusal is not None:
                retry[index] = _said(refusal)
        return retry

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        with self._translated():
            return await asyncio.get_running_loop().run_in_executor(None, work)

    def _opened(self) -> Any:
        if self._session is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        return self._session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            raise SinkUnavailable(f"The table {self._place}: {_said(error)}") from error


def created(options: CassandraOptions, shape: TableShape) -> list[str]:
    """The statements that create the keyspace, if it is known how, and the table, where they are absent."""
    statements = []
    if options.replication:
        how = ", ".join(f"{_literal(name)}: {_literal(value)}" for name, value in options.replication.items())
        keyspace = quoted([options.keyspace])
        statements.append(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{{how}}}")
    return [*statements, create_statement(shape, options.keyspace, options.partition)]


def add_statement(options: CassandraOptions, shape: TableShape, column: Column) -> str:
    """The statement that adds a column."""
    table = f"{quoted([options.keyspace])}.{quoted([shape.name])}"
    return f"ALTER TABLE {table} ADD {quoted([column.name])} {TYPES[column.type]}"


def holds(kind: str) -> frozenset[ColumnType] | None:
    """The types of column that a type of Cassandra is used for; None if it is none of ours."""
    return frozenset(ours for ours, name in TYPES.items() if name == kind) or None


def _alterations(options: CassandraOptions, change: TableChange) -> list[str]:
    return [add_statement(options, change.shape, column) for column in change.added]


def create_statement(shape: TableShape, keyspace: str, partition: Sequence[str]) -> str:
    """The statement that creates the table where it is absent."""
    columns = [f"{quoted([column.name])} {TYPES[column.type]}" for column in shape.columns]
    key = shape.key
    if not key:
        key = (EVENT_COLUMN,)
        columns.insert(0, f"{quoted(key)} text")
    divided = tuple(partition) or key
    ordered = [name for name in key if name not in divided]
    primary = ", ".join([f"({quoted(divided)})", *(quoted([name]) for name in ordered)])
    table = f"{quoted([keyspace])}.{quoted([shape.name])}"
    return f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}, PRIMARY KEY ({primary}))"


def _timestamp(version: Any, path: str) -> int:
    """The write timestamp of a version. Raises EventMalformed if it has none; `path` names it."""
    if isinstance(version, str):
        moment = time_us(version)
        if moment is None:
            raise EventMalformed(f"{path} is no time: {version!r:.100}, and a text is compared as one here.")
        return moment
    return version if isinstance(version, int) else whole_version(version, path=path)


def _literal(value: Any) -> str:
    doubled = str(value).replace("'", "''")
    return f"'{doubled}'"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


SPEC = SinkSpec(
    name="cassandra",
    summary="Rows of a table in Apache Cassandra, with their version as write timestamp: a time, or a number.",
    options=CassandraOptions,
    make=lambda options, shape, directory: CassandraSink(options, shape),
    features=FEATURES,
    statements=created,
    describe=lambda options, shape, directory: CassandraSink(options, shape).describe(),
    alterations=_alterations,
    extra="cassandra",
    example="hosts: [localhost], keyspace: shop",
    batch=BatchDefaults(rows_max=2000),
    check=check_partition,
)
