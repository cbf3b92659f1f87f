"""Hosts from which, all at once, far more people come than in the minutes before.

How this works: a host without requests in a minute has the number 0 there, but only in minutes in which the stream was
there; so the first step says since when it is. After an alert a host is silent for some minutes. No client is named,
and no page that only few asked for.
"""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, PerKey, ToStream, Transition
from headwater.times import utc_text

from ..content.referrers import external_host
from ..content.unusual import unusual

MINUTE_MS = 60_000
# With how many minutes before it a minute is compared.
POINTS = 15
# After an alert, so many minutes are silent.
COOLDOWN = 10
PAGES_COUNTED_MAX = 1_000
PAGES_MAX = 5
SETTINGS = {
    # Domains whose own pages lead to one another, with spaces between them.
    "internal": "wikipedia.org wikimedia.org wikidata.org wiktionary.org mediawiki.org",
    "requests_min": 50,
    "page_requests_min": 10,
}


def visit(request: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The minute, the page and the external host that led there, which is None for an internal one."""
    host = external_host(request.get("referer"), context.settings["internal"].split())
    page = f"{request.get('uri_host') or ''}{request.get('uri_path') or ''}"[:1_000]
    return {"minute": context.event_time_ms // MINUTE_MS, "host": host, "page": page}


def stream(found: Mapping[str, Any], context: Context) -> str:
    """The stream of requests."""
    return str(context.stream)


def since(first: Any, found: dict[str, Any], context: Context) -> Transition:
    """Adds the first minute of the stream; only visits from other hosts are passed on."""
    first = found["minute"] if first is None else min(first, found["minute"])
    return Transition(first, [{**found, "since": first}] if found["host"] is not None else [])


def host(found: Mapping[str, Any], context: Context) -> str:
    """The host that led there."""
    return str(found["host"])


def counted(state: Any, found: dict[str, Any], context: Context) -> Transition:
    """State: numbers and pages by minute, the minutes that are compared up to `next`, and until when it is `silent`."""
    minute = found["minute"]
    state = state or {"since": found["since"], "counts": {}, "pages": {}, "next": None, "silent": None}
    if state["next"] is not None and minute < state["next"]:
        return Transition(state, dropped="late")
    state["since"] = min(state["since"], found["since"])
    state["counts"][str(minute)] = state["counts"].get(str(minute), 0) + 1
    pages = state["pages"].setdefault(str(minute), {})
    if found["page"] in pages or len(pages) < PAGES_COUNTED_MAX:
        pages[found["page"]] = pages.get(found["page"], 0) + 1
    context.timer(f"end of {minute}", at_ms=(minute + 1) * MINUTE_MS)
    # By then its numbers are 0 again, and no alert keeps it silent.
    context.timer("forget", at_ms=(minute + POINTS + COOLDOWN + 2) * MINUTE_MS, fires_when_idle=False)
    return Transition(state)


def compared(state: Any, timer: str, context: Context) -> Transition:
    """Compare the minute that has ended with those before."""
    if timer == "forget":
        return Transition(None)
    minute = context.event_time_ms // MINUTE_MS - 1
    if state["next"] is not None and minute < state["next"]:
        return Transition(state)
    pages = state["pages"].pop(str(minute), {})
    count = state["counts"].get(str(minute), 0)
    before = [state["counts"].get(str(one), 0) for one in range(max(minute - POINTS, state["since"]), minute)]
    state["counts"] = {one: number for one, number in state["counts"].items() if int(one) > minute - POINTS}
    state["next"] = minute + 1
    why = unusual(count, before)
    if why is None or why.score < 0 or count < context.settings["requests_min"]:
        return Transition(state)
    if state["silent"] is not None and minute <= state["silent"]:
        return Transition(state, dropped="cooldown")
    state["silent"] = minute + COOLDOWN
    spike = {
        "dt": utc_text((minute + 1) * MINUTE_MS),
        "minute": utc_text(minute * MINUTE_MS),
        "referrer_host": context.key,
        "count": count,
        "baseline_median": why.median,
        "score": why.score,
        "pages": _top(pages, context.settings["page_requests_min"]),
    }
    return Transition(state, events=[spike])


def _top(pages: Mapping[str, int], least: int) -> list[dict[str, Any]]:
    often = sorted((-count, page) for page, count in pages.items() if count >= least)
    return [{"page": page, "count": -count} for count, page in often[:PAGES_MAX]]


referrer_spikes = Job(
    "referrer_spikes",
    ("webrequest.text",),
    steps=(
        Dedupe().step("dedupe"),
        Each("visit", visit),
        PerKey("since", stream, since),
        PerKey("hosts", host, counted, compared),
    ),
    output=ToStream("referrer_spike.v1", "1.0.0"),
    out_of_order_ms=10_000,
    settings=SETTINGS,
    summary="Hosts from which far more people come than in the minutes before.",
)
