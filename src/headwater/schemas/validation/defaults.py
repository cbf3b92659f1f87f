"""Fills the defaults of a schema into an event, by a plan made once when the schema is compiled.

How this works: only schemas from which some `default` can be reached become part of the plan, so an event whose schema
has none costs one call. The rules (contracts/intake.md §2): a missing property or tuple item gets a deep copy, for all
properties of an object before its parts are visited; also through `$ref`, `allOf`, `then`/`else`, dependencies, items
and additional properties; never under `anyOf`, `oneOf`, `not` or `if`; no parent is created, and null and "" count as
present.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from headwater.errors import EventInvalid, SchemaInvalid, Violation
from headwater.schemas.dialect import DRAFT_2020_12
from headwater.schemas.graph import Node, SchemaGraph
from headwater.schemas.validation.formats import compile_pattern

Holds = Callable[[int, Any], bool]
Fill = Callable[[Any], bool]

_NO_DEFAULTS_UNDER = frozenset(("anyOf", "oneOf", "not", "if", "contains", "propertyNames"))


def nothing_to_fill(value: Any) -> bool:
    """The plan of a schema without defaults."""
    return False


def plan_defaults(graph: SchemaGraph, holds: Holds, steps_max: int) -> Fill:
    """The function that fills an event in place and returns whether it changed.

    `holds(node, value)` returns whether a value satisfies a schema of the graph; it is called only for `if`. The
    returned function raises EventInvalid for an event that would take more than `steps_max` steps; SchemaInvalid is
    raised here.
    """
    wanted = _reaching_defaults(graph)
    if graph.root_id not in wanted:
        return nothing_to_fill
    plans: dict[int, _Plan] = {key: _Plan() for key in wanted}
    for key in wanted:
        _complete(plans[key], graph.nodes[key], plans, holds)

    def fill(value: Any) -> bool:
        try:
            return plans[graph.root_id].fill(value, _Budget(steps_max))
        except RecursionError:
            sentence = "cannot be filled with defaults: it is too deep or too large"
            raise EventInvalid([Violation("", "value", sentence, "#")]) from None

    try:
        # A default that contains a place for itself is found with an empty object.
        for plan in plans.values():
            plan.fill({}, _Budget(steps_max))
    except RecursionError:
        raise SchemaInvalid(f"The schema {graph.root.uri} has a default that fills itself endlessly.") from None
    return fill


class _Budget:
    """The steps one event may still cost."""

    __slots__ = ("steps_left",)

    def __init__(self, steps: int) -> None:
        self.steps_left = steps


class _Plan:
    """What to do to a value that one schema applies to."""

    __slots__ = (
        "additional",
        "branches",
        "conditional",
        "declared",
        "dependent",
        "items",
        "items_from",
        "object_defaults",
        "parts",
        "patterns",
        "tuple_defaults",
        "tuple_parts",
    )

    def __init__(self) -> None:
        self.object_defaults: list[tuple[str, Any]] = []
        self.parts: list[tuple[str, _Plan]] = []
        self.declared: frozenset[str] = frozenset()
        self.patterns: list[tuple[Callable[[str], bool], _Plan | None]] = []
        self.additional: _Plan | None = None
        self.dependent: list[tuple[str, _Plan]] = []
        self.tuple_defaults: list[tuple[int, Any]] = []
        self.tuple_parts: list[tuple[int, _Plan]] = []
        self.items: _Plan | None = None
        self.items_from = 0
        self.branches: list[_Plan] = []
        self.conditional: tuple[Callable[[Any], bool], _Plan | None, _Plan | None] | None = None

    def fill(self, value: Any, budget: _Budget) -> bool:
        budget.steps_left -= 1
        if budget.steps_left < 0:
            raise RecursionError
        changed = False
        if isinstance(value, dict):
            changed = self._fill_object(value, budget)
        elif isinstance(value, list):
            changed = self._fill_array(value, budget)
        for branch in self.branches:
            changed |= branch.fill(value, budget)
        if self.conditional is not None:
            condition, then, otherwise = self.conditional
            chosen = then if condition(value) else otherwise
            if chosen is not None:
                changed |= chosen.fill(value, budget)
        return changed

    def _fill_object(self, value: dict[str, Any], budget: _Budget) -> bool:
        changed = False
        for name, default in self.object_defaults:
            if name not in value:
                value[name] = deepcopy(default) if isinstance(default, dict | list) else default
                changed = True
        for name, plan in self.dependent:
            if name in value:
                changed |= plan.fill(value, budget)
        for name, plan in self.parts:
            if name in value:
                changed |= plan.fill(value[name], budget)
        if self.additional is not None or self.patterns:
            for name, child in value.items():
                changed |= self._fill_unnamed(name, child, budget)
        return changed

    def _fill_unnamed(self, name: str, child: Any, budget: _Budget) -> bool:
        changed = matched = False
        for matches, plan in self.patterns:
            if matches(name):
                matched = True
                changed |= plan is not None and plan.fill(child, budget)
        if self.additional is not None and not matched and name not in self.declared:
            changed |= self.additional.fill(child, budget)
        return changed

    def _fill_array(self, value: list[Any], budget: _Budget) -> bool:
        changed = False
        for index, default in self.tuple_defaults:
            if index >= len(value):
                value.extend([None] * (index - len(value)))
                value.append(deepcopy(default))
                changed = True
        for index, plan in self.tuple_parts:
            if index < len(value):
                changed |= plan.fill(value[index], budget)
        if self.items is not None:
            for child in value[self.items_from :]:
                changed |= self.items.fill(child, budget)
        return changed


def _reaching_defaults(graph: SchemaGraph) -> set[int]:
    """The schemas from which a default can be reached, searched backwards from those that have one."""
    users: dict[int, list[int]] = {}
    reaching: list[int] = []
    for key, node in graph.nodes.items():
        for child in _parts(node):
            users.setdefault(child, []).append(key)
        if _object_defaults(node) or _tuple_defaults(node):
            reaching.append(key)
    found = set(reaching)
    while reaching:
        for user in users.get(reaching.pop(), ()):
            if user not in found:
                found.add(user)
                reaching.append(user)
    return found


def _parts(node: Node) -> list[int]:
    if not isinstance(node.schema, dict):
        return []
    excluded: set[int] = set()
    for keyword in _NO_DEFAULTS_UNDER:
        held = node.schema.get(keyword)
        excluded.update(id(child) for child in (held if isinstance(held, list) else [held]))
    return [key for key in (*node.in_place, *node.descending) if key not in excluded]


def _object_defaults(node: Node) -> list[tuple[str, Any]]:
    if not isinstance(node.schema, dict) or node.ref_replaces:
        return []
    properties = node.schema.get("properties", {})
    return [(name, s["default"]) for name, s in properties.items() if isinstance(s, dict) and "default" in s]


def _tuple(node: Node) -> list[Any]:
    keyword = "prefixItems" if node.dialect == DRAFT_2020_12 else "items"
    value = node.schema.get(keyword)
    return value if isinstance(value, list) else []


def _tuple_defaults(node: Node) -> list[tuple[int, Any]]:
    if not isinstance(node.schema, dict) or node.ref_replaces:
        return []
    return [(i, s["default"]) for i, s in enumerate(_tuple(node)) if isinstance(s, dict) and "default" in s]


def _complete(plan: _Plan, node: Node, plans: dict[int, _Plan], holds: Holds) -> None:
    schema = node.schema
    if node.target is not None and node.target in plans:
        plan.branches.append(plans[node.target])
    if node.ref_replaces:
        return
    plan.object_defaults = _object_defaults(node)
    plan.tuple_defaults = _tuple_defaults(node)
    properties = schema.get("properties", {})
    plan.declared = frozenset(properties)
    plan.parts = [(name, plans[id(s)]) for name, s in properties.items() if id(s) in plans]
    plan.additional = plans.get(id(schema.get("additionalProperties")))
    if plan.additional is not None or any(id(s) in plans for s in schema.get("patternProperties", {}).values()):
        plan.patterns = [
            (compile_pattern(pattern), plans.get(id(s))) for pattern, s in schema.get("patternProperties", {}).items()
        ]
    for keyword in ("dependencies", "dependentSchemas"):
        plan.dependent += [(name, plans[id(s)]) for name, s in schema.get(keyword, {}).items() if id(s) in plans]
    prefix = _tuple(node)
    plan.tuple_parts = [(i, plans[id(s)]) for i, s in enumerate(prefix) if id(s) in plans]
    rest = "items" if not prefix or node.dialect == DRAFT_2020_12 else "additionalItems"
    plan.items = plans.get(id(schema.get(rest)))
    plan.items_from = len(prefix)
    plan.branches += [plans[id(s)] for s in schema.get("allOf", []) if id(s) in plans]
    then, otherwise = (plans.get(id(schema.get(keyword))) for keyword in ("then", "else"))
    if "if" in schema and (then or otherwise):
        condition = id(schema["if"])
        plan.conditional = (lambda value: holds(condition, value)), then, otherwise
