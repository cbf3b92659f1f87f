"""Drops events whose work is done already: repeats by id, by the hash of their content, and of an older root event.

How this works: each kind is a step of its own. The last two are keyed by the stream and the value, since events of
different streams may lead to different requests; what they remember is a time, for a while by the clock of processing,
and over history by event time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headwater.event import get_path
from headwater.jobs.operators.dedupe import Dedupe
from headwater.jobs.operators.windows import FORGET
from headwater.jobs.steps import Context, PerKey, Timer, Transition
from headwater.times import time_ms

# Clocks of producers differ, and what an event is about may be read a moment after it was made.
SAFETY_MS = 1_000


def repeats(ttl_ms: int) -> tuple[PerKey, ...]:
    """The steps, in this order: `meta.id`, `sha1`, `root_event`. What is seen is remembered for `ttl_ms`.

    An event without the field passes. Dropped events are counted by the kind.
    """
    return (
        Dedupe("meta.id", ttl_ms / 1000).step("repeated_id"),
        _step("repeated_sha1", "sha1", _by_content, ttl_ms),
        _step("older_root_event", "root_event.signature", _by_root_event, ttl_ms),
    )


def now_ms(context: Context) -> int:
    """The time of processing; over history, where that means nothing, of the event."""
    at = context.scope.processing_ms
    return context.event_time_ms if at is None else at


def _by_content(executed_ms: int | None, event: Mapping[str, Any], now: int) -> int | None:
    """The time to remember; None for a repeat.

    That is one whose content was handled after it, or its root event, was made.
    """
    if executed_ms is not None:
        made_ms = (_time_at(event, "meta.dt"), _time_at(event, "root_event.dt"))
        if any(at is not None and executed_ms - SAFETY_MS > at for at in made_ms):
            return None
    return now


def _by_root_event(newest_ms: int | None, event: Mapping[str, Any], now: int) -> int | None:
    """As above; a repeat if an event of a later root event with this signature was there before."""
    at = _time_at(event, "root_event.dt")
    if at is None:
        return now if newest_ms is None else newest_ms
    return None if newest_ms is not None and newest_ms > at else at


def _step(
    name: str, path: str, remembered: Callable[[int | None, Mapping[str, Any], int], int | None], ttl_ms: int
) -> PerKey:
    def key(event: Mapping[str, Any], context: Context) -> Any:
        value = get_path(event, path)
        return [context.stream, value] if isinstance(value, str) and value else None

    def on_event(state: int | None, event: Mapping[str, Any], context: Context) -> Transition:
        if context.key is None:
            return Transition(None, [event])
        after = remembered(state, event, now_ms(context))
        if after is None:
            return Transition(state, dropped=name)
        is_wall = context.scope.processing_ms is not None
        timer = Timer(now_ms(context) + ttl_ms, fires_when_idle=False, clock="wall" if is_wall else "event")
        return Transition(after, [event], {FORGET: timer})

    def on_timer(state: Any, timer: str, context: Context) -> Transition:
        return Transition(None, timers={})

    return PerKey(name, key, on_event, on_timer, timers_emit=False)


def _time_at(event: Mapping[str, Any], path: str) -> int | None:
    text = get_path(event, path)
    return time_ms(text) if isinstance(text, str) else None
