"""What `unevaluatedProperties` and `unevaluatedItems` apply to, for each way in which the surrounding schema holds.

How this works: which members count as evaluated depends on which branches hold. So every combination of branches that
hold and do not hold becomes a way of its own, with the members and elements that those branches cover; the keyword is
then the disjunction of all ways. Too many ways, or branches that cannot be listed, give None, and the verdict is
`unknown`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

from headwater.schemas.compatibility.nodes import Formula, Has, Nodes
from headwater.schemas.graph import SchemaGraph

_WAYS_MAX = 64


@dataclass(frozen=True)
class Coverage:
    """One way: the formulas under which it applies, and what is evaluated then."""

    conditions: tuple[Formula, ...] = ()
    members: frozenset[str] = frozenset()
    expressions: frozenset[str] = frozenset()
    all_members: bool = False
    items: int = 0
    all_items: bool = False
    contained: tuple[Formula, ...] = ()

    def and_also(self, other: Coverage) -> Coverage:
        return Coverage(
            (*self.conditions, *other.conditions),
            self.members | other.members,
            self.expressions | other.expressions,
            self.all_members or other.all_members,
            max(self.items, other.items),
            self.all_items or other.all_items,
            (*self.contained, *other.contained),
        )


class Translation(Protocol):
    """What this module needs of the normal form."""

    nodes: Nodes
    graph: SchemaGraph

    def child(self, schema: Any) -> Formula: ...


class _TooMany(Exception):
    pass


def coverages(form: Translation, schema: Mapping[str, Any]) -> list[Coverage] | None:
    """Every way in which the schema can hold apart from its own `unevaluated…` keywords; None if there are too many."""
    try:
        return _ways(form, schema, frozenset())
    except _TooMany:
        return None


def _ways(form: Translation, schema: Any, above: frozenset[int], *, inner: bool = False) -> list[Coverage]:
    if not isinstance(schema, dict):
        return [Coverage()]
    if id(schema) in above or "$dynamicRef" in schema:
        raise _TooMany
    above |= {id(schema)}
    factors: list[list[Coverage]] = [[_own(form, schema, inner=inner)]]
    target = form.graph.nodes[id(schema)].target
    if target is not None:
        factors.append(_ways(form, form.graph.nodes[target].schema, above, inner=True))
    factors.extend(_ways(form, child, above, inner=True) for child in schema.get("allOf", ()))
    factors.extend(_branches(form, schema, above))
    total = 1
    for factor in factors:
        total *= len(factor)
    if total > _WAYS_MAX:
        raise _TooMany
    ways = []
    for chosen in product(*factors):
        way = chosen[0]
        for other in chosen[1:]:
            way = way.and_also(other)
        ways.append(way)
    return ways


def _branches(form: Translation, schema: Mapping[str, Any], above: frozenset[int]) -> Iterator[list[Coverage]]:
    """The alternatives of each branch: it holds, with what it covers, or it does not."""
    for word in ("anyOf", "oneOf"):
        for child in schema.get(word, ()):
            formula = form.child(child)
            yield [*_given(form, child, above, (formula,)), Coverage((-formula,))]
    if isinstance(schema.get("if"), dict | bool):
        condition = form.child(schema["if"])
        then = _ways(form, schema.get("then", True), above, inner=True)
        held = [holds.and_also(also) for holds in _given(form, schema["if"], above, (condition,)) for also in then]
        yield [*held, *_given(form, schema.get("else", True), above, (-condition,))]
    dependent = schema.get("dependentSchemas")
    for name, child in dependent.items() if isinstance(dependent, Mapping) else ():
        has = form.nodes.add(Has(name))
        yield [*_given(form, child, above, (has,)), Coverage((-has,))]


def _given(form: Translation, child: Any, above: frozenset[int], conditions: tuple[Formula, ...]) -> list[Coverage]:
    return [Coverage(conditions).and_also(way) for way in _ways(form, child, above, inner=True)]


def _own(form: Translation, schema: Mapping[str, Any], *, inner: bool) -> Coverage:
    """What the keywords of the schema itself cover; its own `unevaluated…` only if it is asked from outside."""
    all_members = "additionalProperties" in schema or (inner and "unevaluatedProperties" in schema)
    all_items = "items" in schema or (inner and "unevaluatedItems" in schema)
    contains = (form.child(schema["contains"]),) if isinstance(schema.get("contains"), dict | bool) else ()
    return Coverage(
        (),
        frozenset(schema.get("properties", ())),
        frozenset(schema.get("patternProperties", ())),
        all_members,
        len(schema.get("prefixItems", ())),
        all_items,
        contains,
    )
