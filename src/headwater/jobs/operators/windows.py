"""Event-time windows as compositions of `PerKey`: count, sum and others, per key and period of time.

How this works: the key of the step is [the event's key, the start of its window], so that each window has a cell of
its own. A timer at the window's end emits the result. The cell stays until `lateness` has passed as well: an event
that arrives in that time changes the result, which is emitted again once per batch (a table filled from it replaces the
row). An event that arrives later is late. The `forget` timer does not fire when idle: only the watermark, which only
events move, deletes a window, so that an idle or stalled source never makes an event late.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import JobInvalid
from headwater.event import get_path
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.steps import Context, PerKey, Timer, Transition
from headwater.schemas.json_value import identity, whole
from headwater.times import utc_text

FORGET = "forget"

# How the JSON of a value starts, and texts that could be such JSON.
_FIRST_OF_JSON = frozenset('-0123456789[{"tfn')
_JSON = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[\[{\"].*", re.DOTALL)


class Window:
    """The result of one window: `key`, `start` and `end` (ISO, end excluded), and each aggregate by its name."""

    __slots__ = ("end_ms", "key", "start_ms", "values")

    def __init__(self, key: Any, start_ms: int, end_ms: int, values: Mapping[str, Any]) -> None:
        self.key = key
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

    def __repr__(self) -> str:
        return f"Window({self.key!r}, {self.start}, {self.values})"


# What can be added up, and what has an order.
_ADDED = frozenset({"integer", "number", "boolean"})
_COMPARED = _ADDED | {"string", "array"}


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One value of a window: the initial JSON value, how an event changes it, and the result made of it."""

    name: str
    initial: Callable[[], Any]
    fold: Callable[[Any, Mapping[str, Any]], Any]
    finish: Callable[[Any], Any]
    # The dotted path of the values it aggregates, if any, and the JSON types that it accepts; empty: all.
    path: str | None = None
    takes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Adjacent windows of equal size, aligned to the epoch. Add aggregates, and pass it to a job as `window=`."""

    size_ms: int
    lateness_ms: int = 0
    aggregates: tuple[Aggregate, ...] = ()

    @property
    def typed_paths(self) -> tuple[tuple[str, frozenset[str]], ...]:
        """The fields that are aggregated and accept only some JSON types, with these types."""
        return tuple((one.path, one.takes) for one in self.aggregates if one.path is not None and one.takes)

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields that are aggregated, each once."""
        return tuple(dict.fromkeys(one.path for one in self.aggregates if one.path is not None))

    def count(self, name: str = "count", where: Callable[[Mapping[str, Any]], bool] | None = None) -> Tumbling:
        """The number of events, or of those for which `where` is true."""
        if where is not None and not callable(where):
            raise JobInvalid(f"The aggregate {name!r} counts events for which `where`, a function of them, holds.")
        return self._and(name, lambda: 0, lambda n, event: n + (where is None or bool(where(event))))

    def sum(self, name: str, path: str) -> Tumbling:
        """The sum of the numbers at `path`; events without one add nothing."""
        return self._and(
            name, lambda: 0, lambda total, event: _added(total, get_path(event, path)), path=path, takes=_ADDED
        )

    def min(self, name: str, path: str) -> Tumbling:
        """The smallest value at `path`, or None."""
        return self._and(
            name,
            lambda: None,
            lambda least, event: _pick(min, least, get_path(event, path)),
            path=path,
            takes=_COMPARED,
        )

    def max(self, name: str, path: str) -> Tumbling:
        """The greatest value at `path`, or None."""
        return self._and(
            name,
            lambda: None,
            lambda most, event: _pick(max, most, get_path(event, path)),
            path=path,
            takes=_COMPARED,
        )

    def count_distinct(self, name: str, path: str) -> Tumbling:
        """How many different values there were at `path`; exact, so each is kept until the window is deleted."""
        return self._and(name, dict, lambda seen, event: _seen(seen, get_path(event, path)), len, path=path)

    def least(self, name: str, path: str) -> Tumbling:
        """The name of `min` in earlier versions."""
        return self.min(name, path)

    def greatest(self, name: str, path: str) -> Tumbling:
        """The name of `max` in earlier versions."""
        return self.max(name, path)

    def distinct(self, name: str, path: str) -> Tumbling:
        """The name of `count_distinct` in earlier versions."""
        return self.count_distinct(name, path)

    def step(self, name: str, key: Callable[[Any, Context], Any]) -> PerKey:
        """The windows of each key as a step, which emits `Window`s."""
        if not self.aggregates:
            raise JobInvalid("A window without an aggregate has no result.", hint="Add .count(), or another one.")

        def key_of(event: Any, context: Context) -> Any:
            return [key(event, context), self._start(context)]

        return PerKey(name, key_of, self._add, self._on_timer)

    def _and(
        self,
        name: str,
        initial: Callable[[], Any],
        fold: Callable[[Any, Mapping[str, Any]], Any],
        finish: Callable[[Any], Any] = lambda value: value,
        *,
        path: str | None = None,
        takes: frozenset[str] = frozenset(),
    ) -> Tumbling:
        if not isinstance(name, str) or not name:
            raise JobInvalid(f"An aggregate cannot be called {name!r}: the window gives it by that name.")
        if name in ("key", "start", "end", "start_ms", "end_ms", "values") or any(
            name == aggregate.name for aggregate in self.aggregates
        ):
            raise JobInvalid(f"An aggregate cannot be called {name!r}: the window has that already.")
        added = Aggregate(name, initial, fold, finish, path, takes)
        return dataclasses.replace(self, aggregates=(*self.aggregates, added))

    def _start(self, context: Context) -> int:
        return context.event_time_ms - context.event_time_ms % self.size_ms

    def _add(self, state: Any, event: Any, context: Context) -> Transition:
        end = context.key[1] + self.size_ms
        if end + self.lateness_ms <= context.watermark_ms:
            return Transition(state, late=[event], timers=None)
        if state is None:
            state = {"fired": 0, "values": [aggregate.initial() for aggregate in self.aggregates]}
        state["values"] = [
            aggregate.fold(value, event) for aggregate, value in zip(self.aggregates, state["values"], strict=True)
        ]
        # The name counts the firings, so that each result of a window has an id of its own.
        timers = {f"fire{state['fired']}": Timer(end), FORGET: Timer(end + self.lateness_ms, fires_when_idle=False)}
        return Transition(state, timers=timers)

    def _on_timer(self, state: Any, timer: str, context: Context) -> Transition:
        if timer == FORGET:
            return Transition(None, timers={})
        key, start = context.key
        state["fired"] += 1
        values = {
            aggregate.name: aggregate.finish(value)
            for aggregate, value in zip(self.aggregates, state["values"], strict=True)
        }
        # JSON has no tuples; a key that was a tuple is one again.
        key = tuple(key) if isinstance(key, list) else key
        return Transition(state, events=[Window(key, start, start + self.size_ms, values)])


