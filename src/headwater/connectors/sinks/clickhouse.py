"""The ClickHouse sink: events become rows of a table that keeps the newest one of each key, by its HTTP interface.

How this works: rows are only ever inserted. The table is a ReplacingMergeTree: of the rows of a key it keeps the one
with the greatest `_version`, at some time, and for a query with FINAL at once; a deletion is a row with `_deleted`. A
batch is one insert with a token of its own, which ClickHouse does not execute twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from headwater.connectors.contract import (
    Column,
    ColumnType,
    Delivery,
    PresentColumn,
    PresentTable,
    SinkFeatures,
    TableShape,
)
from headwater.connectors.credentials import refuse_credentials
from headwater.connectors.evolution import TEXTS_LOOKED_AT_MAX, TableChange, with_texts_seen
from headwater.connectors.partial_writes import incomplete
from headwater.connectors.rows import RowReader
from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.connectors.sql_columns import EXACT_MAX, inexact_error
from headwater.connectors.sql_dialect import order_by, quoted
from headwater.connectors.tables import TableView
from headwater.connectors.whole_versions import whole_version
from headwater.errors import EventMalformed, SinkUnavailable
from headwater.event import encode_json
from headwater.settings import REQUIRED, setting

FEATURES = SinkFeatures(token_in_target=False, upsert=True, deletes=True)
TYPES: Mapping[ColumnType, str] = {
    "text": "String",
    "integer": "Int64",
    "real": "Float64",
    "boolean": "Bool",
    "json": "String",
    # Its own times end in 2299; this text sorts as the times do.
    "timestamp": "String",
}
VERSION, DELETED = "_version", "_deleted"
# Inserts of the last batches are recognised when they come again.
DEDUPLICATED_INSERTS = 100
BUSY_BACK_OFF_SECONDS = 1.0
# A type around another one.
_WRAPPED = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)")
# The codes by which ClickHouse refuses rows for what they are: types, sizes, constraints.
REFUSALS = frozenset((6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 349, 469))


@dataclass(frozen=True, slots=True)
class ClickhouseOptions:
    """The options of a ClickHouse sink."""

    url: str = setting(
        REQUIRED, "`http://HOST:8123` or `https://…`; without a password.", starts_with=("http://", "https://")
    )
    database: str = setting("default", "The database; it must exist.")
    user: str | None = setting(None, "The user to log in as; null: the default one.")
    password: str | None = setting(None, "The password.", secret=True)
    timeout_seconds: float = setting(60.0, "How long an answer may take.", at_least=0.1)

    def __post_init__(self) -> None:
        """Raises ConfigInvalid if the URL has a password."""
        refuse_credentials(self.url)


class ClickhouseSink:
    """Fills one table of a database."""

    features = FEATURES

    def __init__(self, options: ClickhouseOptions, shape: TableShape) -> None:
        self.shape = shape
        self._options = options
        self._table = f"{quoted([options.database])}.{quoted([shape.name])}"
        self._rows = RowReader(shape, self._check_version)
        self._version_at = shape.column_names.index(shape.version) if shape.version else None
        self._client: httpx.AsyncClient | None = None
        self._arrived = 0

    async def open(self) -> str | None:
        await self.close()
        self._client = httpx.AsyncClient(**self._arguments())
        try:
            await self._ask(create_statement(self.shape, self._options.database))
            for column in self.shape.columns:
                await self._ask(add_statement(self.shape, column, self._options.database))
        except BaseException:
            await self.close()
            raise
        return None

    def check(self, delivery: Delivery) -> None:
        self._rows.check(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        self._opened()
        rows, deletes, rejected = self._rows.batch(deliveries)
        # The order of arrival, where rows have no version.
        self._arrived = max(self._arrived + 1, time.time_ns())
        lines = [(index, self._line(self.shape.column_names, values, is_deleted=False)) for index, values in rows]
        names = (*self.shape.key, *((self.shape.version,) if self.shape.version else ()))
        lines += [(index, self._line(names, values, is_deleted=True)) for index, values in deletes]
        if lines:
            await self._insert(lines, token, rejected)
        if rejected:
            raise incomplete(self.shape, deliveries, rejected=rejected)

    async def _insert(
        self, lines: Sequence[tuple[int, bytes]], token: str, rejected: dict[int, EventMalformed]
    ) -> None:
        """Insert the rows; those that ClickHouse refuses are found by halving, since it refuses all of an insert."""
        body = b"\n".join(line for _, line in lines)
        # What is written again of a batch may be fewer rows: it is another insert.
        once = f"{token}-{hashlib.sha256(body).hexdigest()}"
        settings = f"insert_deduplication_token = {_literal(once)}, input_format_skip_unknown_fields = 0"
        columns = [*self.shape.column_names, *((VERSION, DELETED) if self.shape.key else ())]
        try:
            await self._ask(
                f"INSERT INTO {self._table} ({quoted(columns)}) SETTINGS {settings} FORMAT JSONEachRow", body
            )
        except EventMalformed as error:
            if len(lines) == 1:
                rejected[lines[0][0]] = error
                return
            middle = len(lines) // 2
            await self._insert(lines[:middle], token, rejected)
            await self._insert(lines[middle:], token, rejected)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def view(self, rows_max: int, order: str = "") -> TableView:
        """As `Readable`; rows that were replaced or deleted are left out at once."""
        ordered = order_by(self.shape, order or self.shape.order)
        self._opened()
        source = f"{self._table}{' FINAL' if self.shape.key else ''}"
        query = f"SELECT {quoted(self.shape.column_names)} FROM {source}{ordered} LIMIT {rows_max:d}"
        settings = "SETTINGS output_format_json_quote_64bit_integers = 0"
        with httpx.Client(**self._arguments()) as client, self._translated():
            rows = _rows_of(client.post("", content=f"{query} {settings} FORMAT JSONCompactEachRow"))
            total = _answered(client.post("", content=f"SELECT count() FROM {source} FORMAT TabSeparated"))
        return TableView(self.shape.name, self.shape.column_names, rows, int(total))

    async def widen(self, columns: Sequence[Column]) -> None:
        for column in columns:
            name = quoted([column.name])
            with self._translated():
                where = f"{name} > {EXACT_MAX} OR {name} < -{EXACT_MAX}"
                count = f"SELECT count() FROM {self._table} WHERE {where} FORMAT TabSeparated"
                if int(_answered(await self._opened().post("", content=count))):
                    raise inexact_error(self.shape, column)
        for column in columns:
            await self._ask(widen_statement(self.shape, column, self._options.database))

    def describe(self) -> PresentTable | None:
        """The columns that the table has; None if there is none. Changes nothing, and needs no open sink. Blocks."""
        where = f"database = {_literal(self._options.database)} AND table = {_literal(self.shape.name)}"
        query = f"SELECT name, type FROM system.columns WHERE {where} ORDER BY position FORMAT JSONCompactEachRow"
        with httpx.Client(**self._arguments()) as client, self._translated():
            found = _rows_of(client.post("", content=query))
            columns = {name: PresentColumn(kind, holds(kind)) for name, kind in found}
            return {
                name: with_texts_seen(one, partial(self._some, client, name)) for name, one in columns.items()
            } or None

    def _some(self, client: httpx.Client, column: str) -> Iterable[object]:
        name = quoted([column])
        query = f"SELECT {name} FROM {self._table} WHERE {name} IS NOT NULL LIMIT {TEXTS_LOOKED_AT_MAX}"
        return (value for (value,) in _rows_of(client.post("", content=f"{query} FORMAT JSONCompactEachRow")))

    def _line(self, names: Sequence[str], values: Sequence[Any], *, is_deleted: bool) -> bytes:
        row = dict(zip(names, values, strict=True))
        if self.shape.key:
            version = row[self.shape.version] if self.shape.version else None
            row[VERSION] = self._arrived if version is None else whole_version(version, path=self.shape.version)
            row[DELETED] = int(is_deleted)
        return encode_json(row)

    def _check_version(self, columns: Sequence[Column], values: Sequence[Any]) -> None:
        """Raise EventMalformed if the version is none that ClickHouse compares."""
        for column, value in zip(columns, values, strict=True):
            if column.name == self.shape.version:
                whole_version(value, path=column.path)

    async def _ask(self, statement: str, body: bytes = b"") -> None:
        with self._translated():
            _answered(await self._opened().post("", content=statement.encode() + b"\n" + body))

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        return self._client

    def _arguments(self) -> dict[str, Any]:
        options = self._options
        headers = {"X-ClickHouse-User": options.user, "X-ClickHouse-Key": options.password}
        given = {name: value for name, value in headers.items() if value is not None}
        return {"base_url": options.url, "headers": given, "timeout": options.timeout_seconds, "trust_env": False}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        what = f"The table {self.shape.name} in {self._options.url}"
        try:
            yield
        except _Refused as error:
            if error.code in REFUSALS:
                raise EventMalformed(f"{what} does not take it: {error}") from error
            raise SinkUnavailable(f"{what}: {error}", back_off_seconds=BUSY_BACK_OFF_SECONDS) from error
        except httpx.HTTPError as error:
            raise SinkUnavailable(f"{what} does not answer: {error or type(error).__name__}.") from error


class _Refused(Exception):
    """ClickHouse answered with an error; `code` is its number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _rows_of(response: httpx.Response) -> list[tuple[Any, ...]]:
    """The rows of an answer in the format JSONCompactEachRow."""
    return [tuple(json.loads(line)) for line in _answered(response).split("\n") if line]


