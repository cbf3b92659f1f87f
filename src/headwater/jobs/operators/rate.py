"""Limits how many events of a key are passed on in a time: more are delayed, in their order, or dropped.

How this works: at most `n` events are passed on in any period of `per`, exactly: the times of the last `n` are kept,
one per row, and the next event may follow when the oldest of them is `per` ago. Time is event time, in the order in
which the events of a key come; it does not go back. Rows: `a`NUMBER is the time at which the event of this number is
passed on, `h`TIME NUMBER an event that is held until then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from headwater.errors import JobInvalid
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.operators.held import check_room, element_of, held, held_rows, released
from headwater.jobs.operators.windows import FORGET, TIME_CHARS, size_of, time_name, time_of
from headwater.jobs.rows import KeyRows
from headwater.jobs.steps import Context, PerKey, Timer, Transition

RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `n` events per key in any period of `per`. Pass it to a job as `rate=`.

    `over`: what happens to more. With "delay" they are passed on later, in order, and their event time is then that of
    being passed on; with "drop" they are dropped and counted. `held_max`: how many events of one key may wait; further
    ones become error events.
    """

    n: int
    per: Duration
    over: Literal["delay", "drop"] = "delay"
    held_max: int = 10_000

    def __post_init__(self) -> None:
        """Raises JobInvalid for arguments of a wrong type."""
        if type(self.n) is not int or self.n < 1:
            raise JobInvalid(f"Rate: `n` is a positive integer, not {self.n!r}.")
        if self.over not in ("delay", "drop"):
            raise JobInvalid(f'Rate: `over` is "delay" or "drop", not {self.over!r}.')
        size_of(self.per, "Rate: a period")

    def step(self, name: str, key: Callable[[Any, Context], Any]) -> PerKey:
        """The step that passes on the events of each key at this rate."""
        per_ms, n, is_delayed, held_max = milliseconds(self.per), self.n, self.over == "delay", self.held_max

        def on_event(state: Any, event: Any, context: Context) -> Transition:
            rows, item = held_rows(context), element_of(context)
            number, released_at, clock = state or (0, item.event_time_ms, item.event_time_ms)
            now = max(item.event_time_ms, clock)
            oldest = rows.get(f"a{time_name(number - n)}", now - per_ms)
            at = max(now, oldest + per_ms)
            if at > now and not is_delayed:
                return Transition([number, released_at, now], dropped="rate")
            if at > now or rows.first("h") is not None:
                check_room(rows, "h", held_max, "Rate")
                # As if it had been passed on at once.
                kept = {**held(item), "id": f"{item.lineage_id}/0"}
                rows[f"h{time_name(at)}{time_name(number)}"] = kept if at == now else {**kept, "at": at}
                event = None
            rows.pop(f"a{time_name(number - n)}", None)
            rows[f"a{time_name(number)}"] = at
            timers = _timers(context, rows, at + per_ms)
            return Transition([number + 1, at, now], [] if event is None else [event], timers)

        def on_timer(state: Any, timer: str, context: Context) -> Transition:
            rows, at = held_rows(context), context.event_time_ms
            if timer == FORGET and state[1] + per_ms <= at and rows.first("h") is None:
                rows.clear()
                return Transition(None, timers={})
            until = max(at, rows.until_ms)
            due = rows.between("h", f"h{time_name(until + 1)}") if timer == RELEASE else []
            passed = [released(rows.pop(row)) for row in due]
            return Transition(state, passed, _timers(context, rows, max(at + 1, state[1] + per_ms)))

        return PerKey(name, key, on_event, on_timer, keeps_rows=True, timers_emit=is_delayed)


def _timers(context: Context, rows: KeyRows, forget_ms: int) -> dict[str, Timer]:
    """The time to forget is not moved, only checked when it is reached."""
    timers = {FORGET: context.timers.get(FORGET) or Timer(forget_ms, fires_when_idle=False)}
    first = rows.first("h")
    if first is not None:
        timers[RELEASE] = Timer(time_of(first[1 : 1 + TIME_CHARS]))
    return timers
