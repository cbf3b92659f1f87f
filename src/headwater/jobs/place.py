"""Where in a project a job is defined: the file and line for findings and messages."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_OURS = "headwater."


class Place(NamedTuple):
    """A file, relative to the project if that is known, and a 1-based line of it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def within(self, project: Path) -> Place:
        """The same place with its file relative to `project`, if it is inside."""
        return Place(relative_file(Path(self.file), project), self.line)

    def of_argument(self, name: str) -> Place:
        """The line of the keyword `name` in the call that begins here; this line if it cannot be found."""
        try:
            tree = ast.parse(Path(self.file).read_bytes())
        except (OSError, SyntaxError, ValueError):
            return self
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.lineno == self.line]
        lines = [keyword.lineno for call in calls for keyword in call.keywords if keyword.arg == name]
        return Place(self.file, lines[0]) if lines else self


def relative_file(file: Path, project: Path) -> str:
    """`file` relative to the project, with forward slashes; the whole path if it is elsewhere."""
    try:
        return file.resolve().relative_to(project.resolve()).as_posix()
    except ValueError:
        return str(file)


def calling_place() -> Place | None:
    """The place of the nearest caller that is not Headwater's own code; None without one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS):
        frame = frame.f_back
    return None if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)
