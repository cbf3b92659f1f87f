"""Checks the versions of a schema by a mode its owner chose: which versions must read the data of which others."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from headwater.errors import ConfigInvalid
from headwater.schemas.compatibility.additions import only_adds
from headwater.schemas.compatibility.answer import Answer, Comparison, ContentModel, Reason
from headwater.schemas.compatibility.legacy import legacy_refusal
from headwater.schemas.compatibility.semantic_diff import changes
from headwater.schemas.compatibility.verdict import compare
from headwater.schemas.numeric_bounds import fill_numeric_bounds
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.schema import Schema
from headwater.schemas.uri import version_of

Document = Schema | Mapping[str, Any]
Scope = Literal["major", "all-majors"]

# The bounds that materializing adds to numbers without bounds: the safe integers of JavaScript.
SAFE_BOUNDS = (-9007199254740991, 9007199254740991)


class Mode(enum.Enum):
    """A rule on versions. Transitive: against every earlier version, else against the one before."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"
    EVENT = "EVENT"
    LEGACY = "LEGACY"

    @property
    def is_transitive(self) -> bool:
        return self.name.endswith("_TRANSITIVE") or self is Mode.EVENT

    @property
    def asks(self) -> tuple[str, ...]:
        """The verdicts that must be "yes"."""
        if self is Mode.EVENT:
            return ("backward", "storage")
        return {"BACKWARD": ("backward",), "FORWARD": ("forward",), "FULL": ("backward", "forward")}.get(
            self.name.removesuffix("_TRANSITIVE"), ()
        )


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """A version that breaks the rule.

    `rule` is `compatibility.` and one of backward, forward, storage, removal, legacy. `verdict` is "no", or "unknown"
    if it cannot be decided, which counts as broken: a version is released once.
    """

    rule: str
    old_version: str
    new_version: str
    verdict: Literal["no", "unknown"]
    reason: Reason

    @property
    def message(self) -> str:
        return f"{self.old_version} → {self.new_version}: {self.reason.sentence}"

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "old_version": self.old_version,
            "new_version": self.new_version,
            "verdict": self.verdict,
            **self.reason.as_json(),
        }


def mode_named(name: str) -> Mode:
    """The mode of a name, in any case. Raises ConfigInvalid."""
    try:
        return Mode(name.upper().replace("-", "_"))
    except ValueError:
        known = ", ".join(mode.value for mode in Mode)
        raise ConfigInvalid(f"There is no compatibility mode {name!r}.", hint=f"The modes are {known}.") from None


def check_evolution(
    versions: Iterable[tuple[str, Document]],
    mode: Mode | str = Mode.EVENT,
    *,
    content_model: ContentModel = "declared",
    scope: Scope = "major",
    repository: SchemaRepository | None = None,
    only_latest: bool = False,
) -> list[Incompatibility]:
    """Every way in which a version breaks the rule towards earlier ones.

    `versions` are (version text such as "1.2.0", schema), in any order. `scope` "major" compares within a major
    version, "all-majors" across them. `only_latest` checks only the greatest version. What an earlier version already
    broke is not reported again for later ones. Raises what `compare` raises, and ConfigInvalid for an unknown mode.
    """
    chosen = mode if isinstance(mode, Mode) else mode_named(mode)
    ordered = sorted(versions, key=lambda pair: version_of(pair[0]) or (0, 0, 0))
    reported: set[tuple[str, str, str, str]] = set()
    findings: list[Incompatibility] = []
    latest = ordered[-1][0] if ordered else ""
    for (old_version, old), (new_version, new) in _pairs(ordered, chosen, scope):
        if only_latest and new_version != latest:
            continue
        for rule, verdict, reason in judge(old, new, chosen, content_model=content_model, repository=repository):
            key = (old_version, rule, reason.pointer, reason.keyword)
            if key not in reported:
                reported.add(key)
                findings.append(Incompatibility(rule, old_version, new_version, verdict, reason))
    return findings


def _pairs(
    ordered: list[tuple[str, Document]], mode: Mode, scope: Scope
) -> Iterator[tuple[tuple[str, Document], tuple[str, Document]]]:
    """The pairs of versions to compare, by the newer one, nearest first."""
    groups: dict[int, list[tuple[str, Document]]] = {}
    for one in ordered:
        major = (version_of(one[0]) or (0, 0, 0))[0] if scope == "major" or mode is Mode.LEGACY else 0
        groups.setdefault(major, []).append(one)
    for group in groups.values():
        if mode.is_transitive:
            for index, newer in enumerate(group):
                yield from ((older, newer) for older in reversed(group[:index]))
        else:
            yield from pairwise(group)


Judgement = tuple[str, Literal["no", "unknown"], Reason]


def judge(
    old: Document,
    new: Document,
    mode: Mode,
    *,
    content_model: ContentModel = "declared",
    repository: SchemaRepository | None = None,
    comparison: Comparison | None = None,
) -> list[Judgement]:
    """How one pair breaks the rule of a mode: (rule, verdict, reason). `comparison`: that of the pair, if known."""
    if mode is Mode.NONE:
        return []
    before, after = _document(old), _document(new)
    if mode is Mode.LEGACY:
        refusal = legacy_refusal(before, after)
        return [("compatibility.legacy", "no", refusal)] if refusal else []
    if before == after:
        return []
    if mode is Mode.EVENT and content_model == "declared" and only_adds(before, after):
        return []
    if mode is Mode.EVENT:
        # Materializing adds these bounds automatically, so a version that gains them breaks nothing.
        old, new = _bounded(old), _bounded(new)
        comparison = None if (_document(old), _document(new)) != (before, after) else comparison
    comparison = comparison or compare(old, new, content_model=content_model, repository=repository)
    found: list[Judgement] = []
    for question in mode.asks:
        found.extend(_broken(f"compatibility.{question}", getattr(comparison, question)))
    if mode is Mode.EVENT:
        reported = {reason.pointer for reason in comparison.storage.reasons}
        found.extend(("compatibility.removal", "no", reason) for reason in _removals(before, after, reported))
    return found


def _broken(rule: str, answer: Answer) -> list[Judgement]:
    if answer.verdict == "unknown":
        sentence = f"Whether data stay valid is unknown: {answer.doubt}."
        return [(rule, "unknown", Reason("", "", sentence, "Simplify the change, or waive the finding with a reason."))]
    return [(rule, "no", reason) for reason in answer.reasons]


def _removals(old: Mapping[str, Any], new: Mapping[str, Any], reported: set[str]) -> Iterator[Reason]:
    """Removed fields that are not columns: those without a type, or in a place that is not part of a table."""
    for change in changes(old, new):
        if change.kind == "field removed" and change.pointer not in reported and change.old is not False:
            fix = "Keep the field declared, and state in its description that it is not used any more."
            yield Reason(change.pointer, "properties", change.sentence, fix, change.schema_pointer)


def _document(given: Document) -> Mapping[str, Any]:
    return given.document if isinstance(given, Schema) else given


def _bounded(given: Document) -> Document:
    document = copy.deepcopy(dict(_document(given)))
    fill_numeric_bounds(document, SAFE_BOUNDS)
    return Schema(given.uri, document, given.title, given.dialect) if isinstance(given, Schema) else document
