"""What a table for one version of a schema needs to hold the next: columns are added, nothing is lost or retyped.

How this works: the two fitted trees are compared field by field and give steps without SQL; a step becomes a statement
if the dialect stores that place as columns of its own. A step that would lose values or change what is stored is
refused (contracts/schemas.md §4.3, column Storage), even if the database could do it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from headwater.schemas.types.sql import (
    Dialect,
    column_definition,
    column_type,
    comment_statements,
    is_json_column,
    table_name,
)
from headwater.schemas.types.tree import DataType, Field, ListOf, MapOf, Scalar, Struct, describe, same_type

ChangeKind = Literal["add", "nullable", "widen", "keep", "note", "refuse"]

# What the content of an array and of a map is called in a statement that reaches into them.
_ELEMENT, _VALUE = "element", "value"


@dataclass(frozen=True, slots=True)
class AlterOptions:
    """What the user may allow.

    `widen`: integer columns may become floating-point numbers, or decimals of more digits. `keep_removed`: the columns
    of removed fields stay, and new rows have null there; without it a removal is refused.
    """

    widen: bool = False
    keep_removed: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `place` are the names from the column down, `sentence` says what happens, or why it cannot."""

    kind: ChangeKind
    path: str
    sentence: str
    place: tuple[str, ...] = ()
    field: Field | None = None


@dataclass(frozen=True, slots=True)
class AlterPlan:
    """The steps from `old_version` to `new_version`. `statements` are empty if the target has no ALTER TABLE."""

    target: str
    table: str
    old_version: str | None
    new_version: str | None
    changes: tuple[Change, ...]
    statements: tuple[str, ...]

    @property
    def refused(self) -> tuple[Change, ...]:
        """The changes that cannot be made; a plan with any must not be executed."""
        return tuple(change for change in self.changes if change.kind == "refuse")

    @property
    def possible(self) -> bool:
        """Whether a table of the old version can hold the new one."""
        return not self.refused


def changes_between(old: Struct, new: Struct, options: AlterOptions | None = None) -> tuple[Change, ...]:
    """The differences of two fitted trees, in the order of the old one, then the new fields."""
    return tuple(_struct_changes(old, new, (), options or AlterOptions()))


def alter_statements(
    changes: Sequence[Change], old: Struct, new: Struct, table: str, dialect: Dialect
) -> tuple[str, ...]:
    """SQL for the changes that need any, each statement ending in a semicolon and a line break."""
    writer = _Writer(table, dialect, old, new)
    statements: list[str] = []
    for change in changes:
        for statement in writer.statements(change):
            if statement not in statements:
                statements.append(statement)
    return tuple(statements)


def merged(old: Struct, new: Struct) -> Struct:
    """The fields of a table after the change: the old ones in their places, the new ones after them."""
    later = {field.source: field for field in new.fields}
    fields = [_merged_field(field, later.pop(field.source, None)) for field in old.fields]
    return Struct((*fields, *(replace(field, nullable=True, required=False) for field in later.values())))


def _merged_field(old: Field, new: Field | None) -> Field:
    if new is None:
        return replace(old, nullable=True, required=False)
    nullable = old.nullable or new.nullable
    return replace(new, type=_merged_type(old.type, new.type), nullable=nullable, required=not nullable)


def _merged_type(old: DataType, new: DataType) -> DataType:
    if isinstance(old, Struct) and isinstance(new, Struct):
        return merged(old, new)
    if isinstance(old, ListOf) and isinstance(new, ListOf):
        return replace(new, item=_merged_type(old.item, new.item))
    if isinstance(old, MapOf) and isinstance(new, MapOf):
        return replace(new, value=_merged_type(old.value, new.value))
    if isinstance(old, Scalar) and isinstance(new, Scalar) and old.kind == new.kind == "integer":
        return old if old.digits > new.digits else new
    return new


def _struct_changes(old: Struct, new: Struct, place: tuple[str, ...], options: AlterOptions) -> Iterator[Change]:
    later = {field.source: field for field in new.fields}
    earlier = {field.source for field in old.fields}
    added = [field for field in new.fields if field.source not in earlier]
    for field in old.fields:
        now = later.get(field.source)
        if now is None:
            yield from _removal(field, added, (*place, field.name), options)
        else:
            yield from _field_changes(field, now, (*place, field.name), options)
    for field in added:
        sentence = f"is added as {describe(field.type)}; existing rows have null"
        if field.required:
            sentence += ", so the column is nullable although the new version requires it"
        yield Change("add", field.path, sentence, place, field)


def _removal(field: Field, added: Sequence[Field], place: tuple[str, ...], options: AlterOptions) -> Iterator[Change]:
    if options.keep_removed:
        yield Change("keep", field.path, "is no longer in the schema; its column stays, and new rows have null", place)
        if not field.nullable:
            yield Change("nullable", field.path, "is no longer required", place, field)
        return
    twins = [other.source for other in added if same_type(other.type, field.type)]
    rename = f" (renamed to {twins[0]}? A rename is a removal)" if len(twins) == 1 else ""
    yield Change(
        "refuse",
        field.path,
        f"is no longer in the schema{rename}: dropping its column would lose what older rows hold. "
        "Keep the field, or leave the column in place with --keep-removed",
        place,
    )


def _field_changes(old: Field, new: Field, place: tuple[str, ...], options: AlterOptions) -> Iterator[Change]:
    if new.nullable and not old.nullable:
        yield Change("nullable", new.path, "is no longer in every event", place, new)
    elif old.nullable and not new.nullable:
        yield Change("note", new.path, "is in every event from now on; the column stays nullable for older rows", place)
    yield from _type_changes(old.type, new, new.type, place, options)


