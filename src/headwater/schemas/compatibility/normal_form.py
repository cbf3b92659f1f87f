"""Translates a schema, with everything its references reach, into the formulas that comparisons work on.

How this works: equivalent keywords become the same node: `const` is an `enum` of one, `items: false` is a bound on the
length, `dependencies` are alternatives, an `allOf` is merged into the schema around it, annotations are dropped. A
reference becomes the formula of its target; one that is still being translated is represented by a name, which makes
the recursion finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headwater.schemas.compatibility.evaluated import Coverage, coverages
from headwater.schemas.compatibility.nodes import (
    FALSE,
    TRUE,
    AtLeast,
    AtMost,
    Choice,
    ContainsAtLeast,
    ContainsAtMost,
    Formula,
    Has,
    ItemAt,
    ItemsFrom,
    Member,
    MemberNames,
    MembersLike,
    MultipleOf,
    Named,
    Nodes,
    Opaque,
    OtherMembers,
    Pattern,
    SizeAtLeast,
    SizeAtMost,
    Types,
    Unique,
)
from headwater.schemas.compatibility.numbers import fraction
from headwater.schemas.dialect import DRAFT_2020_12
from headwater.schemas.graph import Node as Place
from headwater.schemas.graph import SchemaGraph
from headwater.schemas.json_value import is_number
from headwater.schemas.validation.formats import FORMAT_PATTERNS

_SIZES: dict[str, tuple[type[SizeAtLeast | SizeAtMost], str]] = {
    "minLength": (SizeAtLeast, "string"),
    "maxLength": (SizeAtMost, "string"),
    "minItems": (SizeAtLeast, "array"),
    "maxItems": (SizeAtMost, "array"),
    "minProperties": (SizeAtLeast, "object"),
    "maxProperties": (SizeAtMost, "object"),
}
_UNREASONABLE = ("$dynamicRef", "$recursiveRef")


class NormalForm:
    """The formulas of one schema graph. Two graphs may share one table of nodes, as a comparison needs."""

    def __init__(self, graph: SchemaGraph, nodes: Nodes) -> None:
        self.graph = graph
        self.nodes = nodes
        self._done: dict[int, Formula] = {}
        self._open: set[int] = set()
        self._object = nodes.add(Types(frozenset(("object",))))

    def root(self) -> Formula:
        return self.of(self.graph.root_id)

    def of(self, key: int) -> Formula:
        """The formula of a place of the graph."""
        if key in self._done:
            return self._done[key]
        name = (id(self.graph), key)
        if key in self._open:
            return self.nodes.add(Named(name))
        self._open.add(key)
        formula = self._translate(self.graph.nodes[key])
        self._open.discard(key)
        self._done[key] = formula
        self.nodes.name(name, formula)
        return formula

    def child(self, schema: Any) -> Formula:
        """The formula of a subschema: an object of the graph, or a boolean."""
        if isinstance(schema, bool):
            return TRUE if schema else FALSE
        return self.of(id(schema))

    def _translate(self, place: Place) -> Formula:
        schema = place.schema
        if not isinstance(schema, Mapping):
            return TRUE if schema is not False else FALSE
        if place.ref_replaces and place.target is not None:
            return self.of(place.target)
        parts: list[Formula] = []
        if place.target is not None:
            parts.append(self.of(place.target))
        for rule in (self._values, self._numbers, self._strings, self._arrays, self._objects, self._logic):
            parts.extend(rule(schema, place.dialect))
        parts.extend(self._dependencies(schema))
        if place.dialect == DRAFT_2020_12:
            parts.extend(self._unevaluated(schema))
        parts.extend(
            self.nodes.add(Opaque(kind, f"{word} {schema[word]}"))
            for word in _UNREASONABLE
            if word in schema
            for kind in ("number", "string", "array", "object")
        )
        return self.nodes.all_of(parts)

    def _values(self, schema: Mapping[str, Any], _: str) -> Iterator[Formula]:
        types = schema.get("type")
        if types is not None:
            yield self.nodes.add(Types(frozenset([types] if isinstance(types, str) else types)))
        if isinstance(schema.get("enum"), list):
            yield self.nodes.values_of(schema["enum"])
        if "const" in schema:
            yield self.nodes.values_of([schema["const"]])

    def _numbers(self, schema: Mapping[str, Any], _: str) -> Iterator[Formula]:
        for word, exclusive_word, kind in (
            ("minimum", "exclusiveMinimum", AtLeast),
            ("maximum", "exclusiveMaximum", AtMost),
        ):
            bound: Any = schema.get(word)
            exclusive: Any = schema.get(exclusive_word)
            if is_number(bound):
                # draft-04 wrote `exclusiveMinimum: true` next to the bound.
                yield self.nodes.add(kind(fraction(bound), exclusive is True))
            if is_number(exclusive):
                yield self.nodes.add(kind(fraction(exclusive), True))
        if is_number(schema.get("multipleOf")):
            yield self.nodes.add(MultipleOf(fraction(schema["multipleOf"])))

    def _strings(self, schema: Mapping[str, Any], _: str) -> Iterator[Formula]:
        for word, (node, kind) in _SIZES.items():
            size: Any = schema.get(word)
            if is_number(size) and not (node is SizeAtLeast and size <= 0):
                yield self.nodes.add(node(kind, int(size)))
        if isinstance(schema.get("pattern"), str):
            yield self.nodes.add(Pattern(schema["pattern"]))
        name = schema.get("format")
        if isinstance(name, str):
            expression = FORMAT_PATTERNS.get(name)
            yield self.nodes.add(Pattern(expression) if expression else Opaque("string", name))

    def _arrays(self, schema: Mapping[str, Any], dialect: str) -> Iterator[Formula]:
        slots, rest = slots_and_rest(schema, dialect)
        for index, slot in enumerate(slots):
            formula = self.child(slot)
            if formula == FALSE:
                yield self.nodes.add(SizeAtMost("array", index))
            elif formula != TRUE:
                yield self.nodes.add(ItemAt(index, formula))
        yield from self._items_from(len(slots), self.child(rest))
        if schema.get("uniqueItems") is True:
            yield self.nodes.add(Unique())
        if isinstance(schema.get("contains"), dict | bool):
            formula = self.child(schema["contains"])
            newer = dialect == DRAFT_2020_12
            least = int(schema.get("minContains", 1)) if newer else 1
            if least > 0:
                yield self.nodes.add(ContainsAtLeast(formula, least))
            if newer and "maxContains" in schema:
                yield self.nodes.add(ContainsAtMost(formula, int(schema["maxContains"])))

    def _items_from(self, start: int, formula: Formula) -> Iterator[Formula]:
        if formula == FALSE:
            yield self.nodes.add(SizeAtMost("array", start))
        elif formula != TRUE:
            yield self.nodes.add(ItemsFrom(start, formula))

    def _objects(self, schema: Mapping[str, Any], _: str) -> Iterator[Formula]:
        names, expressions = _mapping(schema, "properties"), _mapping(schema, "patternProperties")
        for name, child in names.items():
            if (formula := self.child(child)) != TRUE:
                yield self.nodes.add(Member(name, formula))
        for expression, child in expressions.items():
            if (formula := self.child(child)) != TRUE:
                yield self.nodes.add(MembersLike(expression, formula))
        additional = self.child(schema["additionalProperties"]) if _is_schema(schema, "additionalProperties") else TRUE
        if additional != TRUE:
            yield self.nodes.add(OtherMembers(frozenset(names), frozenset(expressions), additional))
        required = schema.get("required")
        if isinstance(required, list):
            yield from (self.nodes.add(Has(name)) for name in required)
        if _is_schema(schema, "propertyNames") and (formula := self.child(schema["propertyNames"])) != TRUE:
            yield self.nodes.add(MemberNames(formula))

    def _logic(self, schema: Mapping[str, Any], _: str) -> Iterator[Formula]:
        branches = {word: [self.child(one) for one in schema.get(word, ())] for word in ("allOf", "anyOf", "oneOf")}
        yield from branches["allOf"]
        if "anyOf" in schema:
            yield self.nodes.any_of(branches["anyOf"])
        if "oneOf" in schema:
            yield self.nodes.exactly_one(branches["oneOf"])
        if _is_schema(schema, "not"):
            yield -self.child(schema["not"])
        if _is_schema(schema, "if"):
            then, other = (self.child(schema[word]) if _is_schema(schema, word) else TRUE for word in ("then", "else"))
            if (then, other) != (TRUE, TRUE):
                yield self.nodes.add(Choice(self.child(schema["if"]), then, other))

    def _dependencies(self, schema: Mapping[str, Any]) -> Iterator[Formula]:
        """An object that has the member must satisfy the rest; the engine applies `dependencies` in both dialects."""
        for word in ("dependencies", "dependentRequired", "dependentSchemas"):
            for name, child in _mapping(schema, word).items():
                if isinstance(child, list):
                    then = self.nodes.all_of(self.nodes.add(Has(other)) for other in child)
                else:
                    then = self.child(child)
                if then != TRUE:
                    yield self.nodes.any_of((-self._object, -self.nodes.add(Has(name)), then))

    def _unevaluated(self, schema: Mapping[str, Any]) -> Iterator[Formula]:
        for word in ("unevaluatedProperties", "unevaluatedItems"):
            rest = self.child(schema[word]) if _is_schema(schema, word) else TRUE
            if rest == TRUE:
                continue
            ways = coverages(self, schema)
            if ways is None:
                yield self.nodes.add(Opaque("object" if "Prop" in word else "array", f"{word} {id(schema)}"))
                continue
            rule = self._other_members if "Prop" in word else self._other_items
            yield self.nodes.any_of(self.nodes.all_of([*way.conditions, *rule(way, rest)]) for way in ways)

    def _other_members(self, way: Coverage, rest: Formula) -> Iterable[Formula]:
        if way.all_members:
            return ()
        return (self.nodes.add(OtherMembers(way.members, way.expressions, rest)),)

    def _other_items(self, way: Coverage, rest: Formula) -> Iterable[Formula]:
        if way.all_items:
            return ()
        return self._items_from(way.items, self.nodes.any_of([rest, *way.contained]))


def slots_and_rest(schema: Mapping[str, Any], dialect: str) -> tuple[list[Any], Any]:
    """The schemas of the first elements, and the schema of all others, as written in either dialect."""
    if dialect == DRAFT_2020_12:
        slots = schema.get("prefixItems")
        rest = schema.get("items", True)
        return (slots if isinstance(slots, list) else []), (rest if isinstance(rest, dict | bool) else True)
    items = schema.get("items", True)
    if isinstance(items, list):
        rest = schema.get("additionalItems", True)
        return items, (rest if isinstance(rest, dict | bool) else True)
    return [], (items if isinstance(items, dict | bool) else True)


def _mapping(schema: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    value = schema.get(word)
    return value if isinstance(value, Mapping) else {}


def _is_schema(schema: Mapping[str, Any], word: str) -> bool:
    return isinstance(schema.get(word), dict | bool)
