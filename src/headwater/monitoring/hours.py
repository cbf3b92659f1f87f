"""Hours as numbers of hours since the epoch (UTC), as text, and times in milliseconds."""

from __future__ import annotations

from headwater.errors import TimestampInvalid
from headwater.times import time_ms, utc_milliseconds, utc_text

HOUR_MS = 3_600_000
# The valid hours: 1970 up to 9998. Hours beyond the calendar have no text.
_READ_MS_MAX = 253_370_764_800_000


def hour_text(hour: int) -> str:
    """`2026-01-31T13:00:00Z`."""
    return utc_text(hour * HOUR_MS)


def time_text(at_ms: int | None) -> str | None:
    """`2026-01-31T13:05:07.000Z`, or None."""
    return None if at_ms is None else utc_milliseconds(at_ms)


def read_hour(text: str) -> int:
    """The hour of a text such as `2026-01-31T13` (or of any time in it). Raises TimestampInvalid."""
    at = time_ms(text.strip())
    if at is None or not 0 <= at < _READ_MS_MAX:
        raise TimestampInvalid(f"{text[:80]!r} is not an hour.", hint="Write it like 2026-01-31T13, in UTC.")
    return at // HOUR_MS
