"""Compares two schemas: is every value of one a value of the other, each way, and do tables survive?

How this works: both become formulas of one table. The rule set of the side that reads is split into single rules (one
field's type, one bound); a rule the writing side has too needs no thought, and for each other rule a value is searched
that the writer may send and the rule refuses. Every value found is judged by the real validator before it is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from headwater.errors import SchemaNotFound, Violation
from headwater.schemas.compatibility.answer import Answer, Comparison, ContentModel, Reason, fix_for
from headwater.schemas.compatibility.declared import Declared
from headwater.schemas.compatibility.evaluate import FORMAT_TESTS
from headwater.schemas.compatibility.nodes import (
    All,
    Formula,
    ItemAt,
    ItemsFrom,
    Member,
    MembersLike,
    Nodes,
    OtherMembers,
)
from headwater.schemas.compatibility.normal_form import NormalForm
from headwater.schemas.compatibility.outcome import BudgetSpent, Found, Undecided
from headwater.schemas.compatibility.search import Search
from headwater.schemas.compatibility.storage import compare_storage
from headwater.schemas.dialect import dialect_of
from headwater.schemas.graph import SchemaGraph
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.schema import Schema
from headwater.schemas.validator import CompiledSchema

STEPS_MAX = 100_000
REASONS_MAX = 20
_RULE_DEPTH_MAX = 8
_LIMITS = ValidationLimits(allow_insecure_schemas=True)


class _NoRepository:
    """For documents that stand alone."""

    def get(self, uri: str) -> Schema:
        raise SchemaNotFound(
            f"There is no schema {uri}.", hint="Name the repository that has it, or dereference the schema first."
        )

    def uris(self) -> Iterable[str]:
        return ()

    def close(self) -> None:
        """Nothing is held open."""


@dataclass
class Side:
    """One of the two schemas, in every form a comparison needs."""

    graph: SchemaGraph

    @cached_property
    def validator(self) -> CompiledSchema:
        return CompiledSchema(self.graph, _LIMITS)


def compare(
    old: Schema | Mapping[str, Any],
    new: Schema | Mapping[str, Any],
    *,
    content_model: ContentModel = "declared",
    dialect: str | None = None,
    repository: SchemaRepository | None = None,
) -> Comparison:
    """The three answers for two versions of a schema.

    `content_model` "declared" assumes that writers send only names their schema declares; "strict" is plain set
    inclusion over all JSON values. `dialect` is that of a document without `$schema` (draft-07 if None). `repository`
    resolves references to other schemas. Raises SchemaInvalid for a document that is no usable schema, and
    SchemaUnavailable where a reference cannot be resolved now.
    """
    repository = repository or _NoRepository()
    sides = [Side(SchemaGraph(_schema(one, name, dialect), repository, _LIMITS)) for one, name in _named(old, new)]
    backward = _contained(sides[0], sides[1], content_model, "new")
    forward = _contained(sides[1], sides[0], content_model, "old")
    same = _mean_the_same(sides[0].graph, sides[1].graph)
    storage = compare_storage(sides[0].graph, sides[1].graph)
    return Comparison(backward, forward, storage, content_model, same)


def _named(old: Any, new: Any) -> list[tuple[Any, str]]:
    return [(old, "old"), (new, "new")]


def _schema(given: Schema | Mapping[str, Any], name: str, dialect: str | None) -> Schema:
    if isinstance(given, Schema):
        return given
    document = dict(given)
    if dialect is not None and "$schema" not in document:
        document["$schema"] = dialect
    identifier = document.get("$id")
    uri = identifier if isinstance(identifier, str) and identifier.startswith("/") else f"/{name}/0.0.0"
    title = document.get("title")
    return Schema(uri, document, title if isinstance(title, str) else None, dialect_of(document, f"{name} side"))


def _contained(writer: Side, reader: Side, model: ContentModel, reader_name: str) -> Answer:
    try:
        return _Containment(writer, reader, model, reader_name).answer()
    except BudgetSpent:
        return Answer("unknown", doubt=f"the comparison takes more than {STEPS_MAX} steps")
    except RecursionError:
        return Answer("unknown", doubt="the schemas are nested too deeply to compare")


def _mean_the_same(old: SchemaGraph, new: SchemaGraph) -> bool:
    """Whether both come to the same formulas and declare the same names: then only documentation differs."""
    if old.root.document == new.root.document:
        return True
    nodes = Nodes()
    forms = [NormalForm(graph, nodes) for graph in (old, new)]
    return len({(form.root(), Declared(form).root()) for form in forms}) == 1


class _Containment:
    """Whether everything the writing side may send is accepted by the reading side."""

    def __init__(self, writer: Side, reader: Side, model: ContentModel, reader_name: str) -> None:
        self._writer, self._reader, self._reader_name = writer, reader, reader_name
        nodes = self._nodes = Nodes()
        written = NormalForm(writer.graph, nodes)
        self._premises = [written.root(), *([Declared(written).root()] if model == "declared" else [])]
        self._goal = NormalForm(reader.graph, nodes).root()
        self._search = Search(nodes, FORMAT_TESTS, STEPS_MAX)

    def answer(self) -> Answer:
        known = set(self._rules(self._premises[0]))
        reasons: dict[tuple[str, str, str], Reason] = {}
        doubts: list[str] = []
        for rule in self._rules(self._goal):
            if rule in known:
                continue
            outcome = self._search.find([*self._premises, -rule])
            reason = self._reason(outcome) if isinstance(outcome, Found) else None
            if reason is not None:
                reasons.setdefault((reason.pointer, reason.keyword, reason.schema_pointer), reason)
            elif isinstance(outcome, Undecided):
                doubts.append(outcome.reason)
            elif isinstance(outcome, Found):
                doubts.append("an instance was found, but the validator does not confirm it")
            if len(reasons) >= REASONS_MAX:
                break
        if reasons:
            return Answer("no", tuple(reasons.values()))
        return Answer("unknown", doubt=doubts[0]) if doubts else Answer("yes")

    def _rules(self, formula: Formula, depth: int = 0) -> Iterator[Formula]:
        """The single rules that together say what a formula says: `all of a and b` for one field is two rules."""
        node = self._nodes.node(formula)
        if formula < 0 or depth > _RULE_DEPTH_MAX:
            yield formula
        elif isinstance(node, All):
            for part in node.parts:
                yield from self._rules(part, depth)
        elif isinstance(node, Member | MembersLike | OtherMembers | ItemAt | ItemsFrom):
            for part in self._rules(node.schema, depth + 1):
                yield self._nodes.add(replace(node, schema=part))
        else:
            yield formula

    def _reason(self, found: Found) -> Reason | None:
        """The reason an instance gives, if both validators confirm it."""
        if not self._writer.validator.is_valid(found.value) or self._reader.validator.is_valid(found.value):
            return None
        violations = self._reader.validator.violations(found.value)
        violation = violations[0] if violations else Violation("", "", "is refused")
        writer = "old" if self._reader_name == "new" else "new"
        sentence = (
            f"Data of the {writer} schema may be such that {violation.pointer or 'the whole'} {violation.message}"
            f" by the {self._reader_name} one."
        )
        return Reason(
            violation.pointer,
            violation.keyword,
            sentence,
            fix_for(violation.keyword),
            violation.schema_pointer,
            found.value,
        )
