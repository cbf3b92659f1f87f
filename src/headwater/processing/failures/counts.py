"""Counts the errors of a running job by cause, and limits how many of one cause are described in full each minute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from headwater.processing.failures.causes import Cause

GROUPS_MAX = 200
MESSAGE_CHARS_MAX = 300
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """The errors of one cause: how many, since when (epoch milliseconds), and the last of them as an example.

    `compact`: how many of them have an error event without stack, because there were too many in a minute.
    """

    group: str
    kind: str
    step: str
    exception: str
    message: str
    event_id: str
    count: int
    first_ms: int
    last_ms: int
    compact: int = 0


class ErrorCounts:
    """The groups of one job since the process started: those that failed last. `others`: the errors of the rest."""

    def __init__(self) -> None:
        self.others = 0
        self._groups: dict[str, ErrorGroup] = {}
        # Of each group: the minute, and how many of its errors were described in full.
        self._full: dict[str, tuple[int, int]] = {}

    def allows_full(self, group: str, now_ms: int, per_minute_max: int) -> bool:
        """Whether one more error of the group may be described in full; it then counts."""
        minute = now_ms // MINUTE_MS
        if group not in self._full and len(self._full) >= GROUPS_MAX:
            self._full = {name: kept for name, kept in self._full.items() if kept[0] == minute}
            if len(self._full) >= GROUPS_MAX:
                # Too many causes in a minute share one budget.
                group = ""
        since, count = self._full.get(group, (minute, 0))
        count = count if since == minute else 0
        if count >= per_minute_max:
            return False
        self._full[group] = (minute, count + 1)
        return True

    def add(self, cause: Cause, step: str, message: str, event_id: str, now_ms: int, *, compact: bool) -> None:
        """Count an error; `event_id` is that of its error event."""
        before = self._groups.pop(cause.group, None)
        if before is None and len(self._groups) >= GROUPS_MAX:
            self.others += self._groups.pop(next(iter(self._groups))).count
        self._groups[cause.group] = ErrorGroup(
            cause.group,
            cause.kind,
            step,
            cause.exception,
            message[:MESSAGE_CHARS_MAX],
            event_id,
            1 + (before.count if before else 0),
            before.first_ms if before else now_ms,
            now_ms,
            compact + (before.compact if before else 0),
        )

    def groups(self) -> tuple[ErrorGroup, ...]:
        """The groups, the largest first."""
        return largest_first(self._groups.values())


def largest_first(groups: Iterable[ErrorGroup]) -> tuple[ErrorGroup, ...]:
    """Groups in the order in which they are shown."""
    return tuple(sorted(groups, key=lambda one: (-one.count, -one.last_ms, one.group)))


def together(one: Iterable[ErrorGroup], other: Iterable[ErrorGroup]) -> tuple[ErrorGroup, ...]:
    """The groups of two parts of one job."""
    found = {group.group: group for group in one}
    for group in other:
        before = found.get(group.group)
        found[group.group] = group if before is None else _sum(before, group)
    return largest_first(found.values())


def _sum(one: ErrorGroup, other: ErrorGroup) -> ErrorGroup:
    return replace(
        max(one, other, key=lambda each: each.last_ms),
        count=one.count + other.count,
        first_ms=min(one.first_ms, other.first_ms),
        compact=one.compact + other.compact,
    )
