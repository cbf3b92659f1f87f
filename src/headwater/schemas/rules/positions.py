"""Where in a file of YAML or JSON the thing at a JSON pointer stands.

How this works: a file is composed a second time, into nodes that know their marks, only when something was found in it.
A pointer into the made schema may lead through a fragment that the file takes in; then the nearest thing around it that
is written here answers, looking into the branches of `allOf` too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from headwater.schemas.limits import ValidationLimits

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Positions:
    """Positions in one file. A file that cannot be read has none."""

    def __init__(self, file: Path, limits: ValidationLimits) -> None:
        self._root: Any = None
        try:
            data = file.read_bytes()
            if len(data) <= limits.document_bytes_max and _depth(data, limits) <= limits.document_depth_max:
                self._root = yaml.compose(data, Loader=_Loader)
        except (OSError, yaml.YAMLError, ValueError, RecursionError):
            return

    def of(self, pointer: str) -> tuple[int, int] | None:
        """The 1-based line and column of the key or item at a pointer, or of what is nearest around it."""
        if self._root is None:
            return None
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        mark, _ = _deepest(self._root, steps, self._root.start_mark)
        return mark.line + 1, mark.column + 1


def _depth(data: bytes, limits: ValidationLimits) -> int:
    """How deep a file is nested, as far as the limit: composing is recursive, so it must not meet a deeper one."""
    depth = deepest = 0
    for event in yaml.parse(data, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if deepest > limits.document_depth_max:
            break
    return deepest


def _deepest(node: Any, steps: list[str], mark: Any) -> tuple[Any, int]:
    """The mark of the deepest step that is written here, and how many steps it is."""
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
