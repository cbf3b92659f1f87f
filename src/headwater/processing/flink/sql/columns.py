"""The columns of a stream as a table of Flink: the fields of one version of its schema, and where an event is.

How this works: the one mapper of types gives the columns, with free-form places as JSON text, so that every stream has
a table. The columns about the place begin with `_`, as in `headwater sql`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.declaration import nearest
from headwater.errors import ConfigInvalid, SchemaNotFound
from headwater.intake.error_event import JOB_SCHEMA
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.types.fit import FitOptions
from headwater.schemas.types.read import read_types
from headwater.schemas.types.sql import FLINK, column_type
from headwater.schemas.types.targets import map_types
from headwater.schemas.types.tree import WHOLE, DataType, Field, ListOf, MapOf, Scalar, Struct
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

EVENT_TIME = "_event_time"
# Of each event: its topic, partition and offset, when it was received, and the key and headers of its record.
PLACE_COLUMNS = {
    "_topic": "STRING",
    "_partition": "INT",
    "_offset": "BIGINT",
    "_received": "TIMESTAMP_LTZ(3)",
    "_key": "BYTES",
    "_headers": "MAP<STRING, BYTES>",
}


@dataclass(frozen=True, slots=True)
class TypedStream:
    """A stream with the types of one version of its schema. `uri`: that version, as events name it."""

    stream: Stream
    uri: str
    root: Struct

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Names and types of the columns of its fields, in the order of the schema."""
        return [(field.name, column_type(field.type, FLINK)) for field in self.root.fields]


def typed_stream(streams: StreamRegistry, schemas: SchemaRepository, stream: str, version: str | None) -> TypedStream:
    """The types of a declared stream. `version` None: the newest. May read a directory.

    Raises StreamUnknown, SchemaNotFound, TypeUnmappable, and ConfigInvalid for a stream that can have no columns.
    """
    found = streams.get(stream)
    if found.schema_title is None:
        raise ConfigInvalid(
            f"The stream {stream} has no schema_title, so that its events have no types.",
            hint="Declare it in the file of the stream.",
        )
    document = _document(found, schemas, version)
    typed = read_types(document, lambda path: schemas.get(path).document)
    root = map_types(typed, "flink", options=FitOptions(json_columns=True, comments=False)).root
    if any(field.source == WHOLE for field in root.fields):
        raise ConfigInvalid(f"The events of {stream} are no objects with fields, so that there are no columns.")
    for field in root.fields:
        if field.name in (*PLACE_COLUMNS, EVENT_TIME):
            raise ConfigInvalid(f"{stream} has a field {field.name}, which is the name of a column of every table.")
    newest = str(document.get("$id", "")).rsplit("/", 1)[-1]
    return TypedStream(found, f"/{found.schema_title}/{newest or version}", _without_nulls(root))


def _document(stream: Stream, schemas: SchemaRepository, version: str | None) -> Mapping[str, Any]:
    """The schema of the version, or the newest; of error events also the one that comes with Headwater."""
    title = stream.schema_title
    try:
        return schemas.get(f"/{title}/{version or 'latest'}").document
    except SchemaNotFound as error:
        if title == "error" and version in (None, str(JOB_SCHEMA["$id"]).rsplit("/", 1)[-1]):
            return JOB_SCHEMA
        known = [uri.rsplit("/", 1)[1] for uri in schemas.uris() if uri.rsplit("/", 1)[0] == f"/{title}"]
        near = nearest(version or "", known)
        hint = f"Did you mean {near}?" if near else f"Known versions: {', '.join(known)}." if known else error.hint
        raise SchemaNotFound(f"{stream.name}: {error.message}", hint=hint) from None


def _without_nulls(root: Struct) -> Struct:
    """Fields that are always null as text that always is: tables of Flink have no type for them."""
    return Struct(tuple(_field(field) for field in root.fields))


def _field(field: Field) -> Field:
    return dataclasses.replace(field, type=_type(field.type))


def _type(kind: DataType) -> DataType:
    if isinstance(kind, Scalar):
        return Scalar("string") if kind.kind == "null" else kind
    if isinstance(kind, ListOf):
        return ListOf(_type(kind.item), kind.item_nullable)
    if isinstance(kind, MapOf):
        return MapOf(_type(kind.value), kind.value_nullable, kind.listed)
    assert isinstance(kind, Struct)
    return _without_nulls(kind)
