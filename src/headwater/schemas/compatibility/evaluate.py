"""Evaluates a formula for a given value; None if that needs a test that is not available."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

from headwater.schemas.compatibility.nodes import (
    All,
    AtLeast,
    AtMost,
    Choice,
    ContainsAtLeast,
    ContainsAtMost,
    ExactlyOne,
    Formula,
    Has,
    ItemAt,
    ItemsFrom,
    Member,
    MemberNames,
    MembersLike,
    MultipleOf,
    Named,
    Node,
    Nodes,
    OneOfValues,
    Opaque,
    OtherMembers,
    Pattern,
    SizeAtLeast,
    SizeAtMost,
    Types,
    Unique,
)
from headwater.schemas.compatibility.numbers import fraction
from headwater.schemas.json_value import identity_key, is_whole
from headwater.schemas.validation.formats import FORMAT_FUNCTIONS, FORMATS_OF_2020_12, compile_pattern

Tests = Mapping[str, Callable[[Any], bool]]


def _format_test(name: str) -> Callable[[Any], bool]:
    """A format of the newest dialect, as the engine checks it; compiled on first use."""

    def test(value: Any) -> bool:
        return _newest_format(name).is_valid(value)

    return test


@lru_cache(maxsize=16)
def _newest_format(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True)


# Formats that are functions rather than expressions, as the validator runs them.
FORMAT_TESTS: Tests = {**FORMAT_FUNCTIONS, **{name: _format_test(name) for name in FORMATS_OF_2020_12}}


def type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


@lru_cache(maxsize=2_048)
def _pattern_test(expression: str) -> Callable[[str], bool] | None:
    try:
        return compile_pattern(expression)
    except ValueError:
        return None


def finds(expression: str, text: str) -> bool | None:
    """Whether an expression matches anywhere in a text; None if the engine cannot run it."""
    test = _pattern_test(expression)
    return None if test is None else test(text)


def every(answers: Iterable[bool | None]) -> bool | None:
    """Three-valued `all`."""
    result: bool | None = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            result = None
    return result


def applies_to(rule: Node, name: str) -> bool | None:
    """Whether a rule on members applies to a member of this name; None if unknown."""
    if isinstance(rule, Member):
        return name == rule.member
    if isinstance(rule, MembersLike):
        return finds(rule.expression, name)
    if not isinstance(rule, OtherMembers) or name in rule.members:
        return False
    found = [finds(expression, name) for expression in rule.expressions]
    return False if True in found else None if None in found else True


class Evaluator:
    """Evaluates formulas for values. `tests` are the opaque conditions by name."""

    def __init__(self, nodes: Nodes, tests: Tests) -> None:
        self._nodes = nodes
        self._tests = tests

    def holds(self, formula: Formula, value: Any) -> bool | None:
        node = self._nodes.node(formula)
        kind = self._nodes.kind(formula)
        # A node about another type holds, and its negation does not: so `answer` is True in both cases.
        answer = True if kind is not None and kind != type_of(value) else _RULES[type(node)](self, node, value)
        return answer if formula > 0 or answer is None else not answer

    def holds_all(self, formulas: Iterable[Formula], value: Any) -> bool | None:
        return every(self.holds(formula, value) for formula in formulas)

    def _all(self, node: All, value: Any) -> bool | None:
        return self.holds_all(node.parts, value)

    def _one(self, node: ExactlyOne, value: Any) -> bool | None:
        answers = [self.holds(part, value) for part in node.parts]
        if answers.count(True) > 1:
            return False
        return None if None in answers else answers.count(True) == 1

    def _choice(self, node: Choice, value: Any) -> bool | None:
        condition = self.holds(node.condition, value)
        if condition is None:
            return None
        return self.holds(node.then if condition else node.other, value)

    def _named(self, node: Named, value: Any) -> bool | None:
        return self.holds(self._nodes.resolve(self._nodes.add(node)), value)

    def _types(self, node: Types, value: Any) -> bool:
        kind = type_of(value)
        return kind in node.names or ("integer" in node.names and kind == "number" and is_whole(value))

    def _values(self, node: OneOfValues, value: Any) -> bool:
        return identity_key(value) in node.keys

    def _opaque(self, node: Opaque, value: Any) -> bool | None:
        test = self._tests.get(node.test)
        return None if test is None else test(value)

    def _at_least(self, node: AtLeast, value: Any) -> bool:
        exact = fraction(value)
        return exact > node.bound or (exact == node.bound and not node.exclusive)

    def _at_most(self, node: AtMost, value: Any) -> bool:
        exact = fraction(value)
        return exact < node.bound or (exact == node.bound and not node.exclusive)

    def _multiple(self, node: MultipleOf, value: Any) -> bool:
        return (fraction(value) / node.divisor).denominator == 1

    def _size_at_least(self, node: SizeAtLeast, value: Any) -> bool:
        return len(value) >= node.size

    def _size_at_most(self, node: SizeAtMost, value: Any) -> bool:
        return len(value) <= node.size

    def _pattern(self, node: Pattern, value: Any) -> bool | None:
        return finds(node.expression, value)

    def _unique(self, _: Unique, value: Any) -> bool:
        return len({identity_key(one) for one in value}) == len(value)

    def _item_at(self, node: ItemAt, value: Any) -> bool | None:
        return self.holds(node.schema, value[node.index]) if node.index < len(value) else True

    def _items_from(self, node: ItemsFrom, value: Any) -> bool | None:
        return every(self.holds(node.schema, one) for one in value[node.start :])

    def _contains_at_least(self, node: ContainsAtLeast, value: Any) -> bool | None:
        answers = [self.holds(node.schema, one) for one in value]
        if answers.count(True) >= node.count:
            return True
        return None if answers.count(True) + answers.count(None) >= node.count else False

    def _contains_at_most(self, node: ContainsAtMost, value: Any) -> bool | None:
        answer = self._contains_at_least(ContainsAtLeast(node.schema, node.count + 1), value)
        return None if answer is None else not answer

    def _has(self, node: Has, value: Any) -> bool:
        return node.member in value

    def _members(self, node: Member | MembersLike | OtherMembers, value: Any) -> bool | None:
        answers: list[bool | None] = []
        for name in value:
            applies = applies_to(node, name)
            if applies is not False:
                holds = self.holds(node.schema, value[name])
                answers.append(holds if applies else holds or None)
        return every(answers)

    def _names(self, node: MemberNames, value: Any) -> bool | None:
        return every(self.holds(node.schema, name) for name in value)


_RULES: dict[type, Callable[[Evaluator, Any, Any], bool | None]] = {
    All: Evaluator._all,
    ExactlyOne: Evaluator._one,
    Choice: Evaluator._choice,
    Named: Evaluator._named,
    Types: Evaluator._types,
    OneOfValues: Evaluator._values,
    Opaque: Evaluator._opaque,
    AtLeast: Evaluator._at_least,
    AtMost: Evaluator._at_most,
    MultipleOf: Evaluator._multiple,
    SizeAtLeast: Evaluator._size_at_least,
    SizeAtMost: Evaluator._size_at_most,
    Pattern: Evaluator._pattern,
    Unique: Evaluator._unique,
    ItemAt: Evaluator._item_at,
    ItemsFrom: Evaluator._items_from,
    ContainsAtLeast: Evaluator._contains_at_least,
    ContainsAtMost: Evaluator._contains_at_most,
    Has: Evaluator._has,
    Member: Evaluator._members,
    MembersLike: Evaluator._members,
    OtherMembers: Evaluator._members,
    MemberNames: Evaluator._names,
}
