"""Finds the position of a JSON pointer in a YAML or JSON file.

How this works: a file is composed a second time, into nodes that know their marks, only when something was found in it.
A pointer into the materialized schema may lead through a fragment that the file includes; then the position is that of
the nearest enclosing node in this file, searched in the branches of `allOf`, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from headwater.schemas.document import compose_document
from headwater.schemas.limits import ValidationLimits


class Positions:
    """Positions in one file's content. Unreadable content has none."""

    def __init__(self, data: bytes, limits: ValidationLimits) -> None:
        self._root: Any = compose_document(data, limits) if len(data) <= limits.document_bytes_max else None

    @classmethod
    def of_file(cls, file: Path, limits: ValidationLimits) -> Positions:
        """Positions in a file; a file that cannot be read has none."""
        try:
            with file.open("rb") as opened:
                return cls(opened.read(limits.document_bytes_max + 1), limits)
        except OSError:
            return cls(b"", limits)

    def of(self, pointer: str) -> tuple[int, int] | None:
        """The 1-based line and column of the key or item at a pointer, or of the nearest node around it."""
        if self._root is None:
            return None
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        mark, _ = _deepest(self._root, steps, self._root.start_mark)
        return mark.line + 1, mark.column + 1


def _deepest(node: Any, steps: list[str], mark: Any) -> tuple[Any, int]:
    """The mark of the deepest step in this file, and how many steps it is."""
    if not steps:
        return mark, 0
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == steps[0]:
                found, depth = _deepest(value, steps[1:], key.start_mark)
                return found, depth + 1
        branches = next((value for key, value in node.value if key.value == "allOf"), None)
        if isinstance(branches, yaml.SequenceNode):
            candidates = [_deepest(branch, steps, mark) for branch in branches.value]
            return max(candidates, key=lambda one: one[1], default=(mark, 0))
    elif isinstance(node, yaml.SequenceNode) and steps[0].isdecimal() and int(steps[0]) < len(node.value):
        item = node.value[int(steps[0])]
        found, depth = _deepest(item, steps[1:], item.start_mark)
        return found, depth + 1
    return mark, 0
