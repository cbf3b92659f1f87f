"""Remembers what was sent lately, so that one thing is reported once and not with every event about it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

# More keys than that within the time are forgotten, the oldest first: their next event is sent.
KEYS_MAX = 100_000


class Repeats:
    """The keys of the events that were sent within the last `seconds` by `clock`; in memory only."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        # Key → when, the earliest first.
        self._sent: OrderedDict[bytes, float] = OrderedDict()

    def is_repeat(self, key: bytes) -> bool:
        """Whether an event of this key was sent within the time."""
        now = self._clock()
        while self._sent and now - next(iter(self._sent.values())) >= self._seconds:
            self._sent.popitem(last=False)
        return key in self._sent

    def sent(self, key: bytes) -> None:
        """An event of this key was sent now."""
        self._sent[key] = self._clock()
        self._sent.move_to_end(key)
        if len(self._sent) > KEYS_MAX:
            self._sent.popitem(last=False)
