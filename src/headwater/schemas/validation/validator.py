"""Validates events: compiled schemas by URI, made once and cached for the life of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from jsonschema_rs import ValidationError

from headwater.errors import EventInvalid, EventMalformed, SchemaInvalid, Violation
from headwater.event import Event, has_written_numbers, with_decimals
from headwater.schemas.dialect import DRAFT_2020_12
from headwater.schemas.graph import SchemaGraph
from headwater.schemas.limits import (
    ExplanationBudget,
    ValidationLimits,
    bytes_may_exceed_depth,
    depth_exceeds,
    forget_oldest,
)
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.schema import Schema
from headwater.schemas.uri import canonical_uri
from headwater.schemas.validation.defaults import plan_defaults
from headwater.schemas.validation.engine import build_engine
from headwater.schemas.validation.engine_findings import engine_findings
from headwater.schemas.validation.explain import Explainer
from headwater.schemas.violation import KeywordViolation, Place


class CompiledSchema:
    """One compiled schema. Thread-safe.

    `fill_defaults(value) -> bool` inserts missing defaults in place and returns whether it changed anything; for a
    schema without defaults it is a function that does nothing.
    """

    __slots__ = ("_engine", "_engine_holds", "_engine_newer", "_explainer", "_limits", "fill_defaults", "schema")

    schema: Schema
    fill_defaults: Callable[[Any], bool]

    def __init__(self, graph: SchemaGraph, limits: ValidationLimits) -> None:
        engine = build_engine(graph)
        self.schema = graph.root
        self._limits = limits
        self._engine_holds = engine.is_valid
        self._engine = engine
        self._explainer = Explainer(graph, limits)
        self._engine_newer = any(node.dialect == DRAFT_2020_12 for node in graph.nodes.values())
        self.fill_defaults = plan_defaults(graph, self._explainer.holds, limits.steps_max)

    def is_valid(self, value: Any) -> bool:
        """The result alone: the hot path. A value nested deeper than the engine's own limit is refused."""
        try:
            if self._engine_holds(value):
                return True
        except ValueError:
            pass
        return has_written_numbers(value) and self.is_valid_exactly(value)

    def is_valid_exactly(self, value: Any) -> bool:
        """As `is_valid`, for a value with decimals that no double equals, which the engine reads only as Decimals."""
        try:
            return self._engine_holds(with_decimals(value))
        except (ValueError, RecursionError):
            return False

    def violations(self, value: Any) -> list[Violation]:
        """All violations of a value (at most `violations_max`); empty exactly when it is valid."""
        return [finding.violation() for finding in self._findings(value)]

    def legacy_errors(self, value: Any) -> list[dict[str, Any]]:
        """The same in the format and order of the legacy validator: keyword, dataPath, schemaPath, params, message."""
        return [finding.legacy_error() for finding in self._findings(value)]

    def explained(self, value: Any, budget: ExplanationBudget) -> tuple[list[Violation], list[dict[str, Any]]]:
        """`violations` and `legacy_errors` as far as the budget allows, which is reduced; a last entry says if some are
        left out.

        At least one is listed for an invalid value.
        """
        budget.is_cut, budget.unlisted = False, 0
        findings = self._findings(value, budget)
        listed: list[KeywordViolation] = []
        for finding in findings:
            budget.violations_left -= 1
            budget.bytes_left -= finding.size()
            if listed and budget.bytes_left < 0:
                budget.unlisted += len(findings) - len(listed)
                break
            listed.append(replace(finding, params={}) if budget.bytes_left < 0 else finding)
        if budget.is_cut or budget.unlisted:
            listed.append(_unlisted(budget.unlisted, is_cut=budget.is_cut))
        return [one.violation() for one in listed], [one.legacy_error() for one in listed]

    def _findings(self, value: Any, budget: ExplanationBudget | None = None) -> list[KeywordViolation]:
        if depth_exceeds(value, self._limits.event_depth_max):
            return [_too_deep(self._limits.event_depth_max)]
        if self.is_valid(value):
            return []
        try:
            findings = [] if self._engine_newer else self._explainer.findings(value, budget)
            # The engine decides: if the walk finds no violation, those of the engine are reported.
            most = self._limits.violations_max
            if budget is not None:
                most = 1 if budget.is_used_up else min(most, budget.violations_left)
            if not findings:
                findings = engine_findings(self._errors_of(_for_engine(value), most), most)
                if budget is not None:
                    budget.is_cut = budget.is_cut or len(findings) >= most
            return findings
        except (RecursionError, ValueError):
            return [
                KeywordViolation(
                    "value", Place(), "#", {}, "cannot be validated: its text is not Unicode, or it is too deep"
                )
            ]

    def _errors_of(self, value: Any, most: int) -> Iterable[ValidationError]:
        """The engine's own errors, limited to the first."""
        if most > 1:
            return self._engine.iter_errors(value)
        try:
            self._engine.validate(value)
        except ValidationError as error:
            return [error]
        return []


