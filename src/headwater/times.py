"""The only reader and writer of times and durations, so that every part reads a text as the same moment.

How this works: Python's own parser, which is written in C, reads nearly every text. What it does not read although
`format: date-time` allows it (lower-case `t` and `z`, other white space between day and clock, leap seconds, the year
0) is read by a regular expression here. Moments are whole micro- or milliseconds since the epoch, rounded towards the
past: integers have room for what no calendar has, such as the hour after the end of the year 9999.

A duration is a number with its unit, such as `500ms`, `1.5h` or `7d`; the caller decides what a bare number means.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

# Epochs from this number on are milliseconds; smaller ones are seconds (up to the year 5138).
MILLISECONDS_FROM = 100_000_000_000

# A duration, as a regular expression that JSON Schema allows.
DURATION_PATTERN = r"^[0-9]+(?:\.[0-9]+)?\s*(ms|s|m|h|d|w)$"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
# Seconds of a unit, its name, and up to how many seconds a rough duration uses it.
_ROUGH_UNITS = ((1, "s", 120), (60, "min", 7_200), (3_600, "h", 172_800), (86_400, "days", 63_072_000))
_YEAR_SECONDS = 31_557_600

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY_MS = 86_400_000
# A number of so many digits or more is an epoch; one of eight is a day such as 20260131.
_EPOCH_DIGITS_MIN = 9
_EPOCH_DIGITS_MAX = 16
# The engine that checks `format: date-time` treats the byte order mark as white space.
_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[tT\s\ufeff]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
    r"(?:([zZ])|([+-])([0-9]{2})(?::?([0-9]{2}))?)?"
)
# After the day, whose parts look like offsets.
_ZONE = re.compile(r".*[0-9](?:[zZ]|[+-][0-9]{2}(?::?[0-9]{2})?)", re.DOTALL)
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def time_us(text: str) -> int | None:
    """The moment of an ISO 8601 date-time in epoch microseconds; None if the text is not a date-time.

    UTC if it has no zone. A leap second is the first second of the day that follows. Digits alone, nine or more, are an
    epoch in seconds or milliseconds.
    """
    if text[4:5] != "-" and len(text) >= _EPOCH_DIGITS_MIN and text.isascii() and text.isdigit():
        return epoch_ms(int(text)) * 1000 if len(text) <= _EPOCH_DIGITS_MAX else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _read_us(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def time_ms(text: str) -> int | None:
    """As `time_us`, in epoch milliseconds."""
    at = time_us(text)
    return None if at is None else at // 1000


def epoch_ms(number: float) -> int:
    """Epoch milliseconds of an epoch in seconds or milliseconds, distinguished by its size."""
    return int(number if abs(number) >= MILLISECONDS_FROM else number * 1000)


def moment_of(text: str) -> datetime:
    """A date-time as a datetime in UTC. Raises ValueError if it is not one, or is outside the years 1 to 9999."""
    at = time_us(text)
    if at is None:
        raise ValueError(f"{text[:80]!r} is not a date-time")
    try:
        return _EPOCH + at * _MICROSECOND
    except OverflowError:
        raise ValueError(f"{text[:80]!r} is outside the years 1 to 9999") from None


def day_of(text: str) -> date:
    """The day that a text such as `2026-01-31` names. Raises ValueError."""
    return date.fromisoformat(text)


def has_zone(text: str) -> bool:
    """Whether a date-time has an offset from UTC."""
    return _ZONE.fullmatch(text, 8) is not None


def ms_of(seconds: float) -> int:
    """Epoch milliseconds of an epoch in seconds, such as `time.time()`; exact also for fractions that floats cannot
    represent.
    """
    return round(seconds * 1_000_000) // 1000


def utc_text(time_ms: int) -> str:
    """`2026-01-31T12:00:00Z`, with milliseconds only if they are not zero."""
    return _text(time_ms, "milliseconds" if time_ms % 1000 else "seconds")


def utc_milliseconds(time_ms: int) -> str:
    """`2026-01-31T12:00:00.000Z`."""
    return _text(time_ms, "milliseconds")


def utc_of(time: datetime) -> str:
    """`2026-01-31T12:00:00Z`, with milliseconds or microseconds if they are not zero; without a zone it is in UTC."""
    known = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    exact = "seconds" if known.microsecond == 0 else "milliseconds" if known.microsecond % 1000 == 0 else "microseconds"
    return known.isoformat(timespec=exact).replace("+00:00", "Z")


def utc_microseconds(time: datetime) -> str:
    """`2026-01-31T12:00:00.000000Z`, always of the same length, so that such texts sort as the times do."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def to_utc_microseconds(text: str) -> str:
    """The same moment as `utc_microseconds` writes it. Raises ValueError as `moment_of` does."""
    if text[4:5] == "-":
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            pass  # what Python's parser does not read, `moment_of` may
        else:
            if moment.tzinfo is UTC:
                return moment.isoformat(timespec="microseconds")[:26] + "Z"
    return utc_microseconds(moment_of(text))


