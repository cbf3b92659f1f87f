"""What a rule makes of an answer: something else in its place, or the right one late, cut or without revisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import assert_never

from headwater.testing.mediawiki.exchange import Answer, ApiRefusal, ServedBy, html_error, json_answer
from headwater.testing.mediawiki.rules import (
    Altered,
    ApiError,
    Asked,
    Close,
    Empty,
    Garbage,
    Http,
    InPlace,
    MaxLag,
    Missing,
    NoContent,
    Pass,
    RateLimit,
    Slow,
)

# The least `Retry-After` of a wiki whose databases lag.
LAG_RETRY_SECONDS_MIN = 5
# The usual texts of errors that rules name.
INFOS = {
    "badvalue": "Unrecognized value for parameter.",
    "invalidtitle": "Bad title.",
    "missingtitle": "The page you specified doesn't exist.",
    "nosuchpageid": "There is no page with this ID.",
    "nosuchrevid": "There is no revision with this ID.",
    "permissiondenied": "You don't have permission to view this.",
    "ratelimited": "You've exceeded your rate limit. Please wait some time and try again.",
    "readonly": "The wiki is currently in read-only mode.",
}


def in_place(rule: InPlace, asked: Asked, wiki: ServedBy) -> Answer:
    """What is sent in place of the right answer."""
    match rule:
        case MaxLag(lag=lag, host=host):
            answer = lagging(asked.maxlag or 0, lag, host, wiki)
        case RateLimit(retry_after=seconds):
            headers = {} if seconds is None else {"Retry-After": str(seconds)}
            answer = html_error(429, "Error: 429, Too many requests (f061ab2)", headers)
        case Http(status=status, headers=given):
            answer = html_error(status, headers={name: str(value) for name, value in given.items()})
        case Empty():
            answer = dataclasses.replace(json_answer({}), body=b"")
        case NoContent():
            answer = Answer(204, {})
        case ApiError(code=code, info=info):
            usual = f"[stand-in] Caught exception of type {code.removeprefix('internal_api_error_')}"
            answer = ApiRefusal(code, info or INFOS.get(code, usual)).answer(wiki)
        case _:
            assert_never(rule)
    return answer


def withheld(rule: Altered, revids: Iterable[int]) -> frozenset[int]:
    """The revisions that the right answer is to be without."""
    if not isinstance(rule, Missing):
        return frozenset()
    if rule.revid is None:
        return frozenset(revids)
    return frozenset((rule.revid,) if isinstance(rule.revid, int) else rule.revid)


def altered(rule: Altered, right: Answer) -> Answer:
    """The right answer as it is sent."""
    match rule:
        case Pass() | Missing():
            answer = right
        case Slow(seconds=seconds):
            answer = dataclasses.replace(right, delay_seconds=seconds)
        case Close(after_bytes=None):
            answer = dataclasses.replace(right, reset=True)
        case Close(after_bytes=sent):
            answer = dataclasses.replace(right, body_bytes_sent=sent)
        case Garbage():
            half = right.body[: len(right.body) // 2]
            answer = dataclasses.replace(right, status=200, body=half)
        case _:
            assert_never(rule)
    return answer


def lagging(maxlag: int, lag: float, host: str | None, wiki: ServedBy) -> Answer:
    """The refusal of a wiki whose databases lag by more seconds than the request's `maxlag`."""
    shown = int(lag) if float(lag).is_integer() else lag
    extra = {**({"host": host} if host else {}), "lag": shown, "type": "db"}
    headers = {"Retry-After": str(max(maxlag, LAG_RETRY_SECONDS_MIN)), "X-Database-Lag": str(int(lag))}
    info = f"Waiting for {host or 'a database server'}: {shown} seconds lagged."
    return ApiRefusal("maxlag", info, extra=extra, headers=headers).answer(wiki)
