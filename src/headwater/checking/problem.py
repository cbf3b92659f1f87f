"""What a check finds: a problem with its place, its rule and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headwater.errors import ConfigInvalid, HeadwaterError, SchemaInvalid
from headwater.finding import Severity


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `file` is relative to the project; `line` is 1-based."""

    message: str
    file: str | None = None
    line: int | None = None
    hint: str | None = None
    # Which rule found it, by its stable id.
    rule: str | None = None
    severity: Severity = Severity.ERROR
    # Why it matters, if that is not plain from the message.
    why: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return place + self.message


def problem_of(error: HeadwaterError, rule: str | None = None) -> Problem:
    """The problem that an error describes, at its file and line, if it has them."""
    if isinstance(error, ConfigInvalid | SchemaInvalid):
        return Problem(error.detail, error.file, error.line, error.hint, rule)
    return Problem(error.message, hint=error.hint, rule=rule)


def relative(file: str | None, project: Path) -> str | None:
    """`file` relative to the project; unchanged if it is outside."""
    if file is None:
        return None
    try:
        return Path(project, file).resolve().relative_to(project.resolve()).as_posix()
    except ValueError:
        return file
