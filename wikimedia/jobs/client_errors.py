"""Errors of scripts in browsers: one summary for each wiki, minute and error, and at most twenty errors in a minute."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from headwater.event import get_path
from headwater.jobs import Context, Dedupe, Window, job, tumbling
from headwater.jobs.operators.aggregates import Aggregate

SIGNATURES_MAX = 20
# More of a message or a line tells nothing new, and costs time.
CHARS_MAX = 10_000

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
    return _DIGITS.sub("N", _URL.sub("URL", text[:CHARS_MAX]))


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
    window=dataclasses.replace(tumbling("1m"), aggregates=(errors,)),
    out_of_order="10s",
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
