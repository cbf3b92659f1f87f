"""Sliding windows: of equal size, one starting at each multiple of `slide`, so that they overlap.

How this works: time is divided into panes, of the largest size of which both size and slide are multiples; an event is
added to one pane, however many windows it belongs to. The panes of a window are merged when it ends. The state of a key
is the ends of the windows that have something new, as ranges. Rows: `p`TIME is a pane, `q`TIME/… the values that it
counts, `f`END how often a window was emitted, while it can be emitted again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from headwater.errors import JobInvalid
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.operators.accumulation import Accumulation, changed_window
from headwater.jobs.operators.held import held_rows
from headwater.jobs.operators.windows import (
    FIRE,
    FORGET,
    Window,
    Windows,
    size_of,
    time_name,
    time_of,
    window_element,
)
from headwater.jobs.rows import KeyRows
from headwater.jobs.steps import Context, Element, PerKey, Timer, Transition

PANES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliding(Windows):
    """Overlapping windows of equal size, aligned to the epoch. Add aggregates, and pass it to a job as `window=`."""

    size_ms: int
    slide_ms: int

    def step(self, name: str, key: Callable[[Any, Context], Any]) -> PerKey:
        """The windows of each key as a step, which emits `Window`s. Raises JobInvalid without an aggregate."""
        formed = self._formed("sliding", self.size_ms, self.slide_ms)
        return PerKey(name, key, formed._add, partial(formed._on_timer, name), keeps_rows=True)

    def _add(self, state: Any, event: Any, context: Context) -> Transition:
        rows = held_rows(context)
        at = context.event_time_ms
        last = self._last_end(at)
        if last + self.lateness_ms <= context.watermark_ms:
            return Transition(state, late=[event])
        pane = f"p{time_name(at - at % math.gcd(self.size_ms, self.slide_ms))}"
        kept = self._pane(rows, pane)
        kept.add(event, at)
        rows[pane] = kept.values
        # Windows that are closed do not get the event.
        first = self._first_end(max(at, context.watermark_ms - self.lateness_ms))
        changed = _with_range(state or [], first, last, self.slide_ms)
        return Transition(changed, timers=self._timers(changed, rows))

    def _on_timer(self, step: str, state: Any, timer: str, context: Context) -> Transition:
        rows, changed, made = held_rows(context), state or [], []
        if type(changed) is dict or rows.first("s") is not None:
            raise changed_window()
        if timer == FORGET:
            self._forget(rows, max(context.event_time_ms, context.watermark_ms))
        else:
            until = max(context.event_time_ms, rows.until_ms)
            while changed and changed[0][0] <= until:
                made.append(self._emitted(step, rows, changed[0][0], context))
                changed = _without_first(changed, self.slide_ms)
        return Transition(changed or None, events=made, timers=self._timers(changed, rows))

    def _emitted(self, step: str, rows: KeyRows, end: int, context: Context) -> Element:
        start = end - self.size_ms
        whole = Accumulation(self.aggregates, None)
        for pane in rows.between(f"p{time_name(start)}", f"p{time_name(end)}"):
            whole.absorb(self._pane(rows, pane))
        fired = rows.pop(f"f{time_name(end)}", 0)
        if end + self.lateness_ms > context.watermark_ms:
            rows[f"f{time_name(end)}"] = fired + 1
        return window_element(step, Window(context.key, start, end, whole.results()), fired)

    def _first_end(self, at: int) -> int:
        """The end of the first window that ends after `at`."""
        return at - (at - self.size_ms) % self.slide_ms + self.slide_ms

    def _last_end(self, at: int) -> int:
        """The end of the last window with an event of this time."""
        return at - at % self.slide_ms + self.size_ms

    def _pane(self, rows: KeyRows, name: str) -> Accumulation:
        return Accumulation(self.aggregates, rows, f"q{name[1:]}/", rows.get(name), self.form)

    def _timers(self, changed: list[list[int]], rows: KeyRows) -> dict[str, Timer]:
        timers = {}
        if changed:
            timers[FIRE] = Timer(changed[0][0])
        oldest = rows.first("p")
        if oldest is not None:
            timers[FORGET] = Timer(self._last_end(time_of(oldest[1:])) + self.lateness_ms, fires_when_idle=False)
        return timers

    def _forget(self, rows: KeyRows, watermark_ms: int) -> None:
        """Delete what no window needs that is still open to corrections."""
        while (pane := rows.first("p")) is not None:
            if self._last_end(time_of(pane[1:])) + self.lateness_ms > watermark_ms:
                break
            self._pane(rows, pane).delete()
            del rows[pane]
        for name in rows.between("f", f"f{time_name(watermark_ms - self.lateness_ms)}!"):
            del rows[name]


def sliding(size: Duration, slide: Duration, *, lateness: Duration = 0) -> Sliding:
    """Windows of `size`, one every `slide` (seconds, or text like "1h" and "5m"), open to corrections for `lateness`.

    Raises JobInvalid for a slide longer than the size, and for one that divides windows into too many parts.
    """
    size_ms, slide_ms = size_of(size, "A window"), size_of(slide, "A slide")
    if slide_ms > size_ms:
        raise JobInvalid(
            f"Windows of {size!r} every {slide!r} leave out what is between them.",
            hint="Make the slide at most the size.",
        )
    if size_ms // math.gcd(size_ms, slide_ms) > PANES_MAX:
        raise JobInvalid(
            f"Windows of {size!r} every {slide!r} have more than {PANES_MAX} parts.",
            hint="Choose a longer slide, or one of which the size is a multiple.",
        )
    return Sliding(size_ms=size_ms, slide_ms=slide_ms, lateness_ms=milliseconds(lateness))


def _with_range(ranges: list[list[int]], first: int, last: int, step: int) -> list[list[int]]:
    """`ranges` of numbers, `step` apart, in order, and those from `first` to `last`."""
    if ranges and ranges[-1][0] <= first and last <= ranges[-1][1]:
        return ranges
    made = []
    for start, end in ranges:
        if end + step < first or last + step < start:
            made.append([start, end])
        else:
            first, last = min(first, start), max(last, end)
    return sorted([*made, [first, last]])


def _without_first(ranges: list[list[int]], step: int) -> list[list[int]]:
    start, end = ranges[0]
    return [[start + step, end], *ranges[1:]] if start < end else ranges[1:]
