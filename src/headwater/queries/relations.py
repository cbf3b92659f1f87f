"""The streams and tables of a project as files of lines of JSON, each with the types of its columns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from headwater.config import Config
from headwater.connectors.contract import ColumnType, TableShape
from headwater.connectors.spec import TableSink
from headwater.connectors.tables import TableView
from headwater.errors import QueryInvalid, SchemaNotFound, TypeUnmappable
from headwater.log.contract import Log, Position, StoredRecord
from headwater.log.open import log_at, log_of
from headwater.log.time_options import parse_time_ms
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.types.fit import FitOptions
from headwater.schemas.types.read import read_types
from headwater.schemas.types.targets import map_types
from headwater.schemas.types.tree import Field, ListOf, MapOf, Struct
from headwater.streams.stream import Stream
from headwater.times import utc_milliseconds

# What each event of a stream has besides its own fields: its place in the log, and when it was received.
PLACE_COLUMNS: Mapping[str, str] = {"_topic": "VARCHAR", "_partition": "INTEGER", "_offset": "BIGINT"}
RECEIVED_COLUMN = "_received"
READ_BYTES_MAX = 8_388_608
READ_RECORDS_MAX = 10_000
TABLE_ROWS_MAX = 5_000_000
# DuckDB's type of each type of column that a table has.
TABLE_TYPES: Mapping[ColumnType, str] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "real": "DOUBLE",
    "boolean": "BOOLEAN",
    "json": "JSON",
    "timestamp": "TIMESTAMPTZ",
}


@dataclass(slots=True)
class Spool:
    """Files in a directory, whose total size is limited in bytes."""

    directory: Path
    bytes_max: int
    bytes_written: int = 0
    notes: list[str] = field(default_factory=list)

    def file(self) -> Path:
        """A new file."""
        return self.directory / f"{len(list(self.directory.glob('*.jsonl')))}.jsonl"

    def wrote(self, count: int) -> None:
        """Count bytes. Raises QueryInvalid if there are too many."""
        self.bytes_written += count
        if self.bytes_written > self.bytes_max:
            raise QueryInvalid(
                f"The query reads more than {self.bytes_max:,} bytes.",
                hint="Read less with --since and --until, or raise --spool-bytes-max.",
            )


@dataclass(frozen=True, slots=True)
class Between:
    """Times of receipt, in epoch milliseconds; None is open."""

    since_ms: int | None = None
    until_ms: int | None = None


def between(since: str | None, until: str | None) -> Between:
    """From ISO 8601 text (UTC if it has no zone) or epochs. Raises TimestampInvalid."""
    return Between(*(None if text is None else parse_time_ms(text) for text in (since, until)))


def stream_columns(stream: Stream, repository: SchemaRepository, notes: list[str]) -> dict[str, str] | None:
    """Column → DuckDB's type, from the newest version of the stream's schema; None if that gives none."""
    if stream.schema_title is None:
        return None
    try:
        schema = read_types(
            repository.get(f"/{stream.schema_title}/latest").document, lambda path: repository.get(path).document
        )
        mapped = map_types(schema, "duckdb", options=FitOptions(json_columns=True, all_nullable=True, comments=False))
    except (SchemaNotFound, TypeUnmappable) as error:
        notes.append(f"{stream.name}: types are found by looking at the events: {error.message}")
        return None
    columns = {}
    for column, described in zip(mapped.columns, mapped.root.fields, strict=True):
        if column.name != column.source:
            notes.append(f"{stream.name}: the field {column.source!r} is left out: DuckDB ignores the case of names.")
        else:
            columns[column.name] = column.type if _is_as_written(described) else "JSON"
    place = {**PLACE_COLUMNS, RECEIVED_COLUMN: "TIMESTAMPTZ"}
    return columns | {name: kind for name, kind in place.items() if name not in columns}


def _is_as_written(described: Field) -> bool:
    """Whether no name inside differs from the event's."""
    kind = described.type
    while isinstance(kind, ListOf | MapOf):
        kind = kind.item if isinstance(kind, ListOf) else kind.value
    if not isinstance(kind, Struct):
        return True
    return all(one.name == one.source and _is_as_written(one) for one in kind.fields)


