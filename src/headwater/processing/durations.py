"""Lengths of time as people write them in jobs: `90`, `"90s"`, `"5m"`, `"1h"`, `"2d"`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from headwater.errors import JobInvalid

Duration = str | int | float

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def iso(time_ms: int) -> str:
    """`2026-01-31T12:00:00Z`, with milliseconds only where there are any."""
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    precision = "milliseconds" if time_ms % 1000 else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def parse_time(text: str) -> int | None:
    """An ISO 8601 date-time (UTC where it has no zone), or an epoch in milliseconds, as milliseconds; else None."""
    if text.isascii() and text.isdigit() and len(text) > 8:
        return int(text[:16])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)
