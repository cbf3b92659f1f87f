"""Decides which of many equal errors are printed on the console: the first, then others at growing intervals."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

INTERVALS_SECONDS = (10.0, 60.0, 600.0, 3600.0)
# After this time without any, the next one counts as the first again.
QUIET_SECONDS = 3600.0
KINDS_MAX = 32


class Announcement(NamedTuple):
    """The numbers for a line: how many there were since the previous line, and how many in all."""

    fresh: int
    total: int


@dataclass(slots=True)
class _Kind:
    due_at: float
    last_at: float
    fresh: int = 0
    total: int = 0
    lines: int = 0


class Announcements:
    """Counts errors by kind, a text such as the name of an exception; beyond `KINDS_MAX` all others are one kind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def of(self, kind: str, count: int = 1) -> Announcement | None:
        """`count` more of `kind` happened. None if the last line about it was printed too recently."""
        now = self._clock()
        known = self._kinds.get(kind)
        if known is None or now - known.last_at > QUIET_SECONDS:
            if known is None and len(self._kinds) >= KINDS_MAX:
                kind = ""
            known = self._kinds.setdefault(kind, _Kind(now, now))
            if now - known.last_at > QUIET_SECONDS:
                known = self._kinds[kind] = _Kind(now, now)
        known.last_at = now
        known.fresh += count
        known.total += count
        if now < known.due_at:
            return None
        announcement = Announcement(known.fresh, known.total)
        known.due_at = now + INTERVALS_SECONDS[min(known.lines, len(INTERVALS_SECONDS) - 1)]
        known.fresh = 0
        known.lines += 1
        return announcement

    def forget(self, kind: str) -> None:
        """The errors have stopped: the next one counts as the first again."""
        self._kinds.pop(kind, None)
