"""The small language that every schema is translated into, so that two of them can be compared.

How this works: a formula is a whole number, positive, or negative for its negation, that names a node in one table.
Equal parts of two schemas therefore have the same number, and a part of the old one together with the negation of the
same part is seen to be impossible without looking inside. Nodes about one JSON type do not restrict values of other
types: as a formula they hold for those, and their negation does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from headwater.schemas.json_value import identity_key

Formula = int
TRUE: Formula = 1
FALSE: Formula = -1
JSON_TYPES = ("number", "string", "boolean", "null", "array", "object")


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; its negation: some part does not."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class ExactlyOne:
    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """`then` if `condition` holds, `other` if it does not."""

    condition: Formula
    then: Formula
    other: Formula


@dataclass(frozen=True, slots=True)
class Named:
    """A formula that is known by a name until it is finished: this represents recursion."""

    name: Any


@dataclass(frozen=True, slots=True)
class Types:
    """Types as JSON Schema names them; "integer" is a number without a fraction."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class OneOfValues:
    """`enum`, by the identity of JSON values (1 and 1.0 are the same)."""

    keys: frozenset[Any]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A condition on one type that cannot be reasoned about, only tested: `test` names it in the table of tests."""

    kind: str
    test: str


@dataclass(frozen=True, slots=True)
class AtLeast:
    bound: Fraction
    exclusive: bool


@dataclass(frozen=True, slots=True)
class AtMost:
    bound: Fraction
    exclusive: bool


@dataclass(frozen=True, slots=True)
class MultipleOf:
    divisor: Fraction


@dataclass(frozen=True, slots=True)
class SizeAtLeast:
    """Characters of a string, elements of an array or members of an object, by `kind`."""

    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class SizeAtMost:
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """An ECMA 262 expression found anywhere in a string."""

    expression: str


@dataclass(frozen=True, slots=True)
class Unique:
    """No two elements of an array are equal."""


@dataclass(frozen=True, slots=True)
class ItemAt:
    """The element at `index`, if there is one."""

    index: int
    schema: Formula


@dataclass(frozen=True, slots=True)
class ItemsFrom:
    """Every element at `start` and after."""

    start: int
    schema: Formula


@dataclass(frozen=True, slots=True)
class ContainsAtLeast:
    schema: Formula
    count: int


@dataclass(frozen=True, slots=True)
class ContainsAtMost:
    schema: Formula
    count: int


@dataclass(frozen=True, slots=True)
class Has:
    """The object has a member of this name."""

    member: str


@dataclass(frozen=True, slots=True)
class Member:
    """The member of this name, if there is one."""

    member: str
    schema: Formula


@dataclass(frozen=True, slots=True)
class MembersLike:
    """Every member whose name an expression finds."""

    expression: str
    schema: Formula


@dataclass(frozen=True, slots=True)
class OtherMembers:
    """Every member that neither is named nor matches an expression."""

    members: frozenset[str]
    expressions: frozenset[str]
    schema: Formula


@dataclass(frozen=True, slots=True)
class MemberNames:
    """Every member name, as a string."""

    schema: Formula


Node = (
    All
    | ExactlyOne
    | Choice
    | Named
    | Types
    | OneOfValues
    | Opaque
    | AtLeast
    | AtMost
    | MultipleOf
    | SizeAtLeast
    | SizeAtMost
    | Pattern
    | Unique
    | ItemAt
    | ItemsFrom
    | ContainsAtLeast
    | ContainsAtMost
    | Has
    | Member
    | MembersLike
    | OtherMembers
    | MemberNames
)

_KIND_OF: Mapping[type, str] = {
    AtLeast: "number",
    AtMost: "number",
    MultipleOf: "number",
    Pattern: "string",
    Unique: "array",
    ItemAt: "array",
    ItemsFrom: "array",
    ContainsAtLeast: "array",
    ContainsAtMost: "array",
    Has: "object",
    Member: "object",
    MembersLike: "object",
    OtherMembers: "object",
    MemberNames: "object",
}


def kind_of(node: Node) -> str | None:
    """The one JSON type a node is about; None if it is about all."""
    if isinstance(node, SizeAtLeast | SizeAtMost | Opaque):
        return node.kind
    return _KIND_OF.get(type(node))


class Nodes:
    """The table of one comparison: nodes by number, and the values that `enum`s list."""

    def __init__(self) -> None:
        self._numbers: dict[Node, int] = {All(()): TRUE}
        self._nodes: list[Node] = [All(()), All(())]
        self._kinds: list[str | None] = [None, None]
        self.values: dict[Any, Any] = {}
        self._named: dict[Any, Formula] = {}

    def node(self, formula: Formula) -> Node:
        return self._nodes[abs(formula)]

    def kind(self, formula: Formula) -> str | None:
        return self._kinds[abs(formula)]

    def add(self, node: Node) -> Formula:
        """The number of a node, the same for equal nodes."""
        number = self._numbers.get(node)
        if number is None:
            number = self._numbers[node] = len(self._nodes)
            self._nodes.append(node)
            self._kinds.append(kind_of(node))
        return number

    def all_of(self, parts: Iterable[Formula]) -> Formula:
        """The conjunction, flattened; FALSE if it contradicts itself directly."""
        flat: dict[Formula, None] = {}
        for part in parts:
            node = self.node(part)
            if part > 0 and isinstance(node, All):
                flat.update(dict.fromkeys(node.parts))
            else:
                flat[part] = None
        if any(-part in flat for part in flat) or FALSE in flat:
            return FALSE
        flat.pop(TRUE, None)
        if len(flat) == 1:
            return next(iter(flat))
        return self.add(All(tuple(sorted(flat))))

    def any_of(self, parts: Iterable[Formula]) -> Formula:
        return -self.all_of(-part for part in parts)

    def exactly_one(self, parts: Iterable[Formula]) -> Formula:
        """`oneOf`: branches that accept nothing do not count, and a single branch is that branch."""
        possible = sorted(part for part in parts if part != FALSE)
        if not possible:
            return FALSE
        return possible[0] if len(possible) == 1 else self.add(ExactlyOne(tuple(possible)))

    def values_of(self, values: Iterable[Any]) -> Formula:
        keys = {}
        for value in values:
            keys[identity_key(value)] = value
        self.values.update(keys)
        return self.add(OneOfValues(frozenset(keys))) if keys else FALSE

    def name(self, name: Any, formula: Formula) -> None:
        """Define the formula of a Named."""
        self._named[name] = formula

    def resolve(self, formula: Formula) -> Formula:
        """The formula of a name; one that only refers to itself holds for no finite value."""
        for _ in range(100):
            node = self.node(formula)
            if not isinstance(node, Named):
                return formula
            formula = self._named[node.name] if formula > 0 else -self._named[node.name]
        return FALSE
