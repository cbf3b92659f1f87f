"""Compares two schemas: whether every value of one is a value of the other, each way, and whether tables can be kept.

How this works: both become formulas of one table. The rule set of the reading side is split into single rules (one
field's type, one bound); a rule that the writing side also has needs no check, and for each other rule the search looks
for a value that the writer may send and the rule refuses. Every value found is confirmed by the real validator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from headwater.errors import SchemaNotFound, Violation
from headwater.schemas.compatibility.answer import Answer, Comparison, ContentModel, Reason, fix_for, sentence_for
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
from headwater.schemas.validation.validator import CompiledSchema

STEPS_MAX = 100_000
REASONS_MAX = 20
_RULE_DEPTH_MAX = 8
_LIMITS = ValidationLimits(allow_insecure_schemas=True)


class _NoRepository:
    """For self-contained documents."""

    def get(self, uri: str) -> Schema:
        raise SchemaNotFound(
            f"There is no schema {uri}.", hint="Give the repository that has it, or dereference the schema first."
        )

    def uris(self) -> Iterable[str]:
        return ()

    def close(self) -> None:
        """There is nothing to close."""


class Side:
    """One of the two schemas, in every form a comparison needs; each is made once, on first use."""

    def __init__(self, graph: SchemaGraph, nodes: Nodes) -> None:
        self.graph = graph
        self._form = NormalForm(graph, nodes)

    @cached_property
    def rules(self) -> Formula:
        return self._form.root()

    @cached_property
    def declared(self) -> Formula:
        """The condition that only declared names occur."""
        return Declared(self._form).root()

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
    resolves references to other schemas. Raises SchemaInvalid for a document that is not a usable schema, and
    SchemaUnavailable if a reference cannot be resolved now.
    """
    repository = repository or _NoRepository()
    nodes = Nodes()
    before, after = (
        Side(SchemaGraph(_schema(one, name, dialect), repository, _LIMITS), nodes)
        for one, name in ((old, "old"), (new, "new"))
    )
    search = Search(nodes, FORMAT_TESTS, STEPS_MAX)
    return Comparison(
        _contained(_Containment(before, after, content_model, "new"), search),
        _contained(_Containment(after, before, content_model, "old"), search),
        compare_storage(before.graph, after.graph),
        content_model,
        _mean_the_same(before, after),
    )


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


def _contained(question: _Containment, search: Search) -> Answer:
    try:
        return question.answer(search)
    except BudgetSpent:
        return Answer("unknown", doubt=f"the comparison takes more than {STEPS_MAX} steps")
    except RecursionError:
        return Answer("unknown", doubt="the schemas are nested too deeply to compare")


def _mean_the_same(old: Side, new: Side) -> bool:
    """Whether both have the same formulas and declare the same names: then only documentation differs."""
    if old.graph.root.document == new.graph.root.document:
        return True
    try:
        return (old.rules, old.declared) == (new.rules, new.declared)
    except RecursionError:
        return False


@dataclass(frozen=True)
class _Containment:
    """Whether everything the writing side may send is accepted by the reading side."""

    writer: Side
    reader: Side
    model: ContentModel
    reader_name: str

    def answer(self, search: Search) -> Answer:
        search.refill()
        premises = [self.writer.rules, *([self.writer.declared] if self.model == "declared" else [])]
        reasons: dict[tuple[str, str, str], Reason] = {}
        doubts: list[str] = []
        for rule in self._questions(search.nodes):
            outcome = search.find([*premises, -rule])
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

    def _questions(self, nodes: Nodes) -> list[Formula]:
        """The single rules of the reading side, without those that the writing side also has."""
        written, read = _parts(nodes, self.writer.rules), _parts(nodes, self.reader.rules)
        mine = {rule for part in written - read for rule in _rules(nodes, part)}
        theirs = dict.fromkeys(rule for part in sorted(read - written) for rule in _rules(nodes, part))
        return [rule for rule in theirs if rule not in mine]

    def _reason(self, found: Found) -> Reason | None:
        """The reason that an instance shows, if both validators confirm it."""
        if not self.writer.validator.is_valid(found.value) or self.reader.validator.is_valid(found.value):
            return None
        violations = self.reader.validator.violations(found.value)
        violation = violations[0] if violations else Violation("", "", "is refused")
        return Reason(
            violation.pointer,
            violation.keyword,
            sentence_for(violation, found.value, self.reader_name),
            fix_for(violation.keyword, self.reader_name),
            violation.schema_pointer,
            found.value,
        )


def _parts(nodes: Nodes, formula: Formula) -> set[Formula]:
    node = nodes.node(formula)
    return set(node.parts) if formula > 0 and isinstance(node, All) else {formula}


def _rules(nodes: Nodes, formula: Formula, depth: int = 0) -> Iterator[Formula]:
    """The single rules that together are equivalent to a formula: `all of a and b` for one field is two rules."""
    node = nodes.node(formula)
    if formula < 0 or depth > _RULE_DEPTH_MAX:
        yield formula
    elif isinstance(node, All):
        for part in node.parts:
            yield from _rules(nodes, part, depth)
    elif isinstance(node, Member | MembersLike | OtherMembers | ItemAt | ItemsFrom):
        for part in _rules(nodes, node.schema, depth + 1):
            yield nodes.add(replace(node, schema=part))
    else:
        yield formula
