"""What a rule is, what breaks it, and the parts of a schema that rules examine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.finding import Finding, Severity
from headwater.schemas.dialect import subschemas
from headwater.schemas.violation import pointer_step

Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that a document breaks at `pointer` (JSON pointer into the document, "" is all of it).

    `witness` is an instance that shows it, if there is one; `severity` None is the rule's own; `at` the line and column
    if they are known without the pointer.
    """

    rule: str
    pointer: str
    message: str
    hint: str | None = None
    witness: Any = None
    severity: Severity | None = None
    at: tuple[int, int | None] | None = None


@dataclass(frozen=True, slots=True)
class SchemaFinding(Finding):
    """A breach with its place. `file` is relative to the repository's root.

    The subject is a title, `uri` the version it is about (or the title, if it is about all of them). `waived` is the
    reason of the waiver that covers it.
    """

    uri: str = ""
    pointer: str = ""
    witness: Any = None
    waived: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values under the names of the fields; the subject is `schema`."""
        return {
            "rule": self.rule.id,
            "severity": self.severity.value,
            "schema": self.subject,
            "uri": self.uri,
            "message": self.message,
            "hint": self.hint,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "pointer": self.pointer,
            "witness": self.witness,
            "waived": self.waived,
        }


@dataclass(frozen=True, slots=True)
class Subject:
    """A document that rules apply to: a version, or the current file (`version` None)."""

    title: str
    uri: str
    file: Path
    document: Mapping[str, Any]
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One schema inside a document: the steps to it, and the keywords it has."""

    steps: Steps
    schema: Mapping[str, Any]

    @property
    def pointer(self) -> str:
        return pointer_of(self.steps)

    @property
    def name(self) -> str | None:
        """The property that this is the schema of, if any."""
        return self.steps[-1] if len(self.steps) > 1 and self.steps[-2] == "properties" else None

    @property
    def is_nested(self) -> bool:
        """Whether the path to it leads through anything but `properties` and `allOf`."""
        steps = iter(self.steps)
        return any(keyword not in ("properties", "allOf") or next(steps, None) is None for keyword in steps)

    def properties(self) -> Mapping[str, Any]:
        return mapping(self.schema.get("properties"))


def places(document: Mapping[str, Any]) -> list[Place]:
    """Every schema in a document, the whole first, in the order of the document. References are not followed."""
    found: list[Place] = []
    stack: list[tuple[Steps, Mapping[str, Any]]] = [((), document)]
    while stack:
        steps, schema = stack.pop()
        found.append(Place(steps, schema))
        inside = [
            ((*steps, *path), child) for path, child in subschemas(schema, definitions=True) if isinstance(child, dict)
        ]
        stack.extend(reversed(inside))
    return found


def pointer_of(steps: Sequence[str]) -> str:
    return "".join(pointer_step(step) for step in steps)


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def texts(value: Any) -> list[str]:
    """The texts of a list; empty if the value is not a list (in a current file it may be a `$ref`)."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def types_of(schema: Mapping[str, Any]) -> list[str]:
    """The types a schema names."""
    named = schema.get("type")
    return [named] if isinstance(named, str) else texts(named)


Breaches = Iterator[Breach]
