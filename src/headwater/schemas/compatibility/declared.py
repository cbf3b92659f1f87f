"""The names a schema declares, as a formula: what a producer that writes only declared names can write.

How this works: all schemas that apply to the same value (by `allOf`, branches and references, but not `not`) are taken
together. If they name members, no other member is written there; if an `additionalProperties` schema makes the object a
map, any name is declared; an object for which no schema names a member is free, and so is a value without a type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headwater.schemas.compatibility.evaluate import finds
from headwater.schemas.compatibility.nodes import (
    FALSE,
    TRUE,
    Formula,
    ItemAt,
    ItemsFrom,
    Member,
    MembersLike,
    Named,
    OtherMembers,
)
from headwater.schemas.compatibility.normal_form import NormalForm, slots_and_rest

Places = frozenset[int]
_MAPS = ("additionalProperties", "unevaluatedProperties")


class Declared:
    """The declared names of every part of one schema graph."""

    def __init__(self, form: NormalForm) -> None:
        self._form = form
        self._nodes = form.nodes
        self._graph = form.graph
        self._done: dict[Places, Formula] = {}
        self._open: set[Places] = set()

    def root(self) -> Formula:
        return self._of({self._graph.root_id})

    def _of(self, keys: Iterable[int]) -> Formula:
        places = self._together(keys)
        if not places:
            return TRUE
        if places in self._done:
            return self._done[places]
        name = ("declared", id(self._graph), places)
        if places in self._open:
            return self._nodes.add(Named(name))
        self._open.add(places)
        schemas = [(self._graph.nodes[key].schema, self._graph.nodes[key].dialect) for key in sorted(places)]
        formula = self._nodes.all_of([*self._members([schema for schema, _ in schemas]), *self._items(schemas)])
        self._open.discard(places)
        self._done[places] = formula
        self._nodes.name(name, formula)
        return formula

    def _schemas(self, schemas: Iterable[Any]) -> Formula:
        return self._of(id(schema) for schema in schemas if isinstance(schema, dict))

    def _together(self, keys: Iterable[int]) -> Places:
        """Every place that applies to the same value as these."""
        found: set[int] = set()
        stack = list(keys)
        while stack:
            key = stack.pop()
            place = self._graph.nodes.get(key)
            if key in found or place is None or not isinstance(place.schema, dict):
                continue
            if place.target is not None:
                stack.append(place.target)
            if place.ref_replaces:
                continue
            found.add(key)
            stack.extend(id(child) for child in _in_place(place.schema) if isinstance(child, dict))
        return frozenset(found)

    def _members(self, schemas: list[Mapping[str, Any]]) -> list[Formula]:
        names = sorted({name for schema in schemas for name in schema.get("properties", ())})
        expressions = sorted({one for schema in schemas for one in schema.get("patternProperties", ())})
        maps = [schema[word] for schema in schemas for word in _MAPS if _is_map(schema.get(word))]
        if not names and not expressions and not maps:
            return []
        parts = [(Member(name, self._schemas(_on_name(schemas, name)))) for name in names]
        # Expressions may overlap, so each allows what any of them declares.
        like = self._schemas(
            schema["patternProperties"][one]
            for schema in schemas
            for one in expressions
            if one in schema.get("patternProperties", ())
        )
        other = OtherMembers(frozenset(names), frozenset(expressions), self._schemas(maps) if maps else FALSE)
        matching = [MembersLike(one, like) for one in expressions]
        nodes: list[Member | MembersLike | OtherMembers] = [*parts, *matching, other]
        return [self._nodes.add(node) for node in nodes if node.schema != TRUE]

    def _items(self, schemas: list[tuple[Mapping[str, Any], str]]) -> list[Formula]:
        shapes = [slots_and_rest(schema, dialect) for schema, dialect in schemas]
        longest = max(len(slots) for slots, _ in shapes)
        parts = [
            ItemAt(index, self._schemas(slots[index] if index < len(slots) else rest for slots, rest in shapes))
            for index in range(longest)
        ]
        last = ItemsFrom(longest, self._schemas(rest for _, rest in shapes))
        nodes: list[ItemAt | ItemsFrom] = [*parts, last]
        return [self._nodes.add(node) for node in nodes if node.schema != TRUE]


def _on_name(schemas: list[Mapping[str, Any]], name: str) -> Iterable[Any]:
    for schema in schemas:
        own = schema.get("properties", {})
        like = schema.get("patternProperties", {})
        covering = [own[name]] if name in own else []
        covering += [child for expression, child in like.items() if finds(expression, name) is not False]
        yield from covering or (schema[word] for word in _MAPS if word in schema)


def _is_map(schema: Any) -> bool:
    """`additionalProperties: {}` restricts nothing, like `true`."""
    return isinstance(schema, dict) and bool(schema)


def _in_place(schema: Mapping[str, Any]) -> Iterable[Any]:
    for word in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(word, ())
    for word in ("if", "then", "else"):
        if word in schema:
            yield schema[word]
    for word in ("dependencies", "dependentSchemas"):
        yield from schema.get(word, {}).values()
