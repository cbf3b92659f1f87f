"""The columns of an Iceberg table: their types, what a table has of them, and rows as Arrow tables."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform, HourTransform
from pyiceberg.types import (
    BooleanType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestamptzType,
)

from headwater.connectors.contract import Column, ColumnType, PresentColumn, PresentTable, TableShape
from headwater.connectors.evolution import TEXTS_LOOKED_AT_MAX, TableChange, with_texts_seen
from headwater.errors import ConfigInvalid, SinkFrozen
from headwater.times import time_us, utc_microseconds

FROZEN_PAUSE_SECONDS = 2.0
TYPES: Mapping[ColumnType, PrimitiveType] = {
    "text": StringType(),
    "integer": LongType(),
    "real": DoubleType(),
    "boolean": BooleanType(),
    "json": StringType(),
    "timestamp": TimestamptzType(),
}
# Integers and numbers of other engines that are made as wide as ours when the table is opened: Iceberg allows that.
_NARROW: Mapping[type[Any], tuple[ColumnType, PrimitiveType]] = {
    IntegerType: ("integer", LongType()),
    FloatType: ("real", DoubleType()),
}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# The field ids of partitions begin here, by the format.
_PARTITION_ID = 1000


def schema_of(shape: TableShape) -> Schema:
    """The schema of a table that is created. The key is named to other engines, where the format allows its types."""
    named = shape.key if not any(one.type == "real" for one in shape.columns if one.name in shape.key) else ()
    fields = [
        NestedField(field_id=number, name=one.name, field_type=TYPES[one.type], required=one.name in named)
        for number, one in enumerate(shape.columns, 1)
    ]
    identifiers = [field.field_id for field in fields if field.name in named]
    return Schema(*fields, identifier_field_ids=identifiers)


def partitions_of(shape: TableShape, schema: Schema, column: str, by: str) -> PartitionSpec:
    """The partitions of a table that is created. Raises ConfigInvalid if the column is no timestamp."""
    if not column:
        return UNPARTITIONED_PARTITION_SPEC
    if {one.name: one.type for one in shape.columns}.get(column) != "timestamp":
        raise ConfigInvalid(
            f"The table {shape.name} cannot be partitioned by {column!r}: it is no timestamp column.",
            hint="Set `partition_column` to one, or leave it out.",
        )
    transform: HourTransform[Any] | DayTransform[Any] = HourTransform() if by == "hour" else DayTransform()
    source = schema.find_field(column).field_id
    return PartitionSpec(PartitionField(source, _PARTITION_ID, transform, f"{column}_{by}"))


def present_columns(table: Table) -> PresentTable:
    """The columns that the table has, and what they are suited for."""
    return {
        field.name: with_texts_seen(
            PresentColumn(str(field.field_type), _holds(type(field.field_type))), partial(_some, table, field.name)
        )
        for field in table.schema().fields
    }


def _some(table: Table, column: str) -> Iterable[object]:
    found = table.scan(selected_fields=(column,), limit=TEXTS_LOOKED_AT_MAX).to_arrow()
    return list(found.column(column).to_pylist())


def alterations(change: TableChange) -> list[str]:
    """What is done to the table, in the words of SQL."""
    name = change.shape.name
    added = [f"ALTER TABLE {name} ADD COLUMN {one.name} {TYPES[one.type]}" for one in change.added]
    widened = [f"ALTER TABLE {name} ALTER COLUMN {one.name} TYPE {TYPES[one.type]}" for one in change.widened]
    return [*added, *widened]


def creation(shape: TableShape, column: str, by: str) -> list[str]:
    """The table that is created, in the words of Spark's SQL. Raises ConfigInvalid as `partitions_of`."""
    schema = schema_of(shape)
    columns = [f"{one.name} {one.field_type}{' NOT NULL' if one.required else ''}" for one in schema.fields]
    partitions = (
        "" if partitions_of(shape, schema, column, by).is_unpartitioned() else f" PARTITIONED BY ({by}s({column}))"
    )
    return [f"CREATE TABLE {shape.name} ({', '.join(columns)}) USING iceberg{partitions}"]


def complete(table: Table, shape: TableShape) -> bool:
    """Add the columns that the table lacks, and widen narrow ones; whether there was something to do.

    Raises SinkFrozen if a column has a type that no event has, or must be filled and is not in the shape.
    """
    present = {field.name: field for field in table.schema().fields}
    strange = [
        one.name for one in shape.columns if one.name in present and not _holds(type(present[one.name].field_type))
    ]
    unfilled = [field.name for field in present.values() if field.required and field.name not in shape.column_names]
    if strange or unfilled:
        names = ", ".join([*strange, *unfilled])
        raise SinkFrozen(
            f"The table {shape.name} cannot hold its events: its columns {names} have types that no event has, or must"
            " be filled and are not among the columns of the sink.",
            hint="Choose another `table`, or change these columns.",
            back_off_seconds=FROZEN_PAUSE_SECONDS,
        )
    absent = [one for one in shape.columns if one.name not in present]
    narrow = [
        one.name for one in shape.columns if one.name in present and type(present[one.name].field_type) in _NARROW
    ]
    if not absent and not narrow:
        return False
    with table.update_schema() as update:
        for column in absent:
            update.add_column(column.name, TYPES[column.type])
        for name in narrow:
            update.update_column(name, _NARROW[type(present[name].field_type)][1])
    return True


def arrow_rows(schema: Schema, columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> pyarrow.Table:
    """Rows with these columns as an Arrow table with all columns of the schema; the others have no values."""
    arrow = schema_to_pyarrow(schema, include_field_ids=False)
    values = dict(zip((one.name for one in columns), zip(*rows, strict=True), strict=True)) if rows else {}
    kinds = {one.name: one.type for one in columns}
    arrays = []
    for field in arrow:
        given = values.get(field.name)
        if given is None:
            arrays.append(pyarrow.nulls(len(rows), field.type))
            continue
        kind = kinds[field.name]
        plain = given if kind != "timestamp" else [plain_value(kind, value) for value in given]
        arrays.append(pyarrow.array(plain, field.type))
    return pyarrow.Table.from_arrays(arrays, schema=arrow)


def plain_value(kind: ColumnType, value: Any) -> Any:
    """A value of a row as it is compared here and written: a time is its microseconds since the epoch."""
    return time_us(value) if kind == "timestamp" and isinstance(value, str) else value


def plain_values(array: pyarrow.ChunkedArray) -> list[Any]:
    """The values of a column of a table, as `plain_value`."""
    found: list[Any] = (array.cast(pyarrow.int64()) if pyarrow.types.is_timestamp(array.type) else array).to_pylist()
    return found


def shown_values(array: pyarrow.ChunkedArray) -> list[Any]:
    """The values of a column of a table, as an event has them."""
    values = plain_values(array)
    if not pyarrow.types.is_timestamp(array.type):
        return values
    return [
        None if value is None else utc_microseconds(_EPOCH + datetime.timedelta(microseconds=value)) for value in values
    ]


def _holds(kind: type[Any]) -> frozenset[ColumnType] | None:
    if kind in _NARROW:
        return frozenset({_NARROW[kind][0]})
    return frozenset(name for name, one in TYPES.items() if type(one) is kind) or None
