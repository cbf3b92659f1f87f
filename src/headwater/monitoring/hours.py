"""Hours as numbers: whole hours since the epoch (UTC), how people write them, and moments in milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headwater.errors import TimestampInvalid

HOUR_MS = 3_600_000
# The hours that can be asked for: 1970 up to 9998. Beyond what a calendar has, no hour could be written.
_READ_MS_MAX = 253_370_764_800_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_ms(text: str) -> int | None:
    """An ISO 8601 date-time (UTC where it has no zone) in epoch milliseconds; None where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def hour_text(hour: int) -> str:
    """`2026-01-31T13:00:00Z`."""
    return (_EPOCH + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_text(at_ms: int | None) -> str | None:
    """`2026-01-31T13:05:07.000Z`, or None."""
    if at_ms is None:
        return None
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_hour(text: str) -> int:
    """The hour that a text such as `2026-01-31T13` (or any moment in it) names. Raises TimestampInvalid."""
    at = int(text) if text.isascii() and text.isdigit() and 9 < len(text) < 16 else epoch_ms(text.strip())
    if at is None or not 0 <= at < _READ_MS_MAX:
        raise TimestampInvalid(f"{text[:80]!r} is not an hour.", hint="Write one like 2026-01-31T13, in UTC.")
    return at // HOUR_MS
