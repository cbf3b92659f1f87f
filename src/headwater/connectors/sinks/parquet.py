"""The Parquet sink: rows in files on local disk, in S3-compatible stores or in HDFS, each of them once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow

from headwater.connectors.contract import COLUMN_TYPES, ColumnType, Delivery, PresentColumn, PresentTable, TableShape
from headwater.connectors.lake.commits import Head
from headwater.connectors.lake.event_rows import evolved
from headwater.connectors.lake.file_sink import (
    BATCH,
    FEATURES,
    FileForm,
    FileOptions,
    FileSink,
    check_files,
    newest_commit,
    times_of,
)
from headwater.connectors.lake.formats import Format, parquet
from headwater.connectors.lake.state import columns_of, columns_text
from headwater.connectors.rows import RowReader
from headwater.connectors.spec import SinkSpec
from headwater.errors import ConfigInvalid
from headwater.times import time_us

_TYPES: dict[ColumnType, Any] = {
    "text": pyarrow.string(),
    "integer": pyarrow.int64(),
    "real": pyarrow.float64(),
    "boolean": pyarrow.bool_(),
    "json": pyarrow.string(),
    "timestamp": pyarrow.timestamp("us", tz="UTC"),
}


def columns_for(shape: TableShape) -> pyarrow.Schema:
    """The columns of a table in Arrow's types; every one may be null."""
    types = [(column.name, _TYPES[column.type]) for column in shape.columns]
    return pyarrow.schema(types)


def _check(options: FileOptions, shape: TableShape) -> None:
    check_files(options, shape)
    if shape.key:
        raise ConfigInvalid(
            f"The sink {shape.name} has a key, and files are only added to.", hint="Leave `key` out, or use iceberg."
        )


def _made(options: FileOptions, shape: TableShape, directory: Path) -> FileSink:
    _check(options, shape)

    def opened(head: Head | None) -> tuple[Format, dict[str, Any]]:
        columns = columns_for(shape)
        if head is not None and head.facts.get("columns"):
            columns = evolved(shape.name, columns_of(head.facts["columns"]), columns)
        return parquet(columns), {"columns": columns_text(columns)}

    reader = RowReader(shape)
    times = [column.name for column in shape.columns if column.type == "timestamp"]

    def row(delivery: Delivery) -> dict[str, Any]:
        found = dict(zip(shape.column_names, reader.row(delivery), strict=True))
        for name in times:
            if found[name] is not None:
                found[name] = time_us(found[name])
        return found

    return FileSink(shape.name, options, FileForm(row, opened), directory)


def _described(options: FileOptions, shape: TableShape, directory: Path) -> PresentTable | None:
    """The columns of the files; the first batch makes a table, and the next one adds columns."""
    head = newest_commit(shape.name, options, directory)
    if head is None or not head.facts.get("columns"):
        return None
    return {
        field.name: PresentColumn(str(field.type), _held(field.type)) for field in columns_of(head.facts["columns"])
    }


def _held(kind: Any) -> frozenset[ColumnType] | None:
    ours = {one for one in COLUMN_TYPES if _TYPES.get(one, pyarrow.string()).equals(kind)}
    return frozenset(ours) or None


SPEC = SinkSpec(
    name="parquet",
    summary="Rows in Parquet files, on local disk, in S3-compatible stores or in HDFS.",
    options=FileOptions,
    make=_made,
    features=FEATURES,
    describe=_described,
    extra="parquet",
    example="location: var/files",
    batch=BATCH,
    check=_check,
    fields=times_of,
)