def _type_changes(
    old: DataType, field: Field, new: DataType, place: tuple[str, ...], options: AlterOptions
) -> Iterator[Change]:
    if isinstance(old, Struct) and isinstance(new, Struct):
        yield from _struct_changes(old, new, place, options)
    elif isinstance(old, ListOf) and isinstance(new, ListOf):
        yield from _type_changes(old.item, field, new.item, (*place, _ELEMENT), options)
    elif isinstance(old, MapOf) and isinstance(new, MapOf):
        yield from _type_changes(old.value, field, new.value, (*place, _VALUE), options)
    elif _are_integers(old, new):
        yield from _width_changes(old, field, new, place, options)
    elif isinstance(old, Scalar) and old.kind == "integer" and new == Scalar("number"):
        if options.widen and len(place) == 1:
            sentence = "becomes a floating-point number; integers beyond 2^53 lose their last digits"
            yield Change("widen", field.path, sentence, place, field)
        else:
            sentence = "was integer and is number: integers beyond 2^53 would lose their last digits"
            way = "; allow it with --widen" if len(place) == 1 else ""
            yield Change("refuse", field.path, sentence + way, place)
    elif not same_type(old, new):
        yield Change(
            "refuse",
            field.path,
            f"was {describe(old)} and is {describe(new)}: older rows cannot be read as that. "
            "Add a field with another name, or start a new table for the new major version",
            place,
        )


def _width_changes(
    old: DataType, field: Field, new: DataType, place: tuple[str, ...], options: AlterOptions
) -> Iterator[Change]:
    assert isinstance(old, Scalar)
    assert isinstance(new, Scalar)
    if new.digits < old.digits:
        yield Change("note", field.path, f"is {describe(new)} now; the column stays as wide as it is", place)
    elif new.digits > old.digits and options.widen and len(place) == 1:
        yield Change("widen", field.path, f"becomes a decimal of {new.digits} digits", place, field)
    elif new.digits > old.digits:
        sentence = f"was {describe(old)} and is {describe(new)}: the column does not hold them"
        way = "; allow a wider one with --widen" if len(place) == 1 else ""
        yield Change("refuse", field.path, sentence + way, place)


def _are_integers(one: DataType, other: DataType) -> bool:
    return isinstance(one, Scalar) and isinstance(other, Scalar) and one.kind == other.kind == "integer"


class _Writer:
    """Statements of one dialect for changes of one table."""

    def __init__(self, table: str, dialect: Dialect, old: Struct, new: Struct) -> None:
        self._table = table
        self._dialect = dialect
        self._alter = f"ALTER TABLE {table_name(table, dialect)} "
        self._old = {field.name: field for field in old.fields}
        self._after = {field.name: field for field in merged(old, new).fields}

    def statements(self, change: Change) -> Iterator[str]:
        if change.kind == "add" and change.field is not None:
            yield from self._add(change.place, change.field)
        elif change.kind == "nullable":
            yield from self._drop_not_null(change.place)
        elif change.kind == "widen":
            yield from self._widen(change.place[0])

    def _add(self, place: tuple[str, ...], field: Field) -> Iterator[str]:
        dialect = self._dialect
        if not place:
            definition = column_definition(field, dialect, added=True)
            brackets = dialect.name in ("flink", "spark", "hive", "iceberg")
            words = "ADD" if dialect.name == "flink" else "ADD COLUMNS" if brackets else "ADD COLUMN"
            yield f"{self._alter}{words} ({definition});\n" if brackets else f"{self._alter}{words} {definition};\n"
            if dialect.comments == "statement":
                yield from comment_statements(Struct((field,)), self._table, dialect)
            return
        if is_json_column(self._old[place[0]].type, dialect):
            return
        if dialect.name in ("hive", "flink"):
            yield self._whole_column(place[0])
            return
        path = self._path((*place, field.name))
        kind = column_type(field.type, dialect)
        if dialect.name in ("iceberg", "spark"):
            yield f"{self._alter}ADD COLUMNS ({path} {kind});\n"
        else:
            yield f"{self._alter}ADD COLUMN {path} {kind};\n"

    def _drop_not_null(self, place: tuple[str, ...]) -> Iterator[str]:
        dialect = self._dialect
        if not dialect.not_null or (is_json_column(self._old[place[0]].type, dialect) and len(place) > 1):
            return
        if len(place) > 1 and not dialect.nested_not_null:
            return
        if dialect.name == "mysql":
            yield f"{self._alter}MODIFY COLUMN {column_definition(self._after[place[0]], dialect)};\n"
        else:
            yield f"{self._alter}ALTER COLUMN {self._path(place)} DROP NOT NULL;\n"

    def _widen(self, column: str) -> Iterator[str]:
        dialect, field = self._dialect, self._after[column]
        kind, name = column_type(field.type, dialect), dialect.quote(column)
        if dialect.name == "mysql":
            yield f"{self._alter}MODIFY COLUMN {column_definition(field, dialect)};\n"
        elif dialect.name in ("postgres", "duckdb"):
            yield f"{self._alter}ALTER COLUMN {name} TYPE {kind};\n"
        elif dialect.name in ("hive", "flink"):
            yield self._whole_column(column)

    def _whole_column(self, column: str) -> str:
        """The complete column after the change, for dialects whose statements cannot reach into it."""
        definition = column_definition(self._after[column], self._dialect)
        if self._dialect.name == "flink":
            return f"{self._alter}MODIFY ({definition});\n"
        return f"{self._alter}CHANGE COLUMN {self._dialect.quote(column)} {definition};\n"

    def _path(self, place: tuple[str, ...]) -> str:
        return ".".join(self._dialect.quote(step) for step in place)
