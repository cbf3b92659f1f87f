"""The difference between two versions of a schema, for people: changes in words, verdicts, lines of text."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.errors import HeadwaterError, SchemaNotFound
from headwater.schemas.compatibility.answer import Answer, suggest_bump
from headwater.schemas.compatibility.semantic_diff import Change, changes
from headwater.schemas.compatibility.verdict import compare
from headwater.schemas.dialect import dialect_of
from headwater.schemas.schema import Schema
from headwater.schemas.uri import LATEST, canonical_uri
from headwater.schemas.workspace.working_copy import SchemaFolder, version_text
from headwater.web.schemas.repository_index import RepositoryIndexes, json_text

LINES_MAX = 4_000
WITNESS_CHARACTERS_MAX = 4_000

_QUESTIONS = {
    "backward": ("Backward", "New readers read old events"),
    "forward": ("Forward", "Old readers read new events"),
    "storage": ("Storage", "Existing tables keep their columns"),
}


@dataclass(frozen=True, slots=True)
class ShownReason:
    """Why an answer is no: the sentence, what to do, and an event that proves it (formatted JSON), if there is one."""

    sentence: str
    fix: str
    witness: str | None


@dataclass(frozen=True, slots=True)
class ShownVerdict:
    """One answer: its name, the question in words, "yes", "no", "unknown" or "n/a", and why."""

    name: str
    question: str
    answer: str
    reasons: tuple[ShownReason, ...] = ()
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of the text; "gap" represents omitted lines."""

    sign: Literal["added", "removed", "same", "gap"]
    text: str


@dataclass(frozen=True, slots=True)
class ShownDifference:
    """Everything the page of a difference shows. `bump` is None if the schemas cannot be compared."""

    changes: tuple[Change, ...]
    verdicts: tuple[ShownVerdict, ...]
    bump: str | None
    trouble: str | None


class IndexedRepository:
    """The served repositories merged, for references between schemas."""

    def __init__(self, indexes: RepositoryIndexes) -> None:
        self._indexes = indexes

    def get(self, uri: str) -> Schema:
        """The schema at `uri`. Raises SchemaNotFound, SchemaInvalid, SchemaUnavailable, SchemaUriRefused."""
        uri = canonical_uri(uri)
        title, _, name = uri[1:].rpartition("/")
        if name == LATEST:
            folder = self._indexes.find(title)[1]
            if folder.latest is None:
                raise SchemaNotFound(f"The schema {title} has no version.")
            uri = folder.uri(folder.latest)
        return schema_of(uri, self._indexes.document_at(uri))

    def uris(self) -> Iterable[str]:
        """The URIs of every version."""
        for _, folder in self._indexes.schemas():
            yield from (folder.uri(version) for version in folder.versions)

    def close(self) -> None:
        """Does nothing: no resources are open."""


def schema_of(uri: str, document: Mapping[str, Any]) -> Schema:
    """A document with its URI. Raises SchemaInvalid for an unknown dialect."""
    title = document.get("title")
    return Schema(uri, document, title if isinstance(title, str) else None, dialect_of(document, uri))


def difference(
    folder: SchemaFolder,
    old: tuple[str, Mapping[str, Any]],
    new: tuple[str, Mapping[str, Any]],
    indexes: RepositoryIndexes,
) -> ShownDifference:
    """From one version to another, each as (name, document)."""
    found = tuple(change for change in changes(old[1], new[1]) if not _is_version_change(change))
    sides = [(f"/{folder.title}/{name}", document) for name, document in (old, new)]
    try:
        comparison = compare(*(schema_of(*side) for side in sides), repository=IndexedRepository(indexes))
    except HeadwaterError as error:
        return ShownDifference(found, (), None, error.message)
    answers = {"backward": comparison.backward, "forward": comparison.forward, "storage": comparison.storage}
    verdicts = tuple(_shown(name, answer) for name, answer in answers.items())
    return ShownDifference(found, verdicts, suggest_bump(comparison), None)


def diff_lines(old: bytes, new: bytes, *, around: int = 4) -> list[DiffLine]:
    """The two texts line by line, with `around` lines of unchanged context; at most LINES_MAX."""
    signs: dict[str, Literal["added", "removed", "same"]] = {"+": "added", "-": "removed", " ": "same"}
    lines: list[DiffLine] = []
    for line in difflib.unified_diff(_lines(old), _lines(new), n=around, lineterm=""):
        if line.startswith("@@"):
            lines.append(DiffLine("gap", ""))
        elif lines:
            lines.append(DiffLine(signs[line[0]], line[1:]))
        if len(lines) == LINES_MAX:
            break
    return lines


def previous_of(folder: SchemaFolder, name: str) -> str | None:
    """The version before the named one (`current`: the latest), or None for the first."""
    names = [version_text(version) for version in sorted(folder.versions)]
    if name == "current":
        return names[-1] if names else None
    index = names.index(name) if name in names else 0
    return names[index - 1] if index else None


def _is_version_change(change: Change) -> bool:
    """`$id` contains the version, and examples are generated: both differ between any two versions."""
    return change.is_annotation and change.schema_pointer in ("/$id", "/examples")


def _shown(name: str, answer: Answer) -> ShownVerdict:
    title, question = _QUESTIONS[name]
    reasons = tuple(
        ShownReason(reason.sentence, reason.fix, _pretty(reason.witness) if name != "storage" else None)
        for reason in answer.reasons
    )
    return ShownVerdict(title, question, answer.verdict, reasons, answer.doubt)


def _pretty(value: Any) -> str | None:
    text = json_text(value)
    return text if len(text) <= WITNESS_CHARACTERS_MAX else None


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()
