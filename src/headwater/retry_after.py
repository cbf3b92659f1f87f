"""Reads `Retry-After`: how long a service asks not to be called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from `now` (epoch), at least 0; None if the header is absent or cannot be read.

    The header is a number of seconds or an HTTP date.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until(text, now)
    return None if math.isnan(seconds) else max(0.0, seconds)


def _until(date: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        # A date without a zone is in GMT, as all dates in HTTP are.
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