async def spool_streams(config: Config, streams: Sequence[Stream], between: Between, spool: Spool) -> list[Path]:
    """The events of each stream as a file of lines, up to the end that the log has now.

    Raises LogUnavailable, LogCorrupt, ConfigInvalid without a log, QueryInvalid.
    """
    log = log_of(config) if config.log.is_kafka else log_at(f"sqlite:///{config.log_path}")
    await log.open()
    try:
        return [await _spool_stream(log, stream, between, spool) for stream in streams]
    finally:
        await log.close()


async def _spool_stream(log: Log, stream: Stream, between: Between, spool: Spool) -> Path:
    present = {info.name for info in await log.topics()}
    topics = [topic for topic in stream.topics if topic in present]
    path = spool.file()
    skipped = 0
    with path.open("wb") as file:
        if topics:
            end = await log.last(topics)
            position = await (log.first(topics) if between.since_ms is None else log.at(topics, between.since_ms))
            while (position := _unread(position, end)).offsets:
                records = await log.read(position, records_max=READ_RECORDS_MAX, bytes_max=READ_BYTES_MAX)
                if not records:
                    break
                lines = []
                for record in records:
                    position = position.after(record)
                    if between.until_ms is not None and record.timestamp_ms >= between.until_ms:
                        continue
                    line = _line(record) if record.offset < end.offsets[record.topic, record.partition] else b""
                    skipped += line is None
                    lines.append(line or b"")
                spool.wrote(file.write(b"".join(lines)))
    if skipped:
        spool.notes.append(f"{stream.name}: {skipped:,} records are not JSON objects and are left out.")
    return path


def _unread(position: Position, end: Position) -> Position:
    return Position({part: at for part, at in position.offsets.items() if at < end.offsets.get(part, 0)})


def _line(record: StoredRecord) -> bytes | None:
    """The event with its place, as it was stored otherwise; None if it is no JSON object, b"" for a tombstone."""
    value = record.value.strip()
    if not value:
        return b""
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(event, dict):
        return None
    if b"\n" in value:
        value = orjson.dumps(event)
    place: dict[str, Any] = {
        "_topic": record.topic,
        "_partition": record.partition,
        "_offset": record.offset,
        RECEIVED_COLUMN: utc_milliseconds(record.timestamp_ms),
    }
    if not event.keys().isdisjoint(place):
        place = {name: one for name, one in place.items() if name not in event}
    added = orjson.dumps(place)[1:-1]
    rest = value[1:]
    return b"{" + added + (b"," if event and added else b"") + rest + b"\n"


async def spool_table(sink: TableSink, shape: TableShape, spool: Spool) -> tuple[Path, dict[str, str]]:
    """The rows of a job's table as a file of lines, and the types of its columns.

    Raises SinkUnavailable if it cannot be read, QueryInvalid if it has too many rows.
    """
    await sink.open()
    try:
        view: TableView = await asyncio.to_thread(sink.view, TABLE_ROWS_MAX)
    finally:
        await sink.close()
    if view.rows_total > TABLE_ROWS_MAX:
        raise QueryInvalid(f"The table {shape.name} has {view.rows_total:,} rows; up to {TABLE_ROWS_MAX:,} are read.")
    file = spool.file()
    with file.open("wb") as lines:
        for row in view.rows:
            spool.wrote(lines.write(orjson.dumps(dict(_values(shape, row)), default=str) + b"\n"))
    return file, {column.name: TABLE_TYPES[column.type] for column in shape.columns}


def _values(shape: TableShape, row: Sequence[Any]) -> Iterable[tuple[str, Any]]:
    for column, value in zip(shape.columns, row, strict=True):
        if value is not None and column.type == "json" and isinstance(value, str):
            yield column.name, orjson.Fragment(value)
        elif value is not None and column.type == "boolean":
            yield column.name, bool(value)
        else:
            yield column.name, value
