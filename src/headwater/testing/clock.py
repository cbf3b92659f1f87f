"""A clock that moves only on request, for everything that accepts a clock."""

from __future__ import annotations


class ManualClock:
    """Call it for the time (epoch seconds); `advance` moves it, also backwards."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