class Validator:
    """Compiled schemas of one repository. Thread-safe; a race compiles twice and keeps the first.

    The cache is bounded and drops the oldest, as a repository does with their documents.
    """

    def __init__(self, repository: SchemaRepository, limits: ValidationLimits | None = None) -> None:
        self._repository = repository
        self._limits = limits or ValidationLimits()
        self._compiled: dict[str, CompiledSchema] = {}
        self._lock = threading.Lock()

    @property
    def repository(self) -> SchemaRepository:
        return self._repository

    def known(self, uri: str) -> CompiledSchema | None:
        """The compiled schema if it is in memory: one dictionary lookup, never I/O."""
        return self._compiled.get(uri)

    def compile(self, uri: str) -> CompiledSchema:
        """The compiled schema, read from the repository the first time (which may block on disk or network).

        A reader's `latest` is resolved each time. Failures are not cached: SchemaUriRefused, SchemaNotFound,
        SchemaInvalid, SchemaUnavailable.
        """
        known = self._compiled.get(uri)
        if known is not None:
            return known
        schema = self._repository.get(canonical_uri(uri))
        compiled = self._compiled.get(schema.uri)
        if compiled is None:
            compiled = self._compile(schema)
        with self._lock:
            compiled = self._compiled.setdefault(schema.uri, compiled)
            forget_oldest(self._compiled)
        return compiled

    def check(self, event: Event) -> None:
        """Raises EventInvalid with every violation, EventMalformed without a `$schema`, or what `compile` raises."""
        uri = event.schema_uri
        if uri is None:
            raise EventMalformed("The event has no `$schema`.")
        compiled = self._compiled.get(uri) or self.compile(uri)
        value = event.value
        deep = bytes_may_exceed_depth(event.encode(), self._limits.event_depth_max)
        if compiled.is_valid(value) and not (deep and depth_exceeds(value, self._limits.event_depth_max)):
            return
        raise EventInvalid(compiled.violations(value))

    def _compile(self, schema: Schema) -> CompiledSchema:
        try:
            return CompiledSchema(SchemaGraph(schema, self._repository, self._limits), self._limits)
        except RecursionError:
            raise SchemaInvalid(f"The schema {schema.uri} is nested too deeply.") from None


def legacy_errors_text(errors: Sequence[dict[str, Any]]) -> str:
    """The legacy validator's one-line summary: `'<dataPath>' <message>, …`."""
    return ", ".join(f"'{error['dataPath']}' {error['message']}" for error in errors)


def _for_engine(value: Any) -> Any:
    """The value with Decimals for numbers that no double equals; a copy only if it has some."""
    return with_decimals(value) if has_written_numbers(value) else value


def _unlisted(count: int, *, is_cut: bool) -> KeywordViolation:
    """The entry for violations that are not listed. `is_cut`: there may be more of them than were counted."""
    why = "not listed: a response lists a limited number"
    if not count:
        return KeywordViolation("unlisted", Place(), "#", {}, f"may break more rules, which are {why}")
    least = "at least " if is_cut else ""
    return KeywordViolation(
        "unlisted", Place(), "#", {"count": count}, f"breaks rules in {least}{count:,} more places, {why}"
    )


def _too_deep(depth_max: int) -> KeywordViolation:
    return KeywordViolation(
        "depth", Place(), "#", {"limit": depth_max}, f"should NOT be nested deeper than {depth_max} levels"
    )