def _answered(answer: httpx.Response) -> str:
    if answer.status_code != httpx.codes.OK:
        text = answer.text.strip()
        code = answer.headers.get("X-ClickHouse-Exception-Code", "0")
        raise _Refused(int(code) if code.isdecimal() else 0, f"{answer.status_code}: {text[:500]}")
    return answer.text


def create_statement(shape: TableShape, database: str) -> str:
    """The statement that creates the table where it is absent."""
    columns = [f"{quoted([column.name])} {_type(shape, column)}" for column in shape.columns]
    engine, order = "MergeTree", "tuple()"
    if shape.key:
        columns += [f"{quoted([VERSION])} UInt64", f"{quoted([DELETED])} UInt8"]
        engine, order = f"ReplacingMergeTree({quoted([VERSION])}, {quoted([DELETED])})", f"({quoted(shape.key)})"
    table = f"{quoted([database])}.{quoted([shape.name])}"
    settings = f"non_replicated_deduplication_window = {DEDUPLICATED_INSERTS}"
    return (
        f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)})"
        f" ENGINE = {engine} ORDER BY {order} SETTINGS {settings}"
    )


def add_statement(shape: TableShape, column: Column, database: str) -> str:
    """The statement that adds a column where it is absent."""
    table = f"{quoted([database])}.{quoted([shape.name])}"
    return f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quoted([column.name])} {_type(shape, column)}"


