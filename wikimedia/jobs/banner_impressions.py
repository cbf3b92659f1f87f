"""Impressions of banners per minute and kind of readers."""

import math
from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, ToStream, Window, tumbling

from ..content.pages import InvalidInput

# Names of the results, and of the events.
KEY = {
    "campaign": "campaign",
    "banner": "banner",
    "project": "project",
    "country": "country",
    "uselang": "uselang",
    "device": "device",
    "status_code": "statusCode",
}

# One event that stood for more impressions would be most of its minute, or more than numbers can be.
RATE_MIN = 1e-9


def weighted(impression: dict[str, Any], context: Context) -> dict[str, Any]:
    """The impression with the number it stands for; raises InvalidInput for one that belongs to no minute."""
    event = impression["event"]
    rate = event["impressionEventSampleRate"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not RATE_MIN <= rate < math.inf:
        raise InvalidInput(
            f"event.impressionEventSampleRate is {rate!r}; a part of all impressions is at least {RATE_MIN}."
        )
    if not event["country"]:
        raise InvalidInput("event.country is empty.")
    return {**impression, "weight": 1 / rate}


def readers(impression: Mapping[str, Any], context: Context) -> list[str]:
    """The banner and the kind of readers it was shown to."""
    event = impression["event"]
    return [event.get(name) or "" for name in KEY.values()]


def row(window: Window, context: Context) -> dict[str, Any]:
    """The minute of one kind of readers."""
    return {
        "dt": window.end,
        "minute": window.start,
        **dict(zip(KEY, window.key, strict=True)),
        "events": window.events,
        "impressions": round(window.impressions),
    }


minutes = tumbling("1m").count("events").sum("impressions", "weight")
banner_impressions = Job(
    "banner_impressions",
    ("eventlogging_CentralNoticeImpression",),
    steps=(Each("weighted", weighted), Dedupe().step("dedupe"), minutes.step("minutes", readers), Each("row", row)),
    output=ToStream("fundraising.banner_impressions.v1", "1.0.0"),
    # An event may be behind by this much. Each minute is written once, that long after its end.
    out_of_order_ms=60_000,
    late_stream="fundraising.banner_impressions.late",
    # What is late depends on the order in which events arrive.
    history_order="arrival",
    summary="Impressions of banners per minute and kind of readers, extrapolated from the sample.",
)
