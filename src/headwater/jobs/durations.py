"""Lengths of time as people write them in jobs: `90`, `"90s"`, `"5m"`, `"1h"`, `"2d"`."""

from __future__ import annotations

import re

from headwater.errors import JobInvalid

Duration = str | int | float
DURATION_MS_MAX = 36_525 * 86_400_000

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(duration: Duration) -> int:
    """A duration in milliseconds; a bare number is seconds. Raises JobInvalid."""
    found = _DURATION.fullmatch(duration.strip()) if isinstance(duration, str) else None
    if found:
        made = float(found[1]) * _MILLISECONDS[found[2]]
    elif type(duration) in (int, float):
        made = float(duration) * 1000
    else:
        made = -1.0
    if not 0 <= made <= DURATION_MS_MAX:
        raise JobInvalid(
            f"{duration!r} is not a duration of up to 100 years.", hint='Write seconds, or text like "5m" or "1h".'
        )
    return round(made)
