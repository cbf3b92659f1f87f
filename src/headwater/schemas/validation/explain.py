"""Lists every way in which an event violates its schema, in the words and the order that producers' tools know.

How this works: the compiled engine decides; this walk is done only for events it refused. It visits keywords in the
order of the legacy validator (ajv 6 with `allErrors`): within a schema by the type of value they apply to — numbers,
strings, arrays, objects, then the rest — and reports a missing property where its schema would have been checked. The
findings of a `$ref` have the reference itself as schema path if the target has no further references, as in ajv.
draft-04 and draft-07 only; newer dialects are reported from the engine's own errors (engine_findings.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from headwater.schemas.graph import Node, SchemaGraph
from headwater.schemas.json_value import identity_key, is_number, is_whole, json_equal
from headwater.schemas.limits import ExplanationBudget, ValidationLimits, children
from headwater.schemas.validation.explain_scalars import explain_number, explain_string
from headwater.schemas.validation.formats import compile_pattern
from headwater.schemas.violation import KeywordViolation, Place, fragment_step

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": is_number,
    "integer": lambda value: is_number(value) and is_whole(value),
}
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("number", ("maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "multipleOf", "format")),
    ("string", ("maxLength", "minLength", "pattern", "format")),
    ("array", ("maxItems", "minItems", "items", "contains", "uniqueItems")),
    (
        "object",
        (
            *("maxProperties", "minProperties", "required", "dependencies", "propertyNames"),
            *("properties", "additionalProperties", "patternProperties"),
        ),
    ),
)
_ANY_TYPE = ("const", "enum", "not", "anyOf", "oneOf", "allOf", "if")
_GROUP_OF = dict(_GROUPS)
# Comparing with one value of a list takes a small part of the time of a step.
_COMPARISONS_PER_STEP = 8
_RULES = frozenset(("type", "$ref", "$comment", *_ANY_TYPE, *(rule for _, rules in _GROUPS for rule in rules)))


class EnoughFindings(Exception):
    """A limit is reached: on findings, or on the steps to find them."""


class Explainer:
    """Walks events with the schemas of one graph. It has no state of an event and is thread-safe."""

    def __init__(self, graph: SchemaGraph, limits: ValidationLimits) -> None:
        self._nodes = graph.nodes
        self._root = graph.root_id
        self._limits = limits
        self._patterns: dict[str, Callable[[str], bool]] = {}

    def findings(self, value: Any, budget: ExplanationBudget | None = None) -> list[KeywordViolation]:
        """The violations of an event, as far as the limits and the budget allow; empty if it is valid.

        Violations beyond a limit are counted in the budget, not listed.
        """
        walk = _Walk(self._nodes, self._matches, self._limits)
        if budget is not None:
            # Further counting takes steps, which are reserved for the first events.
            walk.counts_on = not budget.is_used_up
            walk.limit(budget.violations_left if walk.counts_on else 1, budget.steps_left)
        before = walk.steps_left
        is_cut = True
        with contextlib.suppress(EnoughFindings):
            walk.check(self._nodes[self._root], value, Place(), "#")
            is_cut = False
        if budget is not None:
            budget.steps_left -= before - walk.steps_left
            budget.is_cut = is_cut
            budget.unlisted = walk.count - len(walk.findings)
        return walk.findings

    def holds(self, node: int, value: Any) -> bool:
        """Whether a value satisfies one schema of the graph."""
        walk = _Walk(self._nodes, self._matches, self._limits)
        try:
            return walk.check(self._nodes[node], value, Place(), "#")
        except EnoughFindings:
            return False

    def _matches(self, pattern: str, text: str) -> bool:
        test = self._patterns.get(pattern)
        if test is None:
            test = self._patterns[pattern] = compile_pattern(pattern)
        return test(text)


class _Walk:
    """The walk through one event; `findings` grows, and is cut back when an alternative succeeds.

    `count`: how many there are, including those beyond the limit on what is listed if it `counts_on`.
    """

    def __init__(self, nodes: dict[int, Node], matches: Callable[[str, str], bool], limits: ValidationLimits) -> None:
        self._nodes = nodes
        self._matches = matches
        self._findings_max = limits.violations_max
        self.steps_left = limits.steps_max
        self.findings: list[KeywordViolation] = []
        self.count = 0
        self.counts_on = False

    def limit(self, findings_max: int, steps_max: int) -> None:
        self._findings_max = min(self._findings_max, findings_max)
        self.steps_left = min(self.steps_left, steps_max)

    def add(self, keyword: str, place: Place, path: str, params: dict[str, Any], message: str) -> None:
        if len(self.findings) < self._findings_max:
            self.findings.append(KeywordViolation(keyword, place, path, params, message))
        elif not self.counts_on:
            raise EnoughFindings
        self.count += 1

    def _take_back(self, count: int) -> None:
        """Drop all but the first `count` findings."""
        del self.findings[count:]
        self.count = count

    def check(self, node: Node, value: Any, place: Place, path: str) -> bool:
        """Whether the schema holds; appends a finding for each keyword that does not."""
        self.steps_left -= 1
        if self.steps_left < 0:
            raise EnoughFindings
        before = self.count
        schema = node.schema
        if schema is False:
            self.add("false schema", place, path + "/false schema", {}, "boolean schema is false")
        elif node.target is not None:
            target = self._nodes[node.target]
            self.check(target, value, place, schema["$ref"] if _has_no_reference(target.schema) else "#")
        elif isinstance(schema, dict) and schema:
            self._check_keywords(schema, value, place, path)
        return self.count == before

    def _sub(self, schema: Any, value: Any, place: Place, path: str) -> bool:
        return self.check(self._nodes[id(schema)], value, place, path)

    def _check_keywords(self, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        types = schema.get("type")
        if isinstance(types, list) and len(types) == 1:
            types = types[0]
        own_group = _GROUP_OF.get(types) if isinstance(types, str) else None
        if types is not None and (own_group is None or not any(rule in schema for rule in own_group)):
            self._check_type(types, value, place, path)
            types = None
        for group, rules in _GROUPS:
            if not any(rule in schema for rule in rules):
                continue
            if _TYPES[group](value):
                self._check_group(group, schema, value, place, path)
            elif types == group:
                self._check_type(types, value, place, path)
        for keyword in _ANY_TYPE:
            if keyword in schema:
                _ANY_TYPE_CHECKS[keyword](self, schema, value, place, path)

    def _check_type(self, types: Any, value: Any, place: Place, path: str) -> None:
        names = types if isinstance(types, list) else [types]
        if not any(_TYPES[name](value) for name in names):
            text = ",".join(names)
            self.add("type", place, path + "/type", {"type": text}, f"should be {text}")

    def _check_group(self, group: str, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        if group == "number":
            for keyword, params, message in explain_number(schema, value):
                self.add(keyword, place, f"{path}/{keyword}", params, message)
        elif group == "string":
            for keyword, params, message in explain_string(schema, value, self._matches):
                self.add(keyword, place, f"{path}/{keyword}", params, message)
        elif group == "array":
            self._check_array(schema, value, place, path)
        else:
            self._check_object(schema, value, place, path)

    # Arrays

    def _check_array(self, schema: dict[str, Any], value: list[Any], place: Place, path: str) -> None:
        self._check_size(schema, len(value), place, path, "Items")
        items = schema.get("items")
        if isinstance(items, list):
            self._check_tuple(schema, items, value, place, path)
        elif _has_rules(items):
            for index, child in enumerate(value):
                self._sub(items, child, place.item(index), path + "/items")
        if "contains" in schema:
            self._check_contains(schema["contains"], value, place, path + "/contains")
        if schema.get("uniqueItems") is True:
            self._check_unique(schema, value, place, path + "/uniqueItems")

    def _check_size(self, schema: dict[str, Any], size: int, place: Place, path: str, what: str) -> None:
        for keyword, wrong, word in ((f"max{what}", int.__gt__, "more"), (f"min{what}", int.__lt__, "fewer")):
            limit = schema.get(keyword)
            if limit is not None and wrong(size, int(limit)):
                message = f"should NOT have {word} than {limit} {what.lower()}"
                self.add(keyword, place, f"{path}/{keyword}", {"limit": limit}, message)

    def _check_tuple(self, schema: dict[str, Any], items: list[Any], value: list[Any], place: Place, path: str) -> None:
        additional = schema.get("additionalItems")
        if additional is False and len(value) > len(items):
            message = f"should NOT have more than {len(items)} items"
            self.add("additionalItems", place, path + "/additionalItems", {"limit": len(items)}, message)
        for index, item in enumerate(items):
            if index < len(value) and _has_rules(item):
                self._sub(item, value[index], place.item(index), f"{path}/items/{index}")
        if isinstance(additional, dict) and _has_rules(additional):
            for index in range(len(items), len(value)):
                self._sub(additional, value[index], place.item(index), path + "/additionalItems")

    def _check_contains(self, schema: Any, value: list[Any], place: Place, path: str) -> None:
        before = self.count
        found = bool(value) and not _has_rules(schema)
        for index, child in enumerate(value):
            if found:
                break
            found = self._sub(schema, child, place.item(index), path)
        if found:
            self._take_back(before)
        else:
            self.add("contains", place, path, {}, "should contain a valid item")

    def _check_unique(self, schema: dict[str, Any], value: list[Any], place: Place, path: str) -> None:
        duplicate = _duplicate(value, scalar=_item_types(schema.get("items")))
        if duplicate is not None:
            i, j = duplicate
            message = f"should NOT have duplicate items (items ## {j} and {i} are identical)"
            self.add("uniqueItems", place, path, {"i": i, "j": j}, message)

    # Objects

    def _check_object(self, schema: dict[str, Any], value: dict[str, Any], place: Place, path: str) -> None:
        self._check_size(schema, len(value), place, path, "Properties")
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            # A property declared `false` is reported missing twice: here, and where its schema would have been checked.
            if name not in value and not (properties.get(name) and _has_rules(properties[name])):
                self._add_missing(name, place, path)
        self._check_dependencies(schema.get("dependencies", {}), value, place, path + "/dependencies")
        if _has_rules(schema.get("propertyNames")):
            self._check_names(schema["propertyNames"], value, place, path + "/propertyNames")
        self._check_additional(schema, value, place, path)
        self._check_properties(schema, value, place, path)

    def _check_properties(self, schema: dict[str, Any], value: dict[str, Any], place: Place, path: str) -> None:
        required = schema.get("required", ())
        for name, child in schema.get("properties", {}).items():
            if not _has_rules(child):
                continue
            if name in value:
                self._sub(child, value[name], place.property(name), f"{path}/properties{fragment_step(name)}")
            elif name in required:
                self._add_missing(name, place, path)
        for pattern, child in schema.get("patternProperties", {}).items():
            for name in value if _has_rules(child) else ():
                if self._matches(pattern, name):
                    step = f"{path}/patternProperties{fragment_step(pattern)}"
                    self._sub(child, value[name], place.key(name), step)

    def _add_missing(self, name: str, place: Place, path: str) -> None:
        message = f"should have required property '{name}'"
        self.add("required", place, path + "/required", {"missingProperty": name}, message)

    def _check_dependencies(self, dependencies: dict[str, Any], value: Any, place: Place, path: str) -> None:
        for name, needed in dependencies.items():
            if isinstance(needed, list) and name in value:
                word, listed = ("property", needed[0]) if len(needed) == 1 else ("properties", ", ".join(needed))
                for missing in (one for one in needed if one not in value):
                    params = {"property": name, "missingProperty": missing, "depsCount": len(needed), "deps": listed}
                    message = f"should have {word} {listed} when property {name} is present"
                    self.add("dependencies", place, path, params, message)
        for name, child in dependencies.items():
            if not isinstance(child, list) and name in value and _has_rules(child):
                self._sub(child, value, place, path + fragment_step(name))

    def _check_names(self, schema: Any, value: dict[str, Any], place: Place, path: str) -> None:
        for name in value:
            if not self._sub(schema, name, place, path):
                message = f"property name '{name}' is invalid"
                self.add("propertyNames", place, path, {"propertyName": name}, message)

    def _check_additional(self, schema: dict[str, Any], value: dict[str, Any], place: Place, path: str) -> None:
        additional = schema.get("additionalProperties")
        if additional is not False and not (isinstance(additional, dict) and additional):
            return
        path += "/additionalProperties"
        declared, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, child in value.items():
            if name in declared or any(self._matches(pattern, name) for pattern in patterns):
                continue
            if additional is False:
                params = {"additionalProperty": name}
                self.add("additionalProperties", place, path, params, "should NOT have additional properties")
            else:
                self._sub(additional, child, place.key(name), path)

    # Any value

    def check_const(self, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        if not json_equal(value, schema["const"]):
            params = {"allowedValue": schema["const"]}
            self.add("const", place, path + "/const", params, "should be equal to constant")

    def check_enum(self, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        self.steps_left -= len(schema["enum"]) // _COMPARISONS_PER_STEP
        if not any(json_equal(value, allowed) for allowed in schema["enum"]):
            params = {"allowedValues": schema["enum"]}
            self.add("enum", place, path + "/enum", params, "should be equal to one of the allowed values")

    def check_not(self, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        before = self.count
        holds = self._sub(schema["not"], value, place, path + "/not")
        self._take_back(before)
        if holds:
            self.add("not", place, path + "/not", {}, "should NOT be valid")

    def check_any_of(self, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        branches, path = schema["anyOf"], path + "/anyOf"
        if not all(map(_has_rules, branches)):
            return
        before = self.count
        if any(self._sub(branch, value, place, f"{path}/{i}") for i, branch in enumerate(branches)):
            self._take_back(before)
        else:
            self.add("anyOf", place, path, {}, "should match some schema in anyOf")

    def check_one_of(self, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        path += "/oneOf"
        before = self.count
        passing: list[int] = []
        for index, branch in enumerate(schema["oneOf"]):
            if self._sub(branch, value, place, f"{path}/{index}"):
                passing.append(index)
            if len(passing) == 2:
                break
        if len(passing) == 1:
            self._take_back(before)
        else:
            params = {"passingSchemas": passing or None}
            self.add("oneOf", place, path, params, "should match exactly one schema in oneOf")

    def check_all_of(self, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        for index, branch in enumerate(schema["allOf"]):
            if _has_rules(branch):
                self._sub(branch, value, place, f"{path}/allOf/{index}")

    def check_if(self, schema: dict[str, Any], value: Any, place: Place, path: str) -> None:
        before = self.count
        keyword = "then" if self._sub(schema["if"], value, place, path + "/if") else "else"
        self._take_back(before)
        if _has_rules(schema.get(keyword)) and not self._sub(schema[keyword], value, place, f"{path}/{keyword}"):
            self.add("if", place, path + "/if", {"failingKeyword": keyword}, f'should match "{keyword}" schema')


_ANY_TYPE_CHECKS = {
    "const": _Walk.check_const,
    "enum": _Walk.check_enum,
    "not": _Walk.check_not,
    "anyOf": _Walk.check_any_of,
    "oneOf": _Walk.check_one_of,
    "allOf": _Walk.check_all_of,
    "if": _Walk.check_if,
}


def _has_rules(schema: Any) -> bool:
    """Whether a schema can refuse anything, according to the legacy validator."""
    return schema is False or (isinstance(schema, dict) and not _RULES.isdisjoint(schema))


def _has_no_reference(schema: Any) -> bool:
    stack: list[Any] = [schema]
    while stack:
        value = stack.pop()
        if isinstance(value, dict) and "$ref" in value:
            return False
        stack.extend(children(value))
    return True


def _item_types(items: Any) -> list[str] | None:
    """The types of items if all are scalar: then duplicates are searched in another order."""
    types = items.get("type") if isinstance(items, dict) else None
    names = [types] if isinstance(types, str) else types
    return names if names and not {"object", "array"} & set(names) else None


def _duplicate(value: list[Any], scalar: list[str] | None) -> tuple[int, int] | None:
    """Positions (i, j) of two equal items, chosen as the legacy validator does."""
    keys = [identity_key(item) for item in value]
    if scalar is not None:
        later: dict[Any, int] = {}
        for i in range(len(keys) - 1, -1, -1):
            if not any(_TYPES[name](value[i]) for name in scalar):
                continue
            if keys[i] in later:
                return i, later[keys[i]]
            later[keys[i]] = i
        return None
    last: dict[Any, int] = {}
    found = None
    for i, key in enumerate(keys):
        if key in last:
            found = (i, last[key])
        last[key] = i
    return found
