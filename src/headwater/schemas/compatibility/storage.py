"""Whether a table can be kept under a new version: which columns are added, and which would have to change or go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.schemas.compatibility.answer import Answer, Reason
from headwater.schemas.dialect import DRAFT_2020_12
from headwater.schemas.graph import SchemaGraph
from headwater.schemas.violation import pointer_step

_SCALARS = {"string": "text", "integer": "whole number", "number": "floating point number", "boolean": "boolean"}


@dataclass(frozen=True)
class Scalar:
    kind: str


@dataclass(frozen=True)
class List:
    element: Column


@dataclass(frozen=True)
class Map:
    value: Column


@dataclass(frozen=True)
class Struct:
    fields: Mapping[str, Column]


# None: no fixed column type (no type at all, several types, free objects, tuples).
Column = Scalar | List | Map | Struct | None


class Columns:
    """The column types of one schema graph. A recursive schema has no fixed type where it recurs."""

    def __init__(self, graph: SchemaGraph) -> None:
        self._graph = graph
        self._open: set[int] = set()

    def root(self) -> Column:
        """The row itself: a struct if fields are declared."""
        return self._of(self._graph.nodes[self._graph.root_id].schema, is_row=True)

    def _of(self, schema: Any, *, is_row: bool = False) -> Column:
        if not isinstance(schema, dict) or id(schema) in self._open:
            return None
        self._open.add(id(schema))
        try:
            return self._typed(self._resolved(schema), is_row)
        finally:
            self._open.discard(id(schema))

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema with what it refers to; before 2020-12 a reference replaces its siblings."""
        for _ in range(100):
            place = self._graph.nodes.get(id(schema))
            target = None if place is None or place.target is None else self._graph.nodes[place.target]
            if place is None or target is None or not isinstance(target.schema, dict):
                return schema
            if not place.ref_replaces:
                siblings = {word: value for word, value in schema.items() if word != "$ref"}
                return {**self._resolved(target.schema), **siblings}
            schema = target.schema
        return schema

    def _typed(self, schema: dict[str, Any], is_row: bool) -> Column:
        types = schema.get("type")
        named = [one for one in ([types] if isinstance(types, str) else types or []) if one != "null"]
        if len(named) != 1:
            return None
        if named[0] == "string" and schema.get("format") == "date-time":
            return Scalar("timestamp")
        if named[0] in _SCALARS:
            return Scalar(_SCALARS[named[0]])
        if named[0] == "array":
            return self._list(schema)
        return self._object(schema, is_row) if named[0] == "object" else None

    def _list(self, schema: dict[str, Any]) -> Column:
        place = self._graph.nodes.get(id(schema))
        newer = place is not None and place.dialect == DRAFT_2020_12
        if newer and schema.get("prefixItems"):
            return None
        element = self._of(schema.get("items"))
        return None if element is None else List(element)

    def _object(self, schema: dict[str, Any], is_row: bool) -> Column:
        """Fields make a struct; a schema for other members makes a map, and so do both if all are of one type."""
        fields = {name: self._of(child) for name, child in self._fields(schema)}
        rest = schema.get("additionalProperties")
        value = self._of(rest) if isinstance(rest, dict) and rest else None
        if value is not None and not is_row and all(field == value for field in fields.values()):
            return Map(value)
        if not fields and isinstance(rest, dict) and rest and not is_row:
            return None
        if not fields and value is not None:
            return Map(value)
        # A row without fields is a table that has no columns yet; elsewhere a free object has no type.
        return Struct(fields) if fields or is_row else None

    def _fields(self, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Declared fields, including those of branches: a table has them whichever branch a row matched."""
        for word in ("allOf", "anyOf", "oneOf"):
            for branch in schema.get(word, ()):
                if isinstance(branch, dict):
                    yield from self._fields(self._resolved(branch))
        yield from schema.get("properties", {}).items()


def compare_storage(old: SchemaGraph, new: SchemaGraph) -> Answer:
    """Whether a table of `old` holds rows of `new` once nullable columns are added."""
    broken: list[Reason] = []
    untyped: list[str] = []
    _compare(Columns(old).root(), Columns(new).root(), "", broken, untyped)
    if broken:
        return Answer("no", tuple(broken))
    if untyped:
        return Answer("n/a", doubt=f"{untyped[0] or 'the whole'} has no fixed column type")
    return Answer("yes")


def _compare(old: Column, new: Column, pointer: str, broken: list[Reason], untyped: list[str]) -> None:
    if old is None or new is None:
        untyped.append(pointer)
    elif isinstance(old, Struct) and isinstance(new, Struct):
        for name in old.fields:
            below = pointer + pointer_step(name)
            if name in new.fields:
                _compare(old.fields[name], new.fields[name], below, broken, untyped)
            elif old.fields[name] is None:
                untyped.append(below)
            else:
                broken.append(_removed(below))
        untyped.extend(
            pointer + pointer_step(name)
            for name, added in new.fields.items()
            if name not in old.fields and added is None
        )
    elif isinstance(old, List) and isinstance(new, List):
        _compare(old.element, new.element, f"{pointer}/-", broken, untyped)
    elif isinstance(old, Map) and isinstance(new, Map):
        _compare(old.value, new.value, f"{pointer}/*", broken, untyped)
    elif old != new:
        broken.append(_changed(pointer, old, new))


def _removed(pointer: str) -> Reason:
    return Reason(
        pointer,
        "properties",
        f"The column {pointer} of existing tables would no longer have a field.",
        "Keep the field declared, mark it as deprecated in its description, or release a new major version.",
    )


def _changed(pointer: str, old: Column, new: Column) -> Reason:
    return Reason(
        pointer,
        "type",
        f"The column {pointer or '(the row)'} of existing tables is {_name(old)}; new data need {_name(new)}.",
        "Keep the type and declare a new field under another name, or release a new major version.",
    )


def _name(column: Column) -> str:
    if isinstance(column, Scalar):
        return f"a {column.kind}"
    return {List: "a list", Map: "a map", Struct: "a struct"}.get(type(column), "untyped")
