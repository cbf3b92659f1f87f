"""Which of many equal troubles are worth a line on the console: the first, then others at growing distances."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

DISTANCES_SECONDS = (10.0, 60.0, 600.0, 3600.0)
# After so long without any, the next one is the first again.
QUIET_SECONDS = 3600.0
KINDS_MAX = 32


class Announcement(NamedTuple):
    """What a line may say: how many there were since the line before, and how many in all."""

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
    """Counts troubles by kind, a text such as the name of an exception; beyond `KINDS_MAX` all others are one kind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def of(self, kind: str, count: int = 1) -> Announcement | None:
        """`count` more of `kind` happened. None where the last line about it was too short ago."""
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
        said = Announcement(known.fresh, known.total)
        known.due_at = now + DISTANCES_SECONDS[min(known.lines, len(DISTANCES_SECONDS) - 1)]
        known.fresh = 0
        known.lines += 1
        return said

    def forget(self, kind: str) -> None:
        """The trouble is over: the next one is the first again."""
        self._kinds.pop(kind, None)
