"""Event-time windows as compositions of `PerKey`: what all kinds of windows share, and tumbling windows.

How this works: every kind emits a window when the watermark passes its end. What was added stays until `lateness` has
passed as well: an event that arrives in that time changes the result, which is emitted again once per batch (a table
filled from it replaces the row). An event is late when the end of the last window it belongs to, plus the lateness, is
not after the watermark. The `forget` timer does not fire when idle: only the watermark, which only events move, deletes
a window, so that an idle or stalled source never makes an event late.

The key of the step for tumbling windows is [the event's key, the start of its window]: each has a cell of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from headwater.errors import JobInvalid
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.operators import aggregates
from headwater.jobs.operators.accumulation import Accumulation, changed_window, form_of
from headwater.jobs.operators.aggregates import Aggregate
from headwater.jobs.rows import KeyRows
from headwater.jobs.steps import Context, Element, PerKey, Timer, Transition
from headwater.schemas.json_value import identity
from headwater.times import utc_text

FIRE, FORGET = "fire", "forget"
# Times before 1970 are negative; shifted they sort as text.
_SHIFT = 2**63
# Of what `time_name` makes.
TIME_CHARS = 16


class Window:
    """The result of one window: `key`, `start` and `end` (ISO, end excluded), and each aggregate by its name."""

    __slots__ = ("end_ms", "key", "start_ms", "values")

    def __init__(self, key: Any, start_ms: int, end_ms: int, values: Mapping[str, Any]) -> None:
        # JSON has no tuples; a key that was a tuple is one again.
        self.key = tuple(key) if isinstance(key, list) else key
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.values = values

    @property
    def start(self) -> str:
        return utc_text(self.start_ms)

    @property
    def end(self) -> str:
        return utc_text(self.end_ms)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(f"the window has no {name!r}, only {', '.join(self.values)}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, `__getattr__` would be asked for the values while there are none yet.
        return Window, (self.key, self.start_ms, self.end_ms, dict(self.values))

    def __repr__(self) -> str:
        return f"Window({self.key!r}, {self.start}, {self.values})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What all kinds of windows share: the aggregates, and how long results stay open to corrections."""

    lateness_ms: int = 0
    aggregates: tuple[Aggregate, ...] = ()
    # Of the values that are kept, once it is a step.
    form: str = ""

    @property
    def typed_paths(self) -> tuple[tuple[str, frozenset[str]], ...]:
        """The fields that are aggregated and accept only some JSON types, with these types."""
        return tuple((one.path, one.takes) for one in self.aggregates if one.path is not None and one.takes)

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields that are aggregated, each once."""
        return tuple(dict.fromkeys(one.path for one in self.aggregates if one.path is not None))

    def count(self, name: str = "count", where: Callable[[Mapping[str, Any]], bool] | None = None) -> Self:
        """The number of events, or of those for which `where` is true."""
        return self._and(aggregates.count(name, where))

    def sum(self, name: str, path: str) -> Self:
        """The sum of the numbers at `path`, rounded once; events without one add nothing."""
        return self._and(aggregates.total(name, path))

    def mean(self, name: str, path: str) -> Self:
        """The mean of the numbers at `path`; None without any."""
        return self._and(aggregates.mean(name, path))

    def min(self, name: str, path: str) -> Self:
        """The smallest value at `path`, or None."""
        return self._and(aggregates.extreme(name, path, min))

    def max(self, name: str, path: str) -> Self:
        """The greatest value at `path`, or None."""
        return self._and(aggregates.extreme(name, path, max))

    def first(self, name: str, path: str) -> Self:
        """The value at `path` of the first event by event time (of several at that time, the smallest), or None."""
        return self._and(aggregates.by_time(name, path, last=False))

    def last(self, name: str, path: str) -> Self:
        """The value at `path` of the last event by event time (of several at that time, the greatest), or None."""
        return self._and(aggregates.by_time(name, path, last=True))

    def collect(self, name: str, path: str, values_max: int = 100) -> Self:
        """The values at `path`, in order of event time: those of the first `values_max` events, at most 1,000."""
        return self._and(aggregates.collect(name, path, values_max))

    def count_distinct(self, name: str, path: str) -> Self:
        """How many different values there were at `path`; exact, so each is kept until the window is deleted."""
        return self._and(aggregates.count_distinct(name, path))

    def top_k(self, name: str, path: str, k: int, values_max: int = 100_000) -> Self:
        """The `k` values at `path` with the most events: `[{"value": …, "count": …}, …]`, the most frequent first.

        Exact, so every value is kept; an event with one more than `values_max` different ones is an error event. Equal
        counts are in order of the values: false, true, numbers, texts by code point, everything else by its JSON.
        """
        return self._and(aggregates.top_k(name, path, k, values_max))

    def percentiles(self, name: str, path: str, quantiles: Sequence[float] = (0.5, 0.95, 0.99)) -> Self:
        """Quantiles of the numbers at `path`, as `{"0.5": …, "0.95": …}`, each within 1 %; None without a number."""
        return self._and(aggregates.percentiles(name, path, quantiles))

    def least(self, name: str, path: str) -> Self:
        """The name of `min` in earlier versions."""
        return self.min(name, path)

    def greatest(self, name: str, path: str) -> Self:
        """The name of `max` in earlier versions."""
        return self.max(name, path)

    def distinct(self, name: str, path: str) -> Self:
        """The name of `count_distinct` in earlier versions."""
        return self.count_distinct(name, path)

    def step(self, name: str, key: Callable[[Any, Context], Any]) -> PerKey:
        """The windows of each key as a step, which emits `Window`s. Raises JobInvalid without an aggregate."""
        raise NotImplementedError

    def _formed(self, *shape: str | int) -> Self:
        """The window with the form of its values. Raises JobInvalid without an aggregate."""
        if not self.aggregates:
            raise JobInvalid("A window without an aggregate has no result.", hint="Add .count(), or another one.")
        return dataclasses.replace(self, form=form_of(" ".join(map(str, shape)), self.aggregates))

    def _and(self, added: Aggregate) -> Self:
        name = added.name
        if not isinstance(name, str) or not name:
            raise JobInvalid(f"An aggregate cannot be called {name!r}: the window gives it by that name.")
        if name in ("key", "start", "end", "start_ms", "end_ms", "values") or any(
            name == aggregate.name for aggregate in self.aggregates
        ):
            raise JobInvalid(f"An aggregate cannot be called {name!r}: the window has that already.")
        return dataclasses.replace(self, aggregates=(*self.aggregates, added))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tumbling(Windows):
    """Adjacent windows of equal size, aligned to the epoch. Add aggregates, and pass it to a job as `window=`."""

    size_ms: int

    def step(self, name: str, key: Callable[[Any, Context], Any]) -> PerKey:
        """The windows of each key as a step, which emits `Window`s. Raises JobInvalid without an aggregate."""
        formed = self._formed("tumbling", self.size_ms)
        size_ms = self.size_ms

        def key_of(event: Any, context: Context) -> Any:
            return [key(event, context), context.event_time_ms - context.event_time_ms % size_ms]

        keeps_rows = any(aggregate.entry is not None for aggregate in self.aggregates)
        return PerKey(name, key_of, formed._add, formed._on_timer, keeps_rows=keeps_rows)

    def _add(self, state: Any, event: Any, context: Context) -> Transition:
        end = context.key[1] + self.size_ms
        if end + self.lateness_ms <= context.watermark_ms:
            return Transition(state, late=[event], timers=None)
        if state is None:
            state = {"fired": 0, "values": None}
        kept = Accumulation(self.aggregates, rows_of(context), values=state["values"], form=self.form)
        kept.add(event, context.event_time_ms)
        state["values"] = kept.values
        # The name counts the firings, so that each result of a window has an id of its own.
        timers = {f"{FIRE}{state['fired']}": Timer(end), FORGET: Timer(end + self.lateness_ms, fires_when_idle=False)}
        return Transition(state, timers=timers)

    def _on_timer(self, state: Any, timer: str, context: Context) -> Transition:
        rows = rows_of(context)
        if type(state) is not dict:
            raise changed_window()
        if timer == FORGET:
            if rows is not None:
                rows.clear()
            return Transition(None, timers={})
        key, start = context.key
        state["fired"] += 1
        results = Accumulation(self.aggregates, rows, values=state["values"], form=self.form).results()
        return Transition(state, events=[Window(key, start, start + self.size_ms, results)])


def tumbling(size: Duration, *, lateness: Duration = 0) -> Tumbling:
    """Windows of `size` (seconds, or text like "1m"); results stay open to corrections for `lateness` after the end."""
    return Tumbling(size_ms=size_of(size, "A window"), lateness_ms=milliseconds(lateness))


def size_of(duration: Duration, what: str) -> int:
    """A duration in milliseconds, at least one. Raises JobInvalid."""
    size_ms = milliseconds(duration)
    if size_ms <= 0:
        raise JobInvalid(f"{what} of {duration!r} is too small.")
    return size_ms


def rows_of(context: Context) -> KeyRows | None:
    """The rows of the context's key; None for a step that keeps none."""
    return cast("KeyRows | None", context.rows)


def window_element(step: str, window: Window, fired: int) -> Element:
    """A window as it is passed on; its id counts the firings, so that each result of a window has an id of its own."""
    key = identity(list(window.key) if isinstance(window.key, tuple) else window.key).decode()
    return Element(window, window.end_ms, f"{step}/{key}/{FIRE}{fired}/{window.end_ms}/0")


def time_name(at_ms: int) -> str:
    """A time as text that sorts like it, for names of rows."""
    return f"{at_ms + _SHIFT:016x}"


def time_of(name: str) -> int:
    """The time that `time_name` made this text of."""
    return int(name, 16) - _SHIFT
