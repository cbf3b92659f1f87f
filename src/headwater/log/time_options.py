"""The times at which people ask to begin or end reading a log, as text."""

from __future__ import annotations

from headwater.errors import TimestampInvalid
from headwater.times import epoch_ms, time_ms


def parse_time_ms(text: str) -> int:
    """Epoch milliseconds of ISO 8601 text (UTC if it has no zone) or of an epoch. Raises TimestampInvalid."""
    # A small number is an epoch here, although events are not read that way.
    at = epoch_ms(int(text)) if text.isascii() and text.isdigit() else time_ms(text.strip())
    if at is None:
        raise TimestampInvalid(f"{text!r} is not a time.", hint="Write it like 2026-01-31T12:00:00Z.")
    return at