def utc_seconds(time_ms: int) -> str:
    """`2026-01-31T12:00:00Z`: milliseconds are left out."""
    return _text(time_ms, "seconds")


def rfc_3339(text: str) -> str | None:
    """The same moment in the format that every parser of RFC 3339 reads; None if `text` is not a date-time."""
    if _RFC_3339.fullmatch(text):
        return text if time_us(text) is not None else None
    at = time_us(text)
    if at is None:
        return None
    return _text(at // 1000, "seconds")[:-1] + _fraction(at) + "Z"


def duration_ms(text: str) -> float | None:
    """`500ms`, `30m`, `1.5h`, `7d` in milliseconds; None for a text that is not a duration."""
    found = _DURATION.fullmatch(text)
    # A product of floats is not exact: 1.001 s would be 1000.9999999999999 ms.
    return None if found is None else float(Decimal(found[1]) * _UNIT_MS[found[2]])


def duration_seconds(text: str) -> float:
    """As `duration_ms`, in seconds. Raises ValueError."""
    milliseconds = duration_ms(text)
    if milliseconds is None:
        raise ValueError(f"{text!r} is not a duration")
    return milliseconds / 1000


def duration_text(seconds: float) -> str:
    """`7d`, `36h`, `1.5s`: in the largest unit that divides it, up to days, and to the millisecond."""
    for unit in ("d", "h", "m"):
        size = _UNIT_MS[unit] // 1000
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def rough_duration(seconds: float) -> str:
    """For people: `5 s`, `3 min`, `2 h`, `4 days`, `7,973 years`."""
    for size, unit, below in _ROUGH_UNITS:
        if seconds < below:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / _YEAR_SECONDS:,.0f} years"


def _fraction(time_us: int) -> str:
    return f".{time_us % 1_000_000:06d}".rstrip("0").rstrip(".")


def _text(time_ms: int, precision: str) -> str:
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return _text_beyond(time_ms, precision)
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _text_beyond(time_ms: int, precision: str) -> str:
    """A time in a year that Python's calendar lacks: the year 0, and (with a sign and six digits, as in ISO 8601)
    others.
    """
    days, rest = divmod(time_ms, _DAY_MS)
    year, month, day = _day_of_epoch(days)
    clock = (datetime.min + timedelta(milliseconds=rest)).time().isoformat(timespec=precision)
    return f"{year:04d}-{month:02d}-{day:02d}T{clock}Z" if year == 0 else f"{year:+07d}-{month:02d}-{day:02d}T{clock}Z"


def _read_us(text: str) -> int | None:
    """Read what Python's own parser does not."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    leap = second == 60 and (hour, minute) == (23, 59)
    offset_minutes = int(found[10] or 0) * 60 + int(found[11] or 0)
    try:
        # A year with the same days, because Python has no year 0.
        days = (date(year or 400, month, day) - _EPOCH.date()).days - (0 if year else 146_097)
        # This checks the ranges of the clock and of the offset.
        datetime(2000, 1, 1, hour, minute, 59 if leap else second, tzinfo=timezone(timedelta(minutes=offset_minutes)))
    except ValueError:
        return None
    if int(found[11] or 0) > 59:
        return None
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    seconds += offset_minutes * (60 if found[9] == "-" else -60)
    return seconds * 1_000_000 + int(f"{found[7] or '':0<6.6}")


def _day_of_epoch(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day counted from the epoch, in the proleptic Gregorian calendar without bounds."""
    # Years that begin in March end with the leap day; 400 of them have always 146,097 days.
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


def brief_duration(seconds: float) -> str:
    """A measured duration for people: `12 ms`, `3.4 s`, `5 minutes`."""
    if seconds < 1:
        return f"{_two_digits(seconds * 1000)} ms"
    return f"{_two_digits(seconds)} s" if seconds < 60 else rough_duration(seconds)


def _two_digits(number: float) -> str:
    return f"{float(f'{number:.2g}'):g}"
