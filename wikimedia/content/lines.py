"""The lines an edit added and removed, and the unified diff of two texts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

CONTEXT_LINES = 3


@dataclass(frozen=True)
class LineDiff:
    """`diff` is empty when the lines are equal. Lines are those of `str.splitlines`."""

    diff: str
    added: list[str]
    removed: list[str]


def line_diff(before: str, after: str) -> LineDiff:
    """The difference of two texts by lines, with three lines of context; a missing last line end is not shown."""
    old, new = before.splitlines(), after.splitlines()
    groups = list(difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT_LINES))
    added: list[str] = []
    removed: list[str] = []
    written = ["--- ", "+++ "] if groups else []
    for group in groups:
        first, last = group[0], group[-1]
        written.append(f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@")
        for kind, *span in group:
            written.extend(_written(kind, old[span[0] : span[1]], new[span[2] : span[3]]))
            if kind != "equal":
                removed.extend(old[span[0] : span[1]])
                added.extend(new[span[2] : span[3]])
    return LineDiff("\n".join(written), added, removed)


def _written(kind: str, old: list[str], new: list[str]) -> Iterator[str]:
    if kind == "equal":
        yield from (f" {line}" for line in old)
        return
    yield from (f"-{line}" for line in old)
    yield from (f"+{line}" for line in new)


def _span(start: int, end: int) -> str:
    """As the header of a hunk has it: the first line, counted from 1, and how many if it is not one."""
    length = end - start
    first = start if length == 0 else start + 1
    return f"{first}" if length == 1 else f"{first},{length}"
