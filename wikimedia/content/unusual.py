"""How unusual a number is among the numbers before it, by median and MAD, which outliers hardly change."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# A normal distribution has 0.6745 standard deviations within its MAD.
DEVIATIONS_PER_MAD = 0.6745
SCORE_MAX = 6.0
SCORE_DIGITS = 3
# With fewer numbers before it, any number can be usual.
POINTS_MIN = 10


@dataclass(frozen=True)
class Unusual:
    """Why a number is unusual: `score` is how many standard deviations it is away from the median."""

    median: float
    mad: float
    score: float


def unusual(value: int, before: Sequence[int]) -> Unusual | None:
    """Why `value` is unusual after the numbers `before`; None if it is not, or if there are too few to know."""
    if len(before) < POINTS_MIN:
        return None
    median = statistics.median(before)
    mad = statistics.median([abs(one - median) for one in before])
    score = DEVIATIONS_PER_MAD * (value - median) / max(mad, 1)
    return Unusual(median, mad, round(score, SCORE_DIGITS)) if abs(score) > SCORE_MAX else None
