"""Puts the events of a key in order of a field, by holding each for a time.

How this works: an event is held until the watermark is `hold` behind it; then it and everything held that comes before
it in order of (field, event time) is passed on. An event whose parent is the last one passed on is passed on at once,
unless others are held. One that comes before the last one passed on is late, and so is one further than `hold` behind
the watermark. The state of a key is the last event passed on. Rows: `b`ORDER is a held event, `x`TIME ORDER says until
when.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from headwater.errors import JobInvalid
from headwater.event import get_path
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.operators.held import check_room, element_of, held, held_rows, released, short_name
from headwater.jobs.operators.windows import FORGET, TIME_CHARS, time_name, time_of
from headwater.jobs.rows import KeyRows
from headwater.jobs.steps import Context, Element, PerKey, Timer, Transition
from headwater.schemas.json_value import json_equal, whole

RELEASE = "release"
TEXT_CHARS_MAX = 300
_SHIFT = 2**63


@dataclass(frozen=True, slots=True)
class Reorder:
    """Put events in order of (`field`, event time), holding each for up to `hold`. Pass it to a job as `reorder=`.

    `field`: the dotted path of a number or text. `parent`: the path of the field, or a function of the event, that has
    the value of `field` of the event directly before, so that a direct successor need not be held. `ttl`: how long the
    last event of a key is remembered. `held_max`: of one key; further ones become error events.
    """

    field: str
    hold: Duration
    parent: str | Callable[[Any], Any] | None = None
    ttl: Duration = "30d"
    held_max: int = 10_000

    def __post_init__(self) -> None:
        """Raises JobInvalid for arguments of a wrong type."""
        if not isinstance(self.field, str) or not all(self.field.split(".")):
            raise JobInvalid(f"Reorder: `field` is a dotted path, not {self.field!r}.")
        if milliseconds(self.ttl) < milliseconds(self.hold):
            raise JobInvalid(f"Reorder: `ttl`, {self.ttl!r}, is shorter than `hold`, {self.hold!r}.")

    def step(self, name: str, key: Callable[[Any, Context], Any]) -> PerKey:
        """The step that passes on the events of each key in order."""
        hold_ms, ttl_ms = milliseconds(self.hold), milliseconds(self.ttl)
        held_max = self.held_max

        def on_event(state: Any, event: Any, context: Context) -> Transition:
            rows, item = held_rows(context), element_of(context)
            order = order_of(event, self.field) + time_name(item.event_time_ms)
            if item.event_time_ms + hold_ms < context.watermark_ms or (state and order < state["order"]):
                return Transition(state, late=[event])
            if state and not rows and self._succeeds(event, state["value"]):
                state = _last(event, self.field, order)
                return Transition(state, [event], _timers(context, rows, hold_ms, ttl_ms))
            check_room(rows, "b", held_max, "Reorder")
            _hold(rows, order, item)
            return Transition(state, timers=_timers(context, rows, hold_ms, ttl_ms))

        def on_timer(state: Any, timer: str, context: Context) -> Transition:
            rows = held_rows(context)
            if timer == FORGET:
                if state is None or time_of(state["order"][-TIME_CHARS:]) + ttl_ms <= context.event_time_ms:
                    return Transition(None, timers=context.timers)
                return Transition(state, timers=_timers(context, rows, hold_ms, ttl_ms))
            until = max(context.event_time_ms, rows.until_ms)
            expired = rows.between("x", f"x{time_name(until - hold_ms + 1)}")
            last = max(row[1 + TIME_CHARS :] for row in expired)
            passed = []
            for row in rows.between("b", f"b{last}\0"):
                passed.append(released(rows[row]))
                del rows[row]
                del rows[f"x{time_name(passed[-1].event_time_ms)}{row[1:]}"]
            newest = passed[-1]
            order = order_of(newest.value, self.field) + time_name(newest.event_time_ms)
            state = _last(newest.value, self.field, order)
            return Transition(state, passed, _timers(context, rows, hold_ms, ttl_ms))

        return PerKey(name, key, on_event, on_timer, keeps_rows=True, delay_ms=hold_ms)

    def _succeeds(self, event: Any, last: Any) -> bool:
        if self.parent is None:
            return False
        parent = self.parent(event) if callable(self.parent) else get_path(event, self.parent)
        return parent is not None and json_equal(whole(parent), last)


def order_of(event: Any, path: str) -> str:
    """Text that sorts as the number or text at `path`; numbers before texts. Raises JobInvalid for anything else."""
    value = get_path(event, path)
    if isinstance(value, str):
        if len(value) > TEXT_CHARS_MAX or "\0" in value:
            raise JobInvalid(f"{path} is text of {len(value)} characters; events are put in order by at most 300.")
        return f"2{value}\0"
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_SHIFT <= value < _SHIFT:
        raise JobInvalid(f"{path} is {value!r:.100}; events are put in order by a number or a text.")
    below = math.floor(value)
    return f"1{below + _SHIFT:016x}{_digits(Fraction(value) - below) if value != below else ''}\0"


def _digits(part: Fraction) -> str:
    """The hexadecimal digits behind the point of a part of a double, exactly."""
    bits = part.denominator.bit_length() - 1
    return f"{part.numerator << -bits % 4:0{-(-bits // 4)}x}"


def _last(event: Any, path: str, order: str) -> dict[str, Any]:
    return {"value": whole(get_path(event, path)), "order": order}


def _hold(rows: KeyRows, order: str, item: Element) -> None:
    """Keep an event until its time. Of those with the same order, the id decides; the same id may come again."""
    name, again = order + short_name(item.lineage_id), 0
    while f"b{name}" in rows:
        again += 1
        name = f"{order}{short_name(item.lineage_id)}+{again:06d}"
    # As if it had been passed on at once.
    kept = held(item)
    kept["id"] = f"{item.lineage_id}/0"
    rows[f"b{name}"] = kept
    rows[f"x{time_name(item.event_time_ms)}{name}"] = 1


def _timers(context: Context, rows: KeyRows, hold_ms: int, ttl_ms: int) -> dict[str, Timer]:
    """The time of the first row decides when to release. The time to forget is not moved, only checked when reached."""
    timers = {name: timer for name, timer in context.timers.items() if name == FORGET}
    first = rows.first("x")
    if first is not None:
        timers[RELEASE] = Timer(time_of(first[1 : 1 + TIME_CHARS]) + hold_ms)
    if FORGET not in timers:
        timers[FORGET] = Timer(context.event_time_ms + ttl_ms, fires_when_idle=False)
    return timers
