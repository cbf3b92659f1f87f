"""Finds an array: a length, a place for each required element, and values that satisfy all conditions at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.schemas.compatibility.nodes import (
    ContainsAtLeast,
    ContainsAtMost,
    Formula,
    ItemAt,
    ItemsFrom,
    Node,
    OneOfValues,
    SizeAtLeast,
    SizeAtMost,
    Unique,
)
from headwater.schemas.compatibility.outcome import IMPOSSIBLE, Found, Outcome, Solver, Undecided, undecided

_ELEMENTS_MAX = 1_000
_OBLIGATIONS_MAX = 8


@dataclass
class _Wanted:
    at: list[tuple[int, Formula]] = field(default_factory=list)
    after: list[tuple[int, Formula]] = field(default_factory=list)
    # An element that must be somewhere: (first index allowed, last index allowed or None, formula).
    somewhere: list[tuple[int, int | None, Formula]] = field(default_factory=list)
    # Groups of obligations that need one element each.
    apart: list[tuple[Formula, int]] = field(default_factory=list)
    at_most: list[tuple[Formula, int]] = field(default_factory=list)
    low: int = 0
    high: int | None = None
    unique: bool = False
    repeated: bool = False
    excluded: list[Formula] = field(default_factory=list)


def find_array(solver: Solver, literals: Sequence[Formula]) -> Outcome:
    """An array for which all literals (about arrays, or denied `enum`s) hold."""
    wanted = _Wanted()
    for literal in literals:
        _read(solver.nodes.node(literal), literal > 0, wanted)
        if literal < 0 and isinstance(solver.nodes.node(literal), OneOfValues):
            wanted.excluded.append(literal)
    if wanted.repeated:
        wanted.low = max(wanted.low, 2)
    if wanted.high is not None and wanted.low > wanted.high:
        return IMPOSSIBLE
    if wanted.low > _ELEMENTS_MAX:
        return Undecided(f"the array must have more than {_ELEMENTS_MAX} elements")
    return _Search(solver, wanted).outcome()


def _read(node: Node, positive: bool, wanted: _Wanted) -> None:
    if isinstance(node, ItemAt):
        if positive:
            wanted.at.append((node.index, node.schema))
        else:
            wanted.somewhere.append((node.index, node.index, -node.schema))
    elif isinstance(node, ItemsFrom):
        if positive:
            wanted.after.append((node.start, node.schema))
        else:
            wanted.somewhere.append((node.start, None, -node.schema))
    elif isinstance(node, SizeAtLeast | SizeAtMost):
        _read_size(node, positive, wanted)
    elif isinstance(node, Unique):
        wanted.unique, wanted.repeated = wanted.unique or positive, wanted.repeated or not positive
    elif isinstance(node, ContainsAtLeast | ContainsAtMost):
        _read_contains(node, positive, wanted)


def _read_size(node: SizeAtLeast | SizeAtMost, positive: bool, wanted: _Wanted) -> None:
    if isinstance(node, SizeAtLeast) == positive:
        wanted.low = max(wanted.low, node.size if positive else node.size + 1)
    else:
        high = node.size if positive else node.size - 1
        wanted.high = high if wanted.high is None else min(wanted.high, high)


def _read_contains(node: ContainsAtLeast | ContainsAtMost, positive: bool, wanted: _Wanted) -> None:
    if isinstance(node, ContainsAtLeast) == positive:
        count = node.count if positive else node.count + 1
        wanted.apart.append((node.schema, count))
        wanted.low = max(wanted.low, count)
    else:
        count = node.count if positive else node.count - 1
        if count == 0:
            wanted.after.append((0, -node.schema))
        else:
            wanted.at_most.append((node.schema, count))


Slots = list[list[Formula]]


class _Search:
    def __init__(self, solver: Solver, wanted: _Wanted) -> None:
        self._solver = solver
        self._wanted = wanted
        ends = [index + 1 for index, _ in wanted.at] + [start for start, _ in wanted.after]
        ends += [first + (last is not None) for first, last, _ in wanted.somewhere]
        self._distinct = max(ends, default=0)
        self._demanded = sum(count for _, count in wanted.apart) + len(wanted.somewhere)
        self._dropped = False

    def outcome(self) -> Outcome:
        """Lengths, shortest first. Beyond the last special index, one element for each obligation is enough."""
        wanted = self._wanted
        count = self._demanded
        if count > _OBLIGATIONS_MAX and len(wanted.apart) > 1:
            return Undecided("too many elements are required at once")
        last = max(wanted.low, self._distinct) + count + (2 if wanted.repeated else 0) + len(wanted.excluded)
        if wanted.high is not None:
            last = min(last, wanted.high)
        failures: list[Outcome] = []
        for length in range(wanted.low, min(last, _ELEMENTS_MAX) + 1):
            outcome = self._of_length(length)
            if isinstance(outcome, Found):
                return outcome
            failures.append(outcome)
        if self._dropped:
            failures.append(Undecided("some arrays are excluded by value"))
        return undecided(failures)

    def _of_length(self, length: int) -> Outcome:
        slots: Slots = [
            [formula for index, formula in self._wanted.at if index == place]
            + [formula for start, formula in self._wanted.after if place >= start]
            for place in range(length)
        ]
        failures: list[Outcome] = []
        for placed in self._placements(slots, 0):
            self._solver.spend()
            for pair in self._pairs(length):
                outcome = self._fill(placed, pair)
                if isinstance(outcome, Found) and self._is_excluded(outcome.value):
                    self._dropped = True
                elif isinstance(outcome, Found):
                    return outcome
                failures.append(outcome)
        return undecided(failures)

    def _is_excluded(self, value: Any) -> bool:
        return any(self._solver.holds(literal, value) is not True for literal in self._wanted.excluded)

    def _obligations(self) -> list[tuple[int, int | None, Formula, int]]:
        single = [(first, last, formula, 1) for first, last, formula in self._wanted.somewhere]
        return [*single, *((0, None, formula, count) for formula, count in self._wanted.apart)]

    def _placements(self, slots: Slots, index: int) -> Iterator[Slots]:
        """Every way to assign elements to the obligations; equivalent elements are tried once."""
        obligations = self._obligations()
        if index == len(obligations):
            yield slots
            return
        first, last, formula, count = obligations[index]
        keys = [(frozenset(slot), min(place, self._distinct)) for place, slot in enumerate(slots)]
        for places in _choices(keys, first, len(slots) - 1 if last is None else last, count):
            changed = [[*slot, formula] if place in places else slot for place, slot in enumerate(slots)]
            yield from self._placements(changed, index + 1)

    def _pairs(self, length: int) -> Iterator[tuple[int, int] | None]:
        if not self._wanted.repeated:
            yield None
            return
        reach = min(length, self._distinct + 2 + self._demanded)
        yield from ((left, right) for right in range(1, reach) for left in range(right))

    def _fill(self, slots: Slots, pair: tuple[int, int] | None) -> Outcome:
        values: list[Any] = []
        budgets = [count for _, count in self._wanted.at_most]
        for place, slot in enumerate(slots):
            formulas = slot if pair is None or place not in pair else slots[pair[0]] + slots[pair[1]]
            if pair is not None and place == pair[1]:
                values.append(values[pair[0]])
                if not self._recount(values[-1], budgets):
                    return Undecided("repeated elements use up what `maxContains` allows")
                continue
            others = [self._solver.nodes.values_of(values)] if self._wanted.unique and values else []
            outcome = self._element([*formulas, *(-other for other in others)], budgets)
            if not isinstance(outcome, Found):
                return self._failure(outcome, slots, bool(others))
            values.append(outcome.value)
        return Found(values)

    def _failure(self, outcome: Outcome, slots: Slots, chosen_before: bool) -> Outcome:
        """An element that fails only because of earlier choices proves something only if all elements are
        equivalent.
        """
        alike = all(set(slot) == set(slots[0]) for slot in slots)
        if isinstance(outcome, Undecided) or (not chosen_before and len(self._wanted.at_most) <= 1):
            return outcome
        if alike and len(self._wanted.at_most) == 0:
            return outcome
        plain = [self._solver.find(slot) for slot in slots]
        if any(not isinstance(one, Found) for one in plain):
            return undecided(one for one in plain if not isinstance(one, Found))
        return Undecided("elements depend on each other")

    def _element(self, formulas: list[Formula], budgets: list[int]) -> Outcome:
        """One element; it counts against `maxContains` only if that cannot be avoided."""
        if not self._wanted.at_most:
            return self._solver.find(formulas)
        free = [-schema for schema, _ in self._wanted.at_most]
        outcome = self._solver.find([*formulas, *free])
        if isinstance(outcome, Found):
            return outcome
        failures = [outcome]
        for index, (schema, _) in enumerate(self._wanted.at_most):
            if budgets[index] == 0:
                continue
            others = [formula for place, formula in enumerate(free) if place != index]
            outcome = self._solver.find([*formulas, schema, *others])
            if isinstance(outcome, Found):
                budgets[index] -= 1
                return outcome
            failures.append(outcome)
        if len(self._wanted.at_most) > 1:
            return Undecided("several `maxContains` interact")
        return undecided(failures)

    def _recount(self, value: Any, budgets: list[int]) -> bool:
        for index, (schema, _) in enumerate(self._wanted.at_most):
            if self._solver.holds(schema, value) is not False:
                budgets[index] -= 1
        return all(budget >= 0 for budget in budgets)


def _choices(keys: list[Any], first: int, last: int, count: int) -> Iterator[tuple[int, ...]]:
    """Sets of `count` places in a range; of places with equal keys only the first ones."""
    if count == 0:
        yield ()
        return
    seen: set[Any] = set()
    for place in range(first, min(last, len(keys) - 1) + 1):
        if keys[place] in seen:
            continue
        seen.add(keys[place])
        for rest in _choices(keys, place + 1, last, count - 1):
            yield (place, *rest)
