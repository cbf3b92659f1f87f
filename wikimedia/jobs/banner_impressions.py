"""Impressions of banners per minute and kind of readers."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Window, job, tumbling
from headwater.jobs.operators.windows import Aggregate

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


def is_countable(impression: Mapping[str, Any]) -> bool:
    """True; raises InvalidInput for an impression that cannot be counted, so that it belongs to no minute."""
    event = impression["event"]
    rate = event["impressionEventSampleRate"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise InvalidInput(f"event.impressionEventSampleRate is {rate!r}; a part of all impressions is above 0.")
    if not event["country"]:
        raise InvalidInput("event.country is empty.")
    return True


def readers(impression: Mapping[str, Any]) -> list[str]:
    """The banner and the kind of readers it was shown to."""
    event = impression["event"]
    return [event.get(name) or "" for name in KEY.values()]


def counted(rates: dict[str, int], impression: Mapping[str, Any]) -> dict[str, int]:
    """How many events there are of each sample rate: their sum does not depend on their order."""
    rate = repr(float(impression["event"]["impressionEventSampleRate"]))
    return {**rates, rate: rates.get(rate, 0) + 1}


rates = Aggregate("rates", dict, counted, lambda rates: rates)


@job(
    source="eventlogging_CentralNoticeImpression",
    sink="fundraising.banner_impressions.v1:1.0.0",
    where=is_countable,
    key=readers,
    window=dataclasses.replace(tumbling("1m"), aggregates=(rates,)),
    # An event may be behind by this much. Each minute is written once, that long after its end.
    out_of_order="1m",
    late="fundraising.banner_impressions.late",
    # What is late depends on the order in which events arrive.
    history="arrival",
)
def banner_impressions(window: Window, context: Context) -> dict[str, Any]:
    """Impressions of banners per minute and kind of readers, extrapolated from the sample."""
    return {
        "dt": window.end,
        "minute": window.start,
        **dict(zip(KEY, window.key, strict=True)),
        "events": sum(window.rates.values()),
        "impressions": round(math.fsum(count / float(rate) for rate, count in window.rates.items())),
    }
