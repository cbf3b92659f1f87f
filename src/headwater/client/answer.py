"""Reads an intake's response to a batch: which events are stored, which are finally refused, which to retry.

How this works: the response's lists of refused events contain the events as they were validated, and every event of
ours has a `meta.id`. A refusal is final. An `error` entry is final, too, unless the response has `retry-after`: then
some of them were not the producer's fault, and all are retried; the others are refused again, alone, the next time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
REASON_CHARS_MAX = 500
# A longer pause, such as 1e999, is a mistake of the server, and events wait meanwhile.
RETRY_SECONDS_MAX = 3_600.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event in flight: its `meta.id`, its stream, and its JSON text."""

    event_id: str
    stream: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that will never be accepted, and why."""

    event_id: str
    stream: str
    data: bytes
    reason: str


@dataclass(slots=True)
class Answer:
    """The outcome of a batch. `pause_seconds`: how long the server asks to wait, if it does."""

    accepted: int = 0
    refused: list[Refusal] = field(default_factory=list)
    again: list[Waiting] = field(default_factory=list)
    pause_seconds: float | None = None
    reason: str = ""


def read_answer(response: httpx.Response, batch: Sequence[Waiting]) -> Answer:
    """The outcome of each event of `batch` according to `response`."""
    status = response.status_code
    pause = _retry_after(response.headers)
    if status in {201, 202}:
        return Answer(accepted=len(batch))
    entries = _entries(response)
    if entries is None:
        reason = f"{status} {response.reason_phrase}"[:REASON_CHARS_MAX]
        if status in AGAIN:
            return Answer(again=list(batch), pause_seconds=pause, reason=reason)
        return Answer(refused=[Refusal(one.event_id, one.stream, one.data, reason) for one in batch])
    invalid, errors = entries
    ours = pause is not None or status in AGAIN
    answer = Answer(pause_seconds=pause, reason=next(iter(errors.values()), ""))
    for one in batch:
        if one.event_id in invalid:
            answer.refused.append(Refusal(one.event_id, one.stream, one.data, invalid[one.event_id]))
        elif one.event_id not in errors:
            answer.accepted += 1
        elif ours:
            answer.again.append(one)
        else:
            answer.refused.append(Refusal(one.event_id, one.stream, one.data, errors[one.event_id]))
    return answer


def _entries(response: httpx.Response) -> tuple[dict[str, str], dict[str, str]] | None:
    """({meta.id: reason} of the invalid, the same of the other errors), or None if the body has no such lists."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict) or not ("invalid" in body or "error" in body):
        return None
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for reasons, kind in zip(found, ("invalid", "error"), strict=True):
        listed = body.get(kind)
        for entry in listed if isinstance(listed, list) else ():
            event_id = _id_of(entry)
            if event_id is None:
                # An entry without one of our events makes the outcome of all of them uncertain.
                return None
            reasons[event_id] = _reason_of(entry)
    return found


def _id_of(entry: Any) -> str | None:
    event = entry.get("event") if isinstance(entry, Mapping) else None
    meta = event.get("meta") if isinstance(event, Mapping) else None
    event_id = meta.get("id") if isinstance(meta, Mapping) else None
    return event_id if isinstance(event_id, str) else None


def _reason_of(entry: Mapping[str, Any]) -> str:
    context = entry.get("context")
    reason = (context.get("errorsText") or context.get("message")) if isinstance(context, Mapping) else None
    return str(reason or "refused")[:REASON_CHARS_MAX]


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds, at most RETRY_SECONDS_MAX; a date, which our intake never sends, counts as one second."""
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        return min(max(0.0, float(text)), RETRY_SECONDS_MAX)
    except ValueError:
        return 1.0
