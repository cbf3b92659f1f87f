"""Where a row of a lake is stored: the table of a stream, and the hour of an event, as Hive names partitions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headwater.event import get_path
from headwater.times import time_ms, utc_seconds

HOUR_MS = 3_600_000
LEGACY_PREFIX = "eventlogging_"
LEGACY_TITLES = "analytics/legacy/"
# From the year 1 to the end of the year 9999, in epoch milliseconds.
TIME_MS_MIN, TIME_MS_MAX = -62_135_596_800_000, 253_402_300_799_999
_PLACE = re.compile(r"datacenter=([^/]+)/year=(\d{4})/month=(\d\d)/day=(\d\d)/hour=(\d\d)")


def table_name(stream: str) -> str:
    """`mediawiki.page-change` → `mediawiki_page_change`; everything but ASCII letters and digits becomes `_`."""
    return re.sub(r"[^a-z0-9]", "_", stream.removeprefix(LEGACY_PREFIX).lower())


def is_legacy(stream: str, schema_title: str | None) -> bool:
    """Whether it is a stream of the old EventLogging, whose events are dated by `dt`."""
    return stream.startswith(LEGACY_PREFIX) or (schema_title or "").startswith(LEGACY_TITLES)


def lake_time_ms(event: Mapping[str, Any], *, legacy: bool) -> int | None:
    """The time by which an event is stored (epoch milliseconds): `meta.dt`, of legacy streams `dt`, else `meta.dt`."""
    at_ms = time_at(event, "dt") if legacy else None
    return time_at(event, "meta.dt") if at_ms is None else at_ms


def time_at(event: Mapping[str, Any], path: str) -> int | None:
    """The date-time at a dotted path, in epoch milliseconds; None if there is none that a calendar has."""
    text = get_path(event, path)
    at_ms = time_ms(text) if isinstance(text, str) else None
    return at_ms if at_ms is not None and TIME_MS_MIN <= at_ms <= TIME_MS_MAX else None


def day_place(at_ms: int, *, with_hour: bool) -> str:
    """`year=2016/month=06/day=27`, or with `/hour=05`, of a moment (epoch milliseconds)."""
    text = utc_seconds(at_ms)
    day = f"year={text[:4]}/month={text[5:7]}/day={text[8:10]}"
    return f"{day}/hour={text[11:13]}" if with_hour else day


def hour_place(datacenter: str, hour: int) -> str:
    """`datacenter=eqiad/year=2016/month=06/day=27/hour=05` of a number of hours since the epoch."""
    return f"datacenter={datacenter}/{day_place(hour * HOUR_MS, with_hour=True)}"


def hour_of(place: str) -> tuple[str, int] | None:
    """The datacenter and the hour, in hours since the epoch, of a partition; None if it is none of an hour."""
    found = _PLACE.fullmatch(place)
    if found is None:
        return None
    datacenter, year, month, day, hour = found.groups()
    at = time_ms(f"{year}-{month}-{day}T{hour}:00:00Z")
    return None if at is None else (datacenter, at // HOUR_MS)


def datacenter_of(topic: str, stream: str, default: str) -> str:
    """`eqiad` of the topic `eqiad.mediawiki.page-change`; `default` for a topic without a prefix."""
    prefix = topic.removesuffix(stream).rstrip(".") if topic.endswith(stream) else ""
    return re.sub(r"[^A-Za-z0-9._-]", "_", prefix) or default
