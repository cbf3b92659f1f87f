"""Finds an object: which members it must have, which it must not have, and a name for each unnamed member.

How this works: an obligation such as "some member that no property and no expression covers breaks this rule" is met
either by a name that some schema mentions, or by a fresh one. Fresh names differ only in which expressions they match,
so one for each combination is enough to try; the name itself is then found by the search for strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from headwater.schemas.compatibility.evaluate import applies_to, every, finds
from headwater.schemas.compatibility.nodes import (
    Formula,
    Has,
    Member,
    MemberNames,
    MembersLike,
    Node,
    OneOfValues,
    OtherMembers,
    Pattern,
    SizeAtLeast,
    SizeAtMost,
    Types,
)
from headwater.schemas.compatibility.outcome import IMPOSSIBLE, Found, Outcome, Solver, Undecided, undecided

_EXPRESSIONS_MAX = 6
_MEMBERS_MAX = 200


@dataclass(frozen=True)
class _Demand:
    """Some member must exist: its name is not listed, matches some expressions and not others; formulas on its
    value.
    """

    not_named: frozenset[str] = frozenset()
    like: str | None = None
    unlike: frozenset[str] = frozenset()
    name_holds: tuple[Formula, ...] = ()
    value_holds: tuple[Formula, ...] = ()


@dataclass
class _Wanted:
    rules: list[Node] = field(default_factory=list)
    names: list[Formula] = field(default_factory=list)
    required: dict[str, list[Formula]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    demands: list[_Demand] = field(default_factory=list)
    low: int = 0
    high: int | None = None
    excluded: list[Formula] = field(default_factory=list)

    def mentioned(self) -> list[str]:
        names = set(self.required) | self.forbidden
        for rule in self.rules:
            names |= {rule.member} if isinstance(rule, Member) else set()
            names |= rule.members if isinstance(rule, OtherMembers) else set()
        for demand in self.demands:
            names |= demand.not_named
        return sorted(names)

    def expressions(self) -> list[str]:
        found = {rule.expression for rule in self.rules if isinstance(rule, MembersLike)}
        for rule in self.rules:
            found |= rule.expressions if isinstance(rule, OtherMembers) else set()
        for demand in self.demands:
            found |= demand.unlike | ({demand.like} if demand.like is not None else set())
        return sorted(found)


def find_object(solver: Solver, literals: Sequence[Formula]) -> Outcome:
    """An object for which all literals (about objects, or denied `enum`s) hold."""
    wanted = _Wanted()
    for literal in literals:
        node = solver.nodes.node(literal)
        if literal > 0:
            _read(node, wanted)
        else:
            _read_denied(node, literal, wanted)
    if wanted.required.keys() & wanted.forbidden:
        return IMPOSSIBLE
    if wanted.high is not None and (wanted.low > wanted.high or len(wanted.required) > wanted.high):
        return IMPOSSIBLE
    return _Search(solver, wanted).outcome()


def _read(node: Node, wanted: _Wanted) -> None:
    if isinstance(node, Has):
        wanted.required.setdefault(node.member, [])
    elif isinstance(node, Member | MembersLike | OtherMembers):
        wanted.rules.append(node)
    elif isinstance(node, MemberNames):
        wanted.names.append(node.schema)
    elif isinstance(node, SizeAtLeast):
        wanted.low = max(wanted.low, node.size)
    elif isinstance(node, SizeAtMost):
        wanted.high = node.size if wanted.high is None else min(wanted.high, node.size)


def _read_denied(node: Node, literal: Formula, wanted: _Wanted) -> None:
    if isinstance(node, Has):
        wanted.forbidden.add(node.member)
    elif isinstance(node, Member):
        wanted.required.setdefault(node.member, []).append(-node.schema)
    elif isinstance(node, MembersLike):
        wanted.demands.append(_Demand(like=node.expression, value_holds=(-node.schema,)))
    elif isinstance(node, OtherMembers):
        wanted.demands.append(_Demand(node.members, None, node.expressions, (), (-node.schema,)))
    elif isinstance(node, MemberNames):
        wanted.demands.append(_Demand(name_holds=(-node.schema,)))
    elif isinstance(node, SizeAtLeast):
        wanted.high = node.size - 1 if wanted.high is None else min(wanted.high, node.size - 1)
    elif isinstance(node, SizeAtMost):
        wanted.low = max(wanted.low, node.size + 1)
    elif isinstance(node, OneOfValues):
        wanted.excluded.append(literal)


@dataclass(frozen=True)
class _Fresh:
    """A member whose name is still to be found."""

    name_holds: tuple[Formula, ...]
    value_holds: tuple[Formula, ...]


class _Search:
    def __init__(self, solver: Solver, wanted: _Wanted) -> None:
        self._solver = solver
        self._wanted = wanted
        self._mentioned = wanted.mentioned()
        self._is_string = solver.nodes.add(Types(frozenset(("string",))))
        self._covering: dict[str, list[Formula] | None] = {}

    def outcome(self) -> Outcome:
        failures: list[Outcome] = []
        # Members that must exist whatever else is chosen: if they are contradictory, no further search is needed.
        for name, formulas in self._by_promise():
            outcome = self._value(name, formulas)
            if not isinstance(outcome, Found):
                if not isinstance(outcome, Undecided):
                    return outcome
                failures.append(outcome)
        if failures:
            return undecided(failures)
        for chosen, fresh in self._choices(0, {}, ()):
            self._solver.spend()
            outcome = self._build(chosen, fresh)
            if isinstance(outcome, Found):
                return outcome
            failures.append(outcome)
        return undecided(failures)

    def _by_promise(self) -> list[tuple[str, list[Formula]]]:
        return sorted(self._wanted.required.items(), key=lambda pair: (not pair[1], pair[0]))

    def _value(self, name: str, formulas: Sequence[Formula]) -> Outcome:
        """A value for a member of a known name."""
        allowed = every(self._solver.holds(rule, name) for rule in self._wanted.names)
        if allowed is False or name in self._wanted.forbidden:
            return IMPOSSIBLE
        covering = self._rules_on(name)
        if covering is None or allowed is None:
            return Undecided(f"it is unknown which rules apply to the name {name!r}")
        return self._solver.find([*covering, *formulas])

    def _rules_on(self, name: str) -> list[Formula] | None:
        if name not in self._covering:
            formulas: list[Formula] | None = []
            for rule in self._wanted.rules:
                applies = applies_to(rule, name)
                if applies is None:
                    formulas = None
                    break
                if applies and formulas is not None:
                    formulas.append(rule.schema)  # type: ignore[union-attr]
            self._covering[name] = formulas
        return self._covering[name]

    def _choices(
        self, index: int, chosen: dict[str, tuple[Formula, ...]], fresh: tuple[_Fresh, ...]
    ) -> Iterator[tuple[dict[str, tuple[Formula, ...]], tuple[_Fresh, ...]]]:
        """Every way to meet the obligations with mentioned and fresh names."""
        if index == len(self._wanted.demands):
            yield chosen, fresh
            return
        demand = self._wanted.demands[index]
        for name in self._mentioned:
            if name not in self._wanted.forbidden and self._meets(demand, name) is not False:
                before = chosen.get(name, ())
                yield from self._choices(index + 1, {**chosen, name: (*before, *demand.value_holds)}, fresh)
        for member in self._fresh(demand):
            yield from self._choices(index + 1, chosen, (*fresh, member))

    def _meets(self, demand: _Demand, name: str) -> bool | None:
        if name in demand.not_named:
            return False
        answers = [None if (found := finds(one, name)) is None else not found for one in demand.unlike]
        answers += [finds(demand.like, name)] if demand.like is not None else []
        return every([*answers, *(self._solver.holds(formula, name) for formula in demand.name_holds)])

    def _fresh(self, demand: _Demand) -> Iterator[_Fresh]:
        """One member for each combination of expressions that its name may match."""
        add = self._solver.nodes.add
        expressions = self._wanted.expressions()
        decided = {demand.like: True} if demand.like is not None else {}
        if decided.keys() & demand.unlike:
            return
        decided |= dict.fromkeys(demand.unlike, False)
        free = [expression for expression in expressions if expression not in decided]
        if len(free) > _EXPRESSIONS_MAX:
            yield _Fresh((), ())
            return
        for answers in product((False, True), repeat=len(free)):
            matches = {**decided, **dict(zip(free, answers, strict=True))}
            name_holds = [add(Pattern(one)) if match else -add(Pattern(one)) for one, match in sorted(matches.items())]
            values = [
                rule.schema
                for rule in self._wanted.rules
                if (isinstance(rule, MembersLike) and matches[rule.expression])
                or (isinstance(rule, OtherMembers) and not any(matches[one] for one in rule.expressions))
            ]
            names = (self._is_string, *name_holds, *self._wanted.names, *demand.name_holds)
            yield _Fresh(names, (*values, *demand.value_holds))

    def _build(self, chosen: dict[str, tuple[Formula, ...]], fresh: tuple[_Fresh, ...]) -> Outcome:
        members: dict[str, Any] = {}
        for name in dict.fromkeys((*self._wanted.required, *chosen)):
            outcome = self._value(name, [*self._wanted.required.get(name, ()), *chosen.get(name, ())])
            if not isinstance(outcome, Found):
                return outcome
            members[name] = outcome.value
        for member in fresh:
            outcome = self._add_fresh(member, members)
            if not isinstance(outcome, Found):
                # If names are few, one member may meet two obligations; that is not searched.
                return outcome if len(fresh) == 1 else Undecided("few names must meet many obligations")
        if self._wanted.high is not None and len(members) > self._wanted.high:
            return Undecided("few members must meet many obligations") if len(self._wanted.demands) > 1 else IMPOSSIBLE
        outcome = self._fill_up(members, self._wanted.low)
        if isinstance(outcome, Found) and self._is_excluded(outcome.value):
            return self._vary(members)
        return outcome

    def _add_fresh(self, member: _Fresh, members: dict[str, Any]) -> Outcome:
        if not member.name_holds:
            return Undecided("too many expressions for names interact")
        value = self._solver.find(member.value_holds)
        if not isinstance(value, Found):
            return value
        taken = self._solver.nodes.values_of([*self._mentioned, *members])
        unlike = [-taken] if self._mentioned or members else []
        name = self._solver.find([*member.name_holds, *unlike])
        if isinstance(name, Found):
            members[name.value] = value.value
        return name

    def _fill_up(self, members: dict[str, Any], low: int) -> Outcome:
        """Optional members until there are `low`; each is independent of the others."""
        if low > _MEMBERS_MAX:
            return Undecided(f"the object must have more than {_MEMBERS_MAX} members")
        failures: list[Outcome] = []
        for name in self._mentioned:
            if len(members) >= low:
                break
            if name not in members:
                outcome = self._value(name, ())
                if isinstance(outcome, Found):
                    members[name] = outcome.value
                else:
                    failures.append(outcome)
        for member in self._fresh(_Demand()) if len(members) < low else ():
            while len(members) < low:
                outcome = self._add_fresh(member, members)
                if not isinstance(outcome, Found):
                    failures.append(outcome)
                    break
        return Found(members) if len(members) >= low else undecided(failures)

    def _is_excluded(self, value: Any) -> bool:
        return any(self._solver.holds(literal, value) is not True for literal in self._wanted.excluded)

    def _vary(self, members: dict[str, Any]) -> Outcome:
        """An object other than those excluded by value: with as many additional members as needed."""
        for extra in range(1, len(self._wanted.excluded) + 2):
            low = len(members) + extra
            if self._wanted.high is not None and low > self._wanted.high:
                break
            outcome = self._fill_up(dict(members), low)
            if isinstance(outcome, Found) and not self._is_excluded(outcome.value):
                return outcome
        return Undecided("some objects are excluded by value")