def tumbling(size: Duration, *, lateness: Duration = 0) -> Tumbling:
    """Windows of `size` (seconds, or text like "1m"); results stay open to corrections for `lateness` after the end."""
    size_ms = milliseconds(size)
    if size_ms <= 0:
        raise JobInvalid(f"A window of {size!r} is too small.")
    return Tumbling(size_ms, milliseconds(lateness))


def _added(total: float, value: Any) -> float:
    if type(value) is int:
        return total + value
    total += whole(value) or 0
    if not -math.inf < total < math.inf:
        raise OverflowError("the sum is greater than any number JSON has")
    return total


def _pick(choose: Callable[..., Any], kept: Any, value: Any) -> Any:
    value = whole(value)
    if value is None or kept is None:
        return kept if value is None else value
    return choose(kept, value)


def _seen(seen: dict[str, int], value: Any) -> dict[str, int]:
    if value is not None:
        seen[_name(value)] = 1
    return seen


def _name(value: Any) -> str:
    """Text that distinguishes JSON values. Text is unchanged, unless it could be the JSON of another: "1" is not 1."""
    if not isinstance(value, str):
        return identity(value).decode()
    if value[:1] not in _FIRST_OF_JSON or not _JSON.fullmatch(value):
        return value
    return identity(value).decode()
