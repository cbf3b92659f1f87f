"""Session windows: events of a key that are less than a gap apart, from the first of them to a gap after the last.

How this works: the sessions of a key do not overlap. A session keeps the time of the event that began it as its id; as
it lies inside the session, ids sort like sessions. An event that connects two merges the later into the earlier. Rows:
`s`ID is a session, `t`ID/… the values that it counts, `d`TIME ID says when to see whether the session has ended,
`e`TIME ID when to delete it. The time of a `d` row is not moved when the session grows, only when it is reached: so an
event changes one row and no timer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.operators.accumulation import Accumulation, changed_window
from headwater.jobs.operators.held import held_rows
from headwater.jobs.operators.windows import (
    FIRE,
    FORGET,
    TIME_CHARS,
    Window,
    Windows,
    size_of,
    time_name,
    time_of,
    window_element,
)
from headwater.jobs.rows import KeyRows
from headwater.jobs.steps import Context, Element, PerKey, Timer, Transition


class _Session(NamedTuple):
    """`fired`: how often it was emitted; `is_changed`: since then."""

    start_ms: int
    last_ms: int
    fired: int
    is_changed: bool
    values: list[Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions(Windows):
    """Windows that end after a gap without events. Add aggregates, and pass it to a job as `window=`."""

    gap_ms: int

    def step(self, name: str, key: Callable[[Any, Context], Any]) -> PerKey:
        """The windows of each key as a step, which emits `Window`s. Raises JobInvalid without an aggregate."""
        formed = self._formed("session", self.gap_ms)
        return PerKey(name, key, formed._add, partial(formed._on_timer, name), keeps_rows=True)

    def _add(self, state: Any, event: Any, context: Context) -> Transition:
        rows = held_rows(context)
        if state is not None:
            raise changed_window()
        at = context.event_time_ms
        touched = self._touched(rows, at)
        start = min([at, *(session.start_ms for session in touched.values())])
        last = max([at, *(session.last_ms for session in touched.values())])
        if last + self.gap_ms + self.lateness_ms <= context.watermark_ms:
            return Transition(state, late=[event])
        name = next(iter(touched), time_name(at))
        fired = max((session.fired for session in touched.values()), default=0)
        kept = self._accumulation(rows, name, touched[name].values if touched else None)
        kept.add(event, at)
        for other, session in touched.items():
            if other != name:
                merged = self._accumulation(rows, other, session.values)
                kept.absorb(merged)
                merged.delete()
                del rows[f"s{other}"]
        rows[f"s{name}"] = [start, last, fired, True, kept.values]
        if not touched or not touched[name].is_changed:
            rows[f"d{time_name(last + self.gap_ms)}{name}"] = 1
        return Transition(state, timers=self._timers(rows))

    def _on_timer(self, step: str, state: Any, timer: str, context: Context) -> Transition:
        rows, made = held_rows(context), []
        if state is not None:
            raise changed_window()
        until = max(context.event_time_ms, context.watermark_ms if timer == FORGET else rows.until_ms)
        while (row := rows.first("e" if timer == FORGET else "d")) is not None and _time_in(row) <= until:
            del rows[row]
            name = row[1 + TIME_CHARS :]
            found = rows.get(f"s{name}")
            if found is None:
                continue
            session = _Session(*found)
            end = session.last_ms + self.gap_ms
            if timer == FORGET:
                if not session.is_changed and end + self.lateness_ms <= until:
                    self._delete(rows, name, session)
            elif session.is_changed and end > _time_in(row):
                rows[f"d{time_name(end)}{name}"] = 1
            elif session.is_changed:
                made.append(self._emitted(step, rows, name, session, context))
        return Transition(state, events=made, timers=self._timers(rows))

    def _touched(self, rows: KeyRows, at: int) -> dict[str, _Session]:
        """The sessions that an event of this time belongs to or connects, by name, in order."""
        found = {}
        before = rows.last_before("s", f"s{time_name(at)}!")
        if before is not None:
            session = _Session(*rows[before])
            if at < session.last_ms + self.gap_ms:
                found[before[1:]] = session
        for row in rows.after(f"s{time_name(at)}!", "t"):
            session = _Session(*rows[row])
            if session.start_ms >= at + self.gap_ms:
                break
            found[row[1:]] = session
        return found

    def _emitted(self, step: str, rows: KeyRows, name: str, session: _Session, context: Context) -> Element:
        end = session.last_ms + self.gap_ms
        results = self._accumulation(rows, name, session.values).results()
        if end + self.lateness_ms <= context.watermark_ms:
            self._delete(rows, name, session)
        else:
            rows[f"s{name}"] = [*session._replace(fired=session.fired + 1, is_changed=False)]
            rows[f"e{time_name(end + self.lateness_ms)}{name}"] = 1
        return window_element(step, Window(context.key, session.start_ms, end, results), session.fired)

    def _delete(self, rows: KeyRows, name: str, session: _Session) -> None:
        self._accumulation(rows, name, session.values).delete()
        del rows[f"s{name}"]

    def _accumulation(self, rows: KeyRows, name: str, values: list[Any] | None) -> Accumulation:
        return Accumulation(self.aggregates, rows, f"t{name}/", values, self.form)

    def _timers(self, rows: KeyRows) -> dict[str, Timer]:
        timers = {}
        first = rows.first("d")
        if first is not None:
            timers[FIRE] = Timer(_time_in(first))
        first = rows.first("e")
        if first is not None:
            timers[FORGET] = Timer(_time_in(first), fires_when_idle=False)
        return timers


def session(gap: Duration, *, lateness: Duration = 0) -> Sessions:
    """Windows of events less than `gap` apart (seconds, or text like "30m"), open to corrections for `lateness`."""
    return Sessions(gap_ms=size_of(gap, "A gap"), lateness_ms=milliseconds(lateness))


def _time_in(row: str) -> int:
    return time_of(row[1 : 1 + TIME_CHARS])
