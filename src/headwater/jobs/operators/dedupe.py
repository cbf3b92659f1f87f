"""Drops events whose id was seen before, for as long as ids are remembered.

How this works: the step is keyed by the id, not by the job's key: its state is the time at which the id was first seen,
and a timer deletes it. By default both are times of processing, so that a replay of old events is as protected as live
ones. Over history, where the clock of the machine means nothing, event time takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from headwater.errors import JobInvalid
from headwater.event import get_path
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.operators.windows import FORGET
from headwater.jobs.steps import Context, PerKey, Timer, Transition


@dataclass(frozen=True, slots=True)
class Dedupe:
    """Drop events whose value at `path` was seen within `ttl`. Pass it to a job as `dedupe=`.

    `clock`: "processing", or "event" to measure `ttl` between the event times of an id's first event and the others.
    Events without the field are passed on. Dropped events are counted.
    """

    path: str = "meta.id"
    ttl: Duration = "24h"
    clock: Literal["processing", "event"] = "processing"

    def __post_init__(self) -> None:
        """Raises JobInvalid for arguments of a wrong type."""
        if not isinstance(self.path, str) or not all(self.path.split(".")):
            raise JobInvalid(f"Dedupe: `path` is a dotted path, not {self.path!r}.")
        if self.clock not in ("processing", "event"):
            raise JobInvalid(f'Dedupe: `clock` is "processing" or "event", not {self.clock!r}.')
        if milliseconds(self.ttl) == 0:
            raise JobInvalid("Dedupe: `ttl` is 0, so no id would be remembered.")

    def step(self, name: str, key: Callable[[Any, Context], Any] | None = None) -> PerKey:
        """The step that passes on the first event of each id; `key`, the job's, does not matter to it."""
        ttl_ms, path, by_event_time = milliseconds(self.ttl), self.path, self.clock == "event"

        def id_of(event: Any, context: Context) -> Any:
            return get_path(event, path)

        def on_event(state: Any, event: Any, context: Context) -> Transition:
            if context.key is None:
                return Transition(None, [event])
            now_ms = None if by_event_time else context.scope.processing_ms
            at = context.event_time_ms if now_ms is None else now_ms
            if state is not None and abs(at - state) < ttl_ms:
                return Transition(state, dropped="duplicate")
            timer = Timer(at + ttl_ms, fires_when_idle=False, clock="event" if now_ms is None else "wall")
            return Transition(at, [event], {FORGET: timer})

        def on_timer(state: Any, timer: str, context: Context) -> Transition:
            return Transition(None, timers={})

        return PerKey(name, id_of, on_event, on_timer, timers_emit=False)