def widen_statement(shape: TableShape, column: Column, database: str) -> str:
    """The statement that gives a column another type, and ends when all values have it."""
    table = f"{quoted([database])}.{quoted([shape.name])}"
    changed = f"MODIFY COLUMN {quoted([column.name])} {_type(shape, column)}"
    return f"ALTER TABLE {table} {changed} SETTINGS mutations_sync = 2"


def holds(kind: str) -> frozenset[ColumnType] | None:
    """The types of column that a type of ClickHouse is used for; None if it is none of ours."""
    plain = kind
    while (inner := _WRAPPED.fullmatch(plain)) is not None:
        plain = inner[1]
    return frozenset(ours for ours, name in TYPES.items() if name == plain) or None


def _type(shape: TableShape, column: Column) -> str:
    kind = TYPES[column.type]
    return kind if column.name in shape.key else f"Nullable({kind})"


def _alterations(options: ClickhouseOptions, change: TableChange) -> list[str]:
    added = [add_statement(change.shape, column, options.database) for column in change.added]
    return added + [widen_statement(change.shape, column, options.database) for column in change.widened]


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SPEC = SinkSpec(
    name="clickhouse",
    summary="Rows of a ClickHouse table, of which queries with FINAL see the newest one of each key.",
    options=ClickhouseOptions,
    make=lambda options, shape, directory: ClickhouseSink(options, shape),
    features=FEATURES,
    statements=lambda options, shape: [create_statement(shape, options.database)],
    describe=lambda options, shape, directory: ClickhouseSink(options, shape).describe(),
    alterations=_alterations,
    example="url: http://localhost:8123",
    batch=BatchDefaults(rows_max=50_000, bytes_max=33_554_432, seconds_max=5.0),
)
