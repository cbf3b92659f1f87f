"""Decides whether any JSON value satisfies a set of formulas, and finds one: containment is such a question.

How this works: "every value of A is a value of B" fails exactly when "A and not B" has a value. A set of formulas is
tried one JSON type at a time, which decides most of it immediately; the remaining alternatives are split, the shortest
first, and a leaf (plain conditions on one type) goes to the search for that type, which recurses into nested values. A
set that leads back to itself holds for no finite value on that path, so it counts as impossible there; such outcomes
are kept only once the set they depend on is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from headwater.schemas.compatibility.arrays import find_array
from headwater.schemas.compatibility.evaluate import Evaluator, Tests, type_of
from headwater.schemas.compatibility.nodes import (
    FALSE,
    JSON_TYPES,
    TRUE,
    All,
    Choice,
    ExactlyOne,
    Formula,
    MultipleOf,
    Named,
    Nodes,
    OneOfValues,
    Types,
)
from headwater.schemas.compatibility.numbers import find_number
from headwater.schemas.compatibility.objects import find_object
from headwater.schemas.compatibility.outcome import (
    IMPOSSIBLE,
    BudgetSpent,
    Found,
    Outcome,
    Solver,
    Undecided,
    undecided,
)
from headwater.schemas.compatibility.strings import find_string

State = frozenset[Formula]
Alternatives = list[tuple[Formula, ...]]

_EVERYTHING = frozenset(JSON_TYPES)
_NONE = 1 << 30
_UNTESTED = Undecided("it depends on a format that can only be tested")
_FINDERS: dict[str, Callable[[Solver, Sequence[Formula]], Outcome]] = {
    "number": lambda solver, literals: find_number(solver.nodes, literals),
    "string": find_string,
    "array": find_array,
    "object": find_object,
}


@dataclass
class _Leaf:
    """A set of formulas about one type, partly decomposed: plain conditions, and open choices."""

    plain: set[Formula]
    seen: set[Formula]
    open: list[Alternatives]


class Search:
    """The search of one comparison, with its cache and its budget. Deterministic: it uses no clock and no
    randomness.
    """

    def __init__(self, nodes: Nodes, tests: Tests, steps_max: int) -> None:
        self.nodes = nodes
        self._evaluator = Evaluator(nodes, tests)
        self._steps_max = self._steps_left = steps_max
        self._settled: dict[State, Outcome] = {}
        self._open: dict[State, int] = {}
        self._lowest = _NONE
        self._types: dict[Formula, frozenset[str]] = {}
        self._whole = nodes.add(MultipleOf(Fraction(1)))

    def holds(self, formula: Formula, value: Any) -> bool | None:
        return self._evaluator.holds(formula, value)

    def refill(self) -> None:
        """Give the next question a budget of its own; known outcomes are kept, unfinished ones are forgotten."""
        self._steps_left = self._steps_max
        self._open.clear()
        self._lowest = _NONE

    def spend(self, steps: int = 1) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise BudgetSpent

    def find(self, formulas: Iterable[Formula]) -> Outcome:
        """A value under which all formulas hold. Raises BudgetSpent."""
        state = self._state(formulas)
        if state is None:
            return IMPOSSIBLE
        known = self._settled.get(state)
        if known is not None:
            return known
        depth = self._open.get(state)
        if depth is not None:
            self._lowest = min(self._lowest, depth)
            return IMPOSSIBLE
        return self._settle(state)

    def _settle(self, state: State) -> Outcome:
        outer, self._lowest = self._lowest, _NONE
        depth = self._open[state] = len(self._open)
        try:
            outcome = self._attempt(state)
        finally:
            del self._open[state]
            lowest, self._lowest = self._lowest, min(outer, self._lowest)
        if isinstance(outcome, Found) or lowest >= depth:
            # It depends on nothing that is still open: a found value is certain, and a set may assume itself
            # impossible.
            self._settled[state] = outcome
            self._lowest = outer
        return outcome

    def _attempt(self, state: State) -> Outcome:
        values = self._listed(state)
        if values is not None:
            fitting = (value for value in values if self._evaluator.holds_all(state, value))
            return next((Found(value) for value in fitting), IMPOSSIBLE)
        failures: list[Outcome] = []
        for kind in self._kinds(state):
            for outcome in self._of_kind(state, kind):
                if isinstance(outcome, Found):
                    return outcome
                failures.append(outcome)
        return undecided(failures)

    def _state(self, formulas: Iterable[Formula]) -> State | None:
        """The set without names and without what is always true; None if it contradicts itself directly."""
        state = {self.nodes.resolve(formula) for formula in formulas}
        state.discard(TRUE)
        if FALSE in state or any(-formula in state for formula in state):
            return None
        return frozenset(state)

    def _listed(self, state: State) -> list[Any] | None:
        """The values of an `enum` that must hold, if every value can be checked against the rest."""
        for formula in state:
            node = self.nodes.node(formula)
            parts = node.parts if formula > 0 and isinstance(node, All) else (formula,)
            for part in parts:
                listed = self.nodes.node(part)
                if part > 0 and isinstance(listed, OneOfValues):
                    values = [self.nodes.values[key] for key in listed.keys]
                    values.sort(key=lambda value: (type_of(value), repr(value)))
                    is_decided = all(self._evaluator.holds_all(state, value) is not None for value in values)
                    return values if is_decided else None
        return None

    def _kinds(self, state: State) -> list[str]:
        possible = _EVERYTHING
        for formula in state:
            possible = possible & self._kinds_of(formula)
        return [kind for kind in JSON_TYPES if kind in possible]

    def _kinds_of(self, formula: Formula) -> frozenset[str]:
        """The types a formula leaves possible, seen from outside."""
        known = self._types.get(formula)
        if known is None:
            node = self.nodes.node(formula)
            known = _EVERYTHING
            kind = self.nodes.kind(formula)
            if kind is not None and formula < 0:
                known = frozenset((kind,))
            elif isinstance(node, Types):
                names = frozenset("number" if name == "integer" else name for name in node.names)
                known = names if formula > 0 else _EVERYTHING - (node.names & _EVERYTHING)
            elif isinstance(node, All) and formula > 0:
                for part in node.parts:
                    known = known & self._kinds_of(part)
            self._types[formula] = known
        return known

    def _of_kind(self, state: State, kind: str) -> Iterator[Outcome]:
        leaf = _Leaf(set(), set(), [])
        if self._take(leaf, state, kind):
            yield from self._split(leaf, kind)

    def _split(self, leaf: _Leaf, kind: str) -> Iterator[Outcome]:
        """The outcome over all ways to make the open choices."""
        self.spend()
        if not self._narrow(leaf, kind):
            return
        if not leaf.open:
            yield self._leaf(leaf, kind)
            return
        shortest = min(leaf.open, key=len)
        rest = [alternatives for alternatives in leaf.open if alternatives is not shortest]
        for alternative in shortest:
            branch = _Leaf(set(leaf.plain), set(leaf.seen), list(rest))
            if self._take(branch, alternative, kind):
                yield from self._split(branch, kind)

    def _narrow(self, leaf: _Leaf, kind: str) -> bool:
        """Drop impossible alternatives and satisfied choices; take alternatives that are the only ones left. False:
        none is left.
        """
        changed = True
        while changed:
            changed = False
            for alternatives in list(leaf.open):
                left = self._left(leaf, alternatives, kind)
                if left is not None and len(left) == len(alternatives) > 1:
                    continue
                leaf.open = [other for other in leaf.open if other is not alternatives]
                if left is None:
                    continue
                if not left or (len(left) == 1 and not self._take(leaf, left[0], kind)):
                    return False
                if len(left) == 1:
                    changed = True
                else:
                    leaf.open.append(left)
        return True

    def _left(self, leaf: _Leaf, alternatives: Alternatives, kind: str) -> Alternatives | None:
        """The alternatives that are not directly false; None if one is already true."""
        left: Alternatives = []
        for alternative in alternatives:
            answers = [self._on_its_face(leaf, formula, kind) for formula in alternative]
            if all(answers):
                return None
            if False not in answers:
                left.append(alternative)
        return left

    def _on_its_face(self, leaf: _Leaf, formula: Formula, kind: str) -> bool | None:
        if formula in leaf.seen:
            return True
        if -formula in leaf.seen:
            return False
        about = self.nodes.kind(formula)
        if about is not None:
            return None if about == kind else formula > 0
        if kind not in self._kinds_of(formula):
            return False
        if kind not in self._kinds_of(-formula):
            return True
        return None

    def _take(self, leaf: _Leaf, formulas: Iterable[Formula], kind: str) -> bool:
        """Add formulas to a leaf, decomposing conjunctions; False if that is a contradiction."""
        stack = list(formulas)
        while stack:
            formula = self.nodes.resolve(stack.pop())
            if formula in leaf.seen or formula == TRUE:
                continue
            if -formula in leaf.seen or formula == FALSE:
                return False
            leaf.seen.add(formula)
            about = self.nodes.kind(formula)
            if about is not None and about != kind:
                if formula < 0:
                    return False
                continue
            more = self._parts(leaf, formula, kind)
            if more is None:
                return False
            stack.extend(more)
        return True

    def _parts(self, leaf: _Leaf, formula: Formula, kind: str) -> Sequence[Formula] | None:
        """What else must hold if this does; alternatives go to `open`, plain conditions to `plain`; None: never."""
        node = self.nodes.node(formula)
        if isinstance(node, All):
            if formula > 0:
                return node.parts
            leaf.open.append([(-part,) for part in node.parts])
        elif isinstance(node, Types):
            return self._typed(node, formula > 0, kind)
        elif isinstance(node, ExactlyOne):
            leaf.open.append(_ways(node.parts, formula > 0))
        elif isinstance(node, Choice):
            sign = 1 if formula > 0 else -1
            leaf.open.append([(node.condition, sign * node.then), (-node.condition, sign * node.other)])
        elif isinstance(node, Named):
            return None
        else:
            leaf.plain.add(formula)
        return ()

    def _typed(self, node: Types, positive: bool, kind: str) -> Sequence[Formula] | None:
        if kind in node.names:
            return () if positive else None
        if kind == "number" and "integer" in node.names:
            return (self._whole if positive else -self._whole,)
        return None if positive else ()

    def _leaf(self, leaf: _Leaf, kind: str) -> Outcome:
        literals = sorted(leaf.plain)
        for literal in literals:
            node = self.nodes.node(literal)
            if literal > 0 and isinstance(node, OneOfValues):
                return self._among(node, literals, kind)
        if kind == "null":
            return self._first((None,), literals)
        if kind == "boolean":
            return self._first((True, False), literals)
        return _FINDERS[kind](self, literals)

    def _among(self, node: OneOfValues, literals: Sequence[Formula], kind: str) -> Outcome:
        values = [self.nodes.values[key] for key in node.keys]
        return self._first(sorted((one for one in values if type_of(one) == kind), key=repr), literals)

    def _first(self, values: Iterable[Any], literals: Sequence[Formula]) -> Outcome:
        failures: list[Outcome] = []
        for value in values:
            answer = self._evaluator.holds_all(literals, value)
            if answer:
                return Found(value)
            if answer is None:
                failures.append(_UNTESTED)
        return undecided(failures)


def _ways(parts: Sequence[Formula], exactly_one: bool) -> Alternatives:
    """The ways in which exactly one of the parts can hold, or in which none or two of them do."""
    denied = tuple(-part for part in parts)
    if exactly_one:
        # By position: equal branches can only hold together, so neither can be the only one.
        return [(part, *denied[:index], *denied[index + 1 :]) for index, part in enumerate(parts)]
    pairs = [(left, right) for index, left in enumerate(parts) for right in parts[index + 1 :]]
    return [denied, *pairs]
