"""Token buckets, and a limit that follows how a service is doing: it is halved at once, and rises step by step."""

from __future__ import annotations

from dataclasses import dataclass

SECONDS = 60.0


@dataclass(frozen=True)
class AdaptiveLimit:
    """Requests per client and minute: `base` at most, `least` at least.

    A minute with a share of errors above `errors_max` halves it for the next one; another one adds `step`.
    """

    base: float = 60.0
    least: float = 6.0
    step: float = 6.0
    errors_max: float = 0.05

    def after(self, limit: float, requests: int, errors: int) -> float:
        """The limit of the next minute."""
        if requests and errors / requests > self.errors_max:
            return max(self.least, limit / 2)
        return min(self.base, limit + self.step)


def refilled(tokens: float, seconds: float, limit: float) -> float:
    """The tokens of a bucket after so many seconds: it holds `limit`, and fills once a minute."""
    return min(limit, tokens + max(seconds, 0.0) * limit / SECONDS)


def seconds_to_token(tokens: float, limit: float) -> float:
    """How long it takes until the bucket has a whole token."""
    return max(0.0, 1.0 - tokens) * SECONDS / limit
