"""How long to wait before trying again: pauses that grow up to a maximum, with jitter, until something worked.

Waiting itself is the caller's, with `asyncio.sleep`, `time.sleep` or an event that ends it early.
"""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """The pauses of one loop that tries again. Not for several threads at once."""

    __slots__ = ("_factor", "_first_seconds", "_random", "_seconds", "_seconds_max", "_spread")

    def __init__(
        self,
        first_seconds: float,
        seconds_max: float,
        *,
        factor: float = 2.0,
        spread: tuple[float, float] = (0.5, 1.0),
        random: Callable[[], float] = random.random,
    ) -> None:
        """Pauses grow from `first_seconds` by `factor` up to `seconds_max`; `random` gives numbers from 0 to 1.

        `spread`: between which shares of a pause chance chooses, so that those who failed together do not try again
        together: (0, 1) is full jitter, and up to 1 no pause is longer than `seconds_max`.
        """
        self._first_seconds = first_seconds
        self._seconds_max = seconds_max
        self._factor = factor
        self._spread = spread
        self._random = random
        self._seconds = min(first_seconds, seconds_max)

    def next_pause(self, seconds_max: float | None = None) -> float:
        """Seconds to wait now; the next pause is longer. `seconds_max`: a lower maximum, for what failed this time."""
        seconds = self._seconds if seconds_max is None else min(self._seconds, seconds_max)
        self._seconds = min(seconds * self._factor, self._seconds_max)
        return self.jittered(seconds)

    def jittered(self, seconds: float) -> float:
        """A pause that somebody else asks for, with the jitter of these."""
        low, high = self._spread
        return seconds * (low + (high - low) * self._random())

    def reset(self) -> None:
        """Begin small again: something worked."""
        self._seconds = min(self._first_seconds, self._seconds_max)
