"""No instance contradicts a verdict: schemas are drawn, changed, compared, and both checked by the validator.

A pair is a drawn schema and another one, mostly the same with a few rules changed. Both content models are asked, and
every instance (drawn loosely after one of the schemas, or shown as a witness) is checked by an engine that shares no
code with the comparison, and by a second reading of what "declared" means.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from headwater.errors import SchemaInvalid
from headwater.schemas.compatibility import Comparison, compare
from headwater.schemas.compatibility.answer import ContentModel
from headwater.schemas.dialect import DRAFT_07, DRAFT_2020_12

# Continuous integration runs ten thousand pairs; here, a tenth.
PAIRS = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "ci" else 1_000
INSTANCES = 12
UNDECIDED_MAX = 0.01
MODELS: tuple[ContentModel, ...] = ("strict", "declared")
BATCHES = 10

NAMES = ("a", "b", "num_1", "zz")
STRINGS = ("", "a", "b", "ab", "abc", "num_1", "2020-01-01", "2020-01-01T00:00:00Z", "0", "aaaaaa", "é")
NUMBERS = (0, 1, -1, 2, 3, 4, 5, 6, 10, 11, 0.5, 1.5, -0.5, 1.0, 12, 100)
SCALARS = (*STRINGS, *NUMBERS, True, False, None)
PATTERNS = ("^[a-z]+$", "^num_", "b", "^a*$", "^[0-9]+$", "^.{2,3}$", "(a|b)c?")
ENGINES = {DRAFT_07: jsonschema_rs.Draft7Validator, DRAFT_2020_12: jsonschema_rs.Draft202012Validator}


class Drawing:
    """Schemas and values from one seeded source of chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.dialect = self.chance.choice((DRAFT_07, DRAFT_07, DRAFT_2020_12))

    def pair(self) -> tuple[dict[str, Any], dict[str, Any]]:
        old = self.schema(3)
        new = self.schema(3) if self.chance.random() < 0.15 else self.changed(old)
        definitions = "definitions" if self.dialect == DRAFT_07 else "$defs"
        target = self.schema(1)
        other = target if self.chance.random() < 0.5 else self.changed(target)
        return ({**old, "$schema": self.dialect, definitions: {"t": target}},
                {**new, "$schema": self.dialect, definitions: {"t": other}})  # fmt: skip

    def schema(self, depth: int) -> dict[str, Any]:
        kinds = [self._scalar, self._string, self._number]
        if depth > 0:
            kinds += [self._object] * 3 + [self._array, self._combined, self._reference]
        return self.chance.choice(kinds)(depth)

    def child(self, depth: int) -> Any:
        if self.chance.random() < 0.06:
            return self.chance.random() < 0.5
        return self.schema(depth - 1)

    def some(self, **rules: Any) -> dict[str, Any]:
        """Each rule with a chance of a half; rules are functions, so that only what is used is drawn."""
        return {name: rule() for name, rule in rules.items() if self.chance.random() < 0.4}

    def _reference(self, _: int) -> dict[str, Any]:
        name = "definitions" if self.dialect == DRAFT_07 else "$defs"
        return self.chance.choice(({"$ref": f"#/{name}/t"}, {"$ref": "#"}))

    def _scalar(self, _: int) -> dict[str, Any]:
        listed = self.chance.sample(SCALARS, self.chance.randint(1, 4))
        unique = list({repr(float(one)) if type(one) in (int, float) else repr(one): one for one in listed}.values())
        return self.chance.choice((
            {}, {"enum": unique}, {"const": listed[0]}, {"type": "boolean"}, {"type": "null"},
            {"type": self.chance.sample(("string", "integer", "null", "number", "boolean", "object", "array"), 2)},
        ))  # fmt: skip

    def _string(self, _: int) -> dict[str, Any]:
        return {"type": "string"} | self.some(
            minLength=lambda: self.chance.randint(0, 3),
            maxLength=lambda: self.chance.randint(1, 6),
            pattern=lambda: self.chance.choice(PATTERNS),
        )

    def _number(self, _: int) -> dict[str, Any]:
        return {"type": self.chance.choice(("integer", "number"))} | self.some(
            minimum=lambda: self.chance.choice((-5, 0, 1, 0.5)),
            maximum=lambda: self.chance.choice((3, 10, 10.5)),
            exclusiveMaximum=lambda: self.chance.choice((4, 11)),
            exclusiveMinimum=lambda: self.chance.choice((-1, 0, 2)),
            multipleOf=lambda: self.chance.choice((1, 2, 3, 6, 0.5)),
        )

    def _object(self, depth: int) -> dict[str, Any]:
        rules = {"type": "object"} if self.chance.random() < 0.9 else {}
        rules |= self.some(
            properties=lambda: {name: self.child(depth) for name in self._names()},
            required=self._names,
            additionalProperties=lambda: False if self.chance.random() < 0.5 else self.child(depth),
            patternProperties=lambda: {self.chance.choice(PATTERNS): self.child(depth)},
        )
        rare = {
            "minProperties": lambda: self.chance.randint(0, 3),
            "maxProperties": lambda: self.chance.randint(0, 4),
            "propertyNames": lambda: self.chance.choice(
                ({"maxLength": 1}, {"pattern": "^[a-z]+$"}, {"enum": ["a", "b"]})
            ),
            "dependencies": lambda: {self.chance.choice(NAMES): self.chance.choice((self._names(), self.child(depth)))},
        }
        if self.dialect == DRAFT_2020_12:
            rare["unevaluatedProperties"] = lambda: False if self.chance.random() < 0.6 else self.child(depth)
            rare["dependentRequired"] = lambda: {self.chance.choice(NAMES): self._names()}
        return rules | {name: rule() for name, rule in rare.items() if self.chance.random() < 0.12}

    def _names(self) -> list[str]:
        return self.chance.sample(NAMES, self.chance.randint(0, 3))

    def _array(self, depth: int) -> dict[str, Any]:
        rules = {"type": "array"} | self.some(
            items=lambda: self.child(depth),
            minItems=lambda: self.chance.randint(0, 2),
            maxItems=lambda: self.chance.randint(1, 4),
        )
        slots = lambda: [self.child(depth) for _ in range(self.chance.randint(1, 2))]  # noqa: E731
        rare = {"uniqueItems": lambda: True, "contains": lambda: self.child(depth)}
        if self.dialect == DRAFT_2020_12:
            rare |= {"prefixItems": slots, "minContains": lambda: self.chance.randint(0, 2)}
            rare |= {"maxContains": lambda: self.chance.randint(1, 2), "unevaluatedItems": lambda: False}
        else:
            rare |= {"items": slots, "additionalItems": lambda: self.child(depth)}
        return rules | {name: rule() for name, rule in rare.items() if self.chance.random() < 0.2}

    def _combined(self, depth: int) -> dict[str, Any]:
        rules = self.schema(0) if self.chance.random() < 0.3 else {}
        word = self.chance.choice(("allOf", "anyOf", "oneOf", "not", "if"))
        if word == "not":
            return rules | {"not": self.child(depth)}
        if word == "if":
            return (
                rules
                | {"if": self.child(depth)}
                | self.some(then=lambda: self.child(depth), **{"else": lambda: self.child(depth)})
            )
        return rules | {word: [self.child(depth) for _ in range(self.chance.randint(1, 3))]}

    def changed(self, schema: Any) -> Any:
        """The same schema with a rule or two dropped, added or replaced somewhere."""
        if not isinstance(schema, dict) or self.chance.random() < 0.15:
            return self.schema(1)
        copy = dict(schema)
        for _ in range(self.chance.randint(1, 2)):
            act = self.chance.random()
            holders = [word for word in copy if isinstance(copy[word], dict) and word != "const"]
            lists = [word for word in ("allOf", "anyOf", "oneOf", "prefixItems") if word in copy]
            if act < 0.55 and holders:
                word = self.chance.choice(holders)
                copy[word] = self._changed_inside(word, copy[word])
            elif act < 0.65 and lists:
                word = self.chance.choice(lists)
                copy[word] = [self.changed(one) for one in copy[word]]
            elif act < 0.8 and len(copy) > 1:
                copy.pop(self.chance.choice(sorted(copy)))
            else:
                kind = copy.get("type")
                source = {"string": self._string, "object": self._object, "array": self._array}.get(
                    str(kind), self._number
                )
                copy |= {word: rule for word, rule in source(1).items() if word != "type"}
        return copy

    def _changed_inside(self, word: str, value: dict[str, Any]) -> Any:
        if word not in ("properties", "patternProperties"):
            return value if word.startswith("depend") else self.changed(value)
        names = sorted(value)
        copy = dict(value)
        if names and self.chance.random() < 0.8:
            name = self.chance.choice(names)
            copy[name] = self.changed(copy[name])
        else:
            copy[self.chance.choice(NAMES)] = self.schema(1)
        return copy

    def value(self, schema: Any, depth: int = 3) -> Any:
        """A value that follows the schema loosely, so that it is often valid and often nearly so."""
        if self.chance.random() < 0.08 or depth == 0 or not isinstance(schema, dict):
            return self._any(depth)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else self.chance.choice(schema["enum"])
        for word in ("allOf", "anyOf", "oneOf"):
            if word in schema:
                return self.value(self.chance.choice(schema[word]), depth)
        kind = schema.get("type")
        kind = self.chance.choice(kind) if isinstance(kind, list) else kind
        if kind == "object" or (kind is None and {"properties", "required"} & schema.keys()):
            return self._object_value(schema, depth)
        if kind == "array":
            items = schema.get("items", True)
            slots = items if isinstance(items, list) else schema.get("prefixItems", [])
            return [
                self.value(slots[i] if i < len(slots) else items, depth - 1) for i in range(self.chance.randint(0, 3))
            ]
        pool = {"string": STRINGS, "integer": NUMBERS, "number": NUMBERS, "boolean": (True, False), "null": (None,)}
        return self.chance.choice(pool.get(str(kind), SCALARS))

    def _object_value(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = {*schema.get("required", ()), *(name for name in properties if self.chance.random() < 0.5)}
        names |= set(self._names()) if self.chance.random() < 0.3 else set()
        rest = schema.get("additionalProperties", True)
        return {name: self.value(properties.get(name, rest), depth - 1) for name in sorted(names)}

    def _any(self, depth: int) -> Any:
        act = self.chance.random()
        if act < 0.15 and depth:
            return [self._any(depth - 1) for _ in range(self.chance.randint(0, 2))]
        if act < 0.4 and depth:
            return {name: self._any(depth - 1) for name in self._names()}
        return self.chance.choice(SCALARS)


def declares_only(schemas: list[Any], value: Any, root: dict[str, Any]) -> bool:
    """Whether a value carries only names that the schemas applying to it declare, as the reference page defines it."""
    together = [one for schema in schemas for one in judging(schema, root, ())]
    if isinstance(value, list):
        return all(
            declares_only([element_of(one, index) for one in together], item, root) for index, item in enumerate(value)
        )
    if not isinstance(value, dict):
        return True
    maps = [one[word] for one in together for word in MAPS if isinstance(one.get(word), dict) and one[word]]
    likes = [(expression, child) for one in together for expression, child in one.get("patternProperties", {}).items()]
    if not maps and not likes and not any(one.get("properties") for one in together):
        return True
    for name, item in value.items():
        matched = [child for expression, child in likes if re.search(expression, name)]
        below = [one["properties"][name] for one in together if name in one.get("properties", {})]
        if not (below or matched or maps):
            return False
        if not declares_only([*below, *matched, *maps], item, root):
            return False
    return True


MAPS = ("additionalProperties", "unevaluatedProperties")


def judging(schema: Any, root: dict[str, Any], above: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """The schemas that apply to the same value as this one, itself included."""
    if not isinstance(schema, dict) or id(schema) in above:
        return
    above = (*above, id(schema))
    if "$ref" in schema:
        target = root if schema["$ref"] == "#" else root[schema["$ref"].split("/")[1]]["t"]
        yield from judging(target, root, above)
        if root["$schema"] == DRAFT_07:
            return
    yield schema
    listed = [child for word in ("allOf", "anyOf", "oneOf") for child in schema.get(word, ())]
    named = [schema[word] for word in ("if", "then", "else") if word in schema]
    for child in (*listed, *named, *schema.get("dependencies", {}).values()):
        yield from judging(child, root, above)


def element_of(schema: dict[str, Any], index: int) -> Any:
    items = schema.get("items", True)
    slots = items if isinstance(items, list) else schema.get("prefixItems", [])
    if index < len(slots):
        return slots[index]
    return schema.get("additionalItems", True) if isinstance(items, list) else items


def check_instances(comparison: Comparison, drawing: Drawing, old: dict[str, Any], new: dict[str, Any]) -> None:
    engine = ENGINES[drawing.dialect]
    sides = {"old": old, "new": new}
    holds = {"old": engine(old, validate_formats=True), "new": engine(new, validate_formats=True)}
    for answer, writer, reader in ((comparison.backward, "old", "new"), (comparison.forward, "new", "old")):
        if answer.verdict == "no":
            for reason in answer.reasons:
                assert holds[writer].is_valid(reason.witness), (answer, old, new)
                assert not holds[reader].is_valid(reason.witness), (answer, old, new)
        if answer.verdict == "yes":
            for _ in range(INSTANCES):
                value = drawing.value(old if drawing.chance.random() < 0.5 else new)
                if holds[writer].is_valid(value) and not holds[reader].is_valid(value):
                    # Only an undeclared name may excuse it, and only where that is asked.
                    assert comparison.content_model == "declared", (value, writer, old, new)
                    assert not declares_only([sides[writer]], value, sides[writer]), (value, writer, old, new)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_instance_contradicts_a_verdict(batch: int) -> None:
    pairs = undecided = 0
    seed = batch * 1_000_000
    while pairs < PAIRS // BATCHES:
        seed += 1
        drawing = Drawing(seed)
        old, new = drawing.pair()
        try:
            comparisons = [compare(old, new, content_model=model) for model in MODELS]
        except SchemaInvalid:
            # A drawn reference may lead in a circle.
            continue
        pairs += 1
        for comparison in comparisons:
            undecided += (comparison.backward.verdict == "unknown") + (comparison.forward.verdict == "unknown")
            check_instances(comparison, drawing, old, new)
    assert undecided <= UNDECIDED_MAX * pairs * len(MODELS) * 2
