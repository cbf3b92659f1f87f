"""What checks find: a rule, its severity, and one breach of it with its location and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Errors fail a check and stop `up`; warnings are always reported; notes are reported when asked for."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Rule:
    """`id` is stable: skip lists, waivers and programs refer to it. `original`: the tool that ours replaces has it,
    too."""

    id: str
    severity: Severity
    meaning: str
    original: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of one rule. `severity` is the rule's own unless a project says otherwise.

    `subject` is what it is about: the name of a stream, or the title of a schema. `line` and `column` are 1-based.
    """

    rule: Rule
    severity: Severity
    subject: str
    message: str
    hint: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None

    @property
    def place(self) -> str:
        """`file:line:column`, as far as it is known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
