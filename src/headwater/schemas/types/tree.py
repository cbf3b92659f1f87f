"""The field tree: the types of the fields of a JSON Schema, independent of databases and formats.

How this works: `read` turns a schema into a tree with all of its `Choice`s and untyped places; `fit` resolves those,
names and nulls for one target, and returns a plain tree of `Scalar`, `ListOf`, `MapOf` and `Struct`; one writer for
each target puts the plain tree into words (`types_sql`, `types_avro`, …). `types_alter` compares two plain trees. The
rules are contracts/schemas.md §5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

ScalarKind = Literal["boolean", "integer", "number", "string", "timestamp", "null", "json"]


# The `source` of the one field of a schema that does not describe an object of fields: the event itself.
WHOLE = ""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `timestamp` is a string of format date-time; `json` the text of any value (opt-in).

    `digits`: the most decimal digits of an integer that may be beyond 64 bits; 0 for all others.
    """

    kind: ScalarKind
    digits: int = 0


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array whose items have one type. `item_nullable`: an item may be null."""

    item: DataType
    item_nullable: bool = False


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object of any keys whose values have one type; `listed` are the properties that are declared as well."""

    value: DataType
    value_nullable: bool = False
    listed: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Struct:
    """An object of named fields, in the order the schema lists them."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Nullable:
    """A value of `type`, or null. Only in a tree that is not fitted to a target yet."""

    type: DataType


@dataclass(frozen=True, slots=True)
class Choice:
    """The type according to `type` alone (`own`), and with type lists, oneOf and anyOf (`united`)."""

    own: DataType
    united: DataType


@dataclass(frozen=True, slots=True)
class Untyped:
    """A place without one fixed type; `why` ends the sentence "the field …"."""

    why: str


DataType: TypeAlias = Scalar | ListOf | MapOf | Struct | Nullable | Choice | Untyped


@dataclass(frozen=True, slots=True)
class Field:
    """One property. `source` is its name in the event, `name` the column's; `required`: every event has it.

    `nullable`: the column may hold null. `path` is dotted, with `[]` for the items of an array and `{}` for the values
    of a map, as in `meta.tags[].name`.
    """

    name: str
    source: str
    type: DataType
    required: bool
    nullable: bool
    path: str
    description: str | None = None
    default: Any = None


@dataclass(frozen=True, slots=True)
class TypedSchema:
    """The fields of one version of a schema. `title` and `version` are None if the document does not declare them.

    `root` is a Struct, or a Choice of two if the whole event has alternatives.
    """

    title: str | None
    version: str | None
    root: DataType
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A remark for users of the result about the field at `path` ("" is the whole table)."""

    path: str
    sentence: str


def every_field(struct: Struct) -> Iterator[Field]:
    """The fields of a struct and of everything below it, parents first."""
    for field in struct.fields:
        yield field
        for below in structs_below(field.type):
            yield from every_field(below)


def structs_below(kind: DataType) -> Iterator[Struct]:
    """The structs directly inside a value of this type."""
    if isinstance(kind, Struct):
        yield kind
    elif isinstance(kind, ListOf):
        yield from structs_below(kind.item)
    elif isinstance(kind, MapOf):
        yield from structs_below(kind.value)
        yield from structs_below(Struct(kind.listed)) if kind.listed else ()
    elif isinstance(kind, Nullable):
        yield from structs_below(kind.type)
    elif isinstance(kind, Choice):
        yield from structs_below(kind.united)


def describe(kind: DataType) -> str:
    """A type in neutral words for messages: `integer`, `array of string`, `map of number`, `object`."""
    if isinstance(kind, Scalar):
        if kind.digits:
            return f"integer of up to {kind.digits} digits"
        return {"timestamp": "date-time", "json": "JSON text"}.get(kind.kind, kind.kind)
    if isinstance(kind, ListOf):
        return f"array of {describe(kind.item)}"
    if isinstance(kind, MapOf):
        return f"map of {describe(kind.value)}"
    if isinstance(kind, Nullable):
        return f"{describe(kind.type)} or null"
    if isinstance(kind, Choice):
        return describe(kind.united)
    return "object" if isinstance(kind, Struct) else "no single type"


def same_type(one: DataType, other: DataType) -> bool:
    """Whether two types are equal in the names and types of their fields."""
    if isinstance(one, Struct) and isinstance(other, Struct):
        others = {field.source: field for field in other.fields}
        return len(others) == len(one.fields) and all(
            field.source in others and same_type(field.type, others[field.source].type) for field in one.fields
        )
    if isinstance(one, ListOf) and isinstance(other, ListOf):
        return same_type(one.item, other.item)
    if isinstance(one, MapOf) and isinstance(other, MapOf):
        return same_type(one.value, other.value)
    if isinstance(one, Nullable) and isinstance(other, Nullable):
        return same_type(one.type, other.type)
    if isinstance(one, Choice) and isinstance(other, Choice):
        return same_type(one.united, other.united)
    return one == other
