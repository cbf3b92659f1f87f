"""Sinks of files with what the suites of sinks look with: their rows, as any reader of the manifests sees them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headwater.connectors.contract import Delivery, EventShape, Shape, TableShape
from headwater.connectors.lake.commits import TableDirectory
from headwater.connectors.lake.event_rows import arrow_columns, lake_columns
from headwater.connectors.lake.file_sink import FileOptions
from headwater.connectors.lake.formats import Format, json_lines, parquet
from headwater.connectors.lake.ingestion import LakeSink
from headwater.connectors.lake.options import LakeOptions
from headwater.connectors.lake.storage import StorageOptions, file_system
from headwater.connectors.registry import sink_spec
from headwater.connectors.rows import row_of
from headwater.connectors.sinks.parquet import columns_for
from headwater.connectors.sorted_views import sorted_view
from headwater.connectors.tables import TableView
from headwater.errors import SinkUnavailable
from headwater.schemas.types.read import read_types
from headwater.times import utc_microseconds

# What the suites of sinks send.
TEXT = {"type": "string"}
SCHEMA = {
    "title": "suite",
    "$id": "/suite/1.0.0",
    "type": "object",
    "properties": {
        "meta": {"type": "object", "properties": {"id": TEXT, "dt": {"type": "string", "format": "date-time"}}},
        "title": TEXT,
        "rev": {"type": "integer"},
        "name": TEXT,
        "number": {"type": "integer"},
        "number_2": {"type": "integer"},
        "text": TEXT,
        "real": {"type": "number"},
        "none": TEXT,
        "list": {"type": "array"},
    },
}
COLUMNS = lake_columns(read_types(SCHEMA))


class Place(NamedTuple):
    """Where files are stored, by the options of a sink; `project` is what relative directories are in."""

    options: Mapping[str, Any]
    project: Path

    def rows(self, table: str, form: Format) -> list[Mapping[str, Any]]:
        """The rows of a table, in the order of their files."""
        options = {name: value for name, value in self.options.items() if name != "location"}
        files = file_system(self.options["location"], StorageOptions(**options), self.project)
        directory = TableDirectory(files, table)
        found: list[Mapping[str, Any]] = []
        for place in directory.places():
            _, contents = directory.contents(place)
            for name in sorted(contents, key=lambda one: (not one.startswith("merged-"), one)):
                found += form.rows(contents[name])
        files.close()
        return found


class ReadableFiles:
    """Forwards to a sink of files, and shows what it stored as rows of `shape`."""

    def __init__(self, sink: Any, shape: TableShape, rows: Callable[[], Sequence[tuple[Any, ...]]]) -> None:
        self._sink = sink
        self._rows = rows
        self._is_open = False
        self.shape = shape
        self.features = sink.features
        self.check = sink.check
        self.write = sink.write
        self.set_aside = sink.set_aside

    async def open(self) -> str | None:
        token: str | None = await self._sink.open()
        self._is_open = True
        return token

    async def close(self) -> None:
        await self._sink.close()
        self._is_open = False

    def view(self, rows_max: int, order: str = "") -> TableView:
        if not self._is_open:
            raise SinkUnavailable("The sink is not open.")
        rows = self._rows()
        return sorted_view(self.shape, rows, len(rows), rows_max, order)


def without_key(shape: TableShape) -> TableShape:
    return TableShape(shape.name, shape.columns, order=shape.order)


def parquet_sink(place: Place, shape: TableShape) -> ReadableFiles:
    shape = without_key(shape)

    def rows() -> list[tuple[Any, ...]]:
        found = place.rows(shape.name, parquet(columns_for(shape)))
        return [tuple(_as_text(row.get(name)) for name in shape.column_names) for row in found]

    return ReadableFiles(_made("parquet", place, shape), shape, rows)


def jsonl_sink(place: Place, shape: TableShape) -> ReadableFiles:
    shape = without_key(shape)

    def rows() -> list[tuple[Any, ...]]:
        return [row_of(shape, Delivery(event)) for event in place.rows(shape.name, json_lines())]

    return ReadableFiles(_made("jsonl", place, EventShape(shape.name)), shape, rows)


def lake_sink(place: Place, name: str) -> LakeSink:
    options = LakeOptions(**place.options, table=name, state="state", columns=COLUMNS)
    return LakeSink(EventShape(name), options, place.project)


def readable_lake_sink(place: Place, shape: TableShape) -> ReadableFiles:
    shape = without_key(shape)

    def rows() -> list[tuple[Any, ...]]:
        found = place.rows(shape.name, parquet(arrow_columns(COLUMNS)))
        return [tuple(row.get(name) for name in shape.column_names) for row in found]

    return ReadableFiles(lake_sink(place, shape.name), shape, rows)


def event_file_sink(place: Place, shape: EventShape) -> Any:
    return _made("jsonl", place, EventShape(shape.name))


def _made(kind: str, place: Place, shape: Shape) -> Any:
    return sink_spec(kind).make(FileOptions(**place.options), shape, place.project)


def _as_text(value: Any) -> Any:
    return utc_microseconds(value) if isinstance(value, datetime.datetime) else value
