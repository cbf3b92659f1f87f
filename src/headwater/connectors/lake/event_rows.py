"""Events as rows of a lake: the columns of a schema, and what an event has besides, which is left out and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from headwater.errors import EventMalformed, TableConflict
from headwater.schemas.types.arrow import arrow_schema
from headwater.schemas.types.fit import FitOptions, fit
from headwater.schemas.types.rows import row_of
from headwater.schemas.types.targets import TARGETS
from headwater.schemas.types.tree import DataType, ListOf, MapOf, Struct, TypedSchema

# Not every tool that reads a lake allows a dollar sign at the beginning of a name.
DIGITS_MAX = 38
SCHEMA_FIELD, SCHEMA_COLUMN = "$schema", "_schema"


def lake_columns(schema: TypedSchema) -> Struct:
    """The columns of a schema's events in Arrow's types; every column may be null. Raises TypeUnmappable."""
    # What Parquet and its readers have no type for is JSON text.
    policy = replace(TARGETS["arrow"].policy, holds_null=False, digits_max=DIGITS_MAX)
    root = fit(schema, policy, FitOptions(json_columns=True, all_nullable=True, comments=False)).root
    taken = {field.name for field in root.fields}
    return Struct(
        tuple(
            replace(field, name=SCHEMA_COLUMN) if field.name == SCHEMA_FIELD and SCHEMA_COLUMN not in taken else field
            for field in root.fields
        )
    )


def lake_row(event: Mapping[str, Any], columns: Struct) -> dict[str, Any]:
    """The row of an event. Raises EventMalformed if a value has another type than its column."""
    try:
        return row_of(event, columns)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EventMalformed(f"The event does not fit the columns of its table: {error}.") from None


def undeclared(event: Any, kind: DataType, above: str = "") -> Iterator[str]:
    """The dotted paths of the fields that have no column; `[]` marks the items of a list, `{}` the values of a map."""
    if isinstance(kind, Struct) and isinstance(event, Mapping):
        known = {field.source: field for field in kind.fields}
        for name, value in event.items():
            path = f"{above}.{name}" if above else name
            if name not in known:
                yield path
            elif isinstance(value, Mapping | list):
                yield from undeclared(value, known[name].type, path)
    elif isinstance(kind, ListOf) and isinstance(event, list):
        for item in event:
            yield from undeclared(item, kind.item, f"{above}[]")
    elif isinstance(kind, MapOf) and isinstance(event, Mapping):
        for item in event.values():
            yield from undeclared(item, kind.value, f"{above}{{}}")


def ids_in(content: bytes) -> list[str]:
    """The values of `meta.id` in a Parquet file."""
    import pyarrow
    from pyarrow import parquet

    file = parquet.ParquetFile(pyarrow.BufferReader(content))
    if "meta.id" not in {file.schema.column(index).path for index in range(len(file.schema))}:
        return []
    metas = file.read(columns=["meta.id"]).column("meta").to_pylist()
    return [meta["id"] for meta in metas if meta is not None and isinstance(meta["id"], str)]


def arrow_columns(columns: Struct) -> Any:
    """The `pyarrow.Schema` of these columns."""
    return arrow_schema(columns)


def evolved(table: str, old: Any, new: Any) -> Any:
    """The columns of a table that had `old` and gets rows with `new`, both a `pyarrow.Schema`: those of both.

    Raises TableConflict if a column has another type.
    """
    import pyarrow

    fields = {field.name: field for field in old}
    for field in new:
        known = fields.get(field.name)
        fields[field.name] = field if known is None else _both(table, field.name, known, field)
    return pyarrow.schema(list(fields.values()))


def _both(table: str, path: str, old: Any, new: Any) -> Any:
    import pyarrow
    from pyarrow import types

    if old.type.equals(new.type):
        return old
    if types.is_struct(old.type) and types.is_struct(new.type):
        fields = {old.type.field(index).name: old.type.field(index) for index in range(old.type.num_fields)}
        for index in range(new.type.num_fields):
            field = new.type.field(index)
            known = fields.get(field.name)
            fields[field.name] = field if known is None else _both(table, f"{path}.{field.name}", known, field)
        return pyarrow.field(old.name, pyarrow.struct(list(fields.values())))
    if types.is_list(old.type) and types.is_list(new.type):
        item = _both(table, f"{path}[]", old.type.value_field, new.type.value_field)
        return pyarrow.field(old.name, pyarrow.list_(item))
    if types.is_map(old.type) and types.is_map(new.type):
        value = _both(table, f"{path}{{}}", old.type.item_field, new.type.item_field)
        return pyarrow.field(old.name, pyarrow.map_(old.type.key_type, value))
    raise TableConflict(
        f"The column {path} of the table {table} holds {old.type}, and the newest schema says {new.type}.",
        hint="The table is left as it is. Take the change of type back, or begin a new major version, with its own"
        " stream.",
    )
