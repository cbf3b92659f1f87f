"""Lengths of time as people write them in jobs: `90`, `"90s"`, `"5m"`, `"1h"`, `"2d"`."""

from __future__ import annotations

import re

from headwater.errors import JobInvalid

Duration = str | int | float

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(duration: Duration) -> int:
    """A duration in milliseconds; a bare number is seconds. Raises JobInvalid."""
    if isinstance(duration, str):
        found = _DURATION.fullmatch(duration.strip())
        if not found:
            raise JobInvalid(f"{duration!r} is not a duration.", hint='Write seconds, or text like "5m" or "1h".')
        return round(float(found[1]) * _MILLISECONDS[found[2]])
    if isinstance(duration, bool) or duration < 0:
        raise JobInvalid(f"{duration!r} is not a duration.", hint='Write seconds, or text like "5m" or "1h".')
    return round(duration * 1000)
