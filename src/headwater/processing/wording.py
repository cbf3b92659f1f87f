"""How messages about jobs put numbers of things and reasons."""

from __future__ import annotations

from headwater.foreign import described

REASON_CHARS_MAX = 500


def counted(number: int, noun: str) -> str:
    """`1 event`, `2,000 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short_reason(error: BaseException) -> str:
    """The error on one line of bounded length."""
    text = " ".join(described(error).split())
    return text if len(text) <= REASON_CHARS_MAX else f"{text[:REASON_CHARS_MAX]}…"
