"""Errors of scripts in browsers: of each wiki, minute and cause the first one, and a summary; at most twenty causes.

How this works: what passes at once and what waits for the end of the minute are two jobs, each with a stream. Both take
the same errors for the first of their cause.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from headwater.event import get_path
from headwater.jobs import Context, Dedupe, Job, PerKey, ToStream, Transition, Window, job, tumbling
from headwater.jobs.operators.aggregates import Aggregate

SIGNATURES_MAX = 20
# So much of a stack trace passes.
STACK_CHARS_MAX = 10_000
MINUTE_MS = 60_000
OUT_OF_ORDER_MS = 10_000

_URL = re.compile(r"https?://\S+")
_DIGITS = re.compile(r"\d+")


def signature(error: Mapping[str, Any]) -> str:
    """What errors with the same cause have in common: their texts without addresses, numbers and queries."""
    parts = (
        error.get("error_class") or "",
        normalised(error["message"]),
        (error.get("file_url") or "").partition("?")[0],
        normalised((error.get("stack_trace") or "").partition("\n")[0].removesuffix("\r")),
    )
    return hashlib.sha1("\n".join(parts).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:16]


def normalised(text: str) -> str:
    """URLs as `URL`, then digits as `N`."""
    return _DIGITS.sub("N", _URL.sub("URL", text))


def wiki(error: Mapping[str, Any]) -> str:
    """The wiki, or its domain if the error does not say."""
    return str(get_path(error, "error_context.wiki") or get_path(error, "meta.domain") or "")


def counted(state: dict[str, Any], error: Mapping[str, Any], at_ms: int) -> dict[str, Any]:
    """The errors of a minute and one more: how many there were of each signature, the id of the first, the rest."""
    seen, found = state["signatures"], signature(error)
    if found in seen:
        seen[found][0] += 1
    elif len(seen) < SIGNATURES_MAX:
        seen[found] = [1, error["meta"]["id"]]
    else:
        state["dropped"] += 1
    return state


errors = Aggregate("errors", lambda: {"signatures": {}, "dropped": 0}, counted)


@job(
    source="mediawiki.client.error",
    sink="mediawiki.client_error_summary.v1:1.0.0",
    key=wiki,
    dedupe=Dedupe(),
    window=dataclasses.replace(tumbling(MINUTE_MS / 1000), aggregates=(errors,)),
    out_of_order=OUT_OF_ORDER_MS / 1000,
    late="mediawiki.client_error.late",
)
def client_errors(window: Window, context: Context) -> list[dict[str, Any]]:
    """Errors of scripts by wiki, minute and signature, and how many were dropped."""
    common = {"dt": window.end, "wiki": window.key, "window_start": window.start}
    summaries = [
        {**common, "kind": "summary", "signature": found, "count": count, "first_id": first}
        for found, (count, first) in window.errors["signatures"].items()
    ]
    dropped = window.errors["dropped"]
    return summaries + ([{**common, "kind": "rate_limited", "dropped": dropped}] if dropped else [])


def wiki_and_minute(error: Mapping[str, Any], context: Context) -> list[Any]:
    """The wiki, and the start of the minute in epoch milliseconds."""
    return [wiki(error), context.event_time_ms - context.event_time_ms % MINUTE_MS]


def first(state: Any, error: dict[str, Any], context: Context) -> Transition:
    """Pass on an error that is the first of its cause in its minute; state: the causes so far."""
    end_ms = context.key[1] + MINUTE_MS
    if end_ms <= context.watermark_ms:
        return Transition(state, late=[error])
    seen, found = state or [], signature(error)
    if found in seen:
        return Transition(state, dropped="repeat")
    if len(seen) >= SIGNATURES_MAX:
        return Transition(state, dropped="rate_limited")
    context.timer("forget", at_ms=end_ms, fires_when_idle=False)
    return Transition([*seen, found], events=[_shortened(error)])


def forget(state: Any, timer: str, context: Context) -> Transition:
    """The minute is over."""
    return Transition(None)


def _shortened(error: dict[str, Any]) -> dict[str, Any]:
    stack = error.get("stack_trace")
    return error if stack is None else {**error, "stack_trace": stack[:STACK_CHARS_MAX]}


client_errors_first = Job(
    "client_errors_first",
    ("mediawiki.client.error",),
    steps=(Dedupe().step("dedupe"), PerKey("first", wiki_and_minute, first, forget, timers_emit=False)),
    output=ToStream("mediawiki.client_error_first.v1", "2.0.0"),
    out_of_order_ms=OUT_OF_ORDER_MS,
    late_stream="mediawiki.client_error_first.late",
    summary="The first error of each wiki, minute and cause, as soon as it comes.",
)
