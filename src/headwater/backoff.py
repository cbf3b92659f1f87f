"""How long to back off before a retry: pauses that grow up to a maximum, with jitter, until a try succeeds.

The caller waits, with `asyncio.sleep`, `time.sleep` or an event that ends the pause early.
"""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """The pauses of one retry loop. Not thread-safe."""

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

        `spread`: the range of random factors that a pause is multiplied by, so that clients that failed together do not
        retry together: (0, 1) is full jitter; with factors up to 1 no pause is longer than `seconds_max`.
        """
        self._first_seconds = first_seconds
        self._seconds_max = seconds_max
        self._factor = factor
        self._spread = spread
        self._random = random
        self._seconds = min(first_seconds, seconds_max)

    def next_pause(self, seconds_max: float | None = None) -> float:
        """Seconds to wait now; the next pause is longer. `seconds_max`: a lower maximum for this failure."""
        seconds = self._seconds if seconds_max is None else min(self._seconds, seconds_max)
        self._seconds = min(seconds * self._factor, self._seconds_max)
        return self.jittered(seconds)

    def jittered(self, seconds: float) -> float:
        """A pause that another system asked for, with jitter added."""
        low, high = self._spread
        return seconds * (low + (high - low) * self._random())

    def reset(self) -> None:
        """Start again with the first pause, after a success."""
        self._seconds = min(self._first_seconds, self._seconds_max)
