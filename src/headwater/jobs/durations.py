"""Durations as they are written in jobs: `90`, `"90s"`, `"5m"`, `"1h"`, `"2d"`."""

from __future__ import annotations

from headwater.errors import JobInvalid
from headwater.times import duration_ms

Duration = str | int | float
DURATION_MS_MAX = 36_525 * 86_400_000


def milliseconds(duration: Duration) -> int:
    """A duration in milliseconds; a bare number is seconds. Raises JobInvalid."""
    made: float | None = None
    if isinstance(duration, str):
        made = duration_ms(duration.strip())
    elif type(duration) in (int, float):
        made = duration * 1000
    if made is None or not 0 <= made <= DURATION_MS_MAX:
        raise JobInvalid(
            f"{duration!r} is not a duration of up to 100 years.", hint='Write seconds, or text like "5m" or "1h".'
        )
    return round(made)
