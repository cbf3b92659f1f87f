"""A part of a job that keeps state: a function of event and context as a `PerKey`, with its timers and its state's age.

How this works: the state is stored as its JSON. If it has a version other than 1 or is deleted after a time, it is
wrapped: `{"$headwater": {"v": VERSION, "at": MS}, "value": JSON}`; without the wrapper its version is 1. `at` is the
event time of the key's latest event. A timer deletes the state when the watermark has passed `at` and the time to live;
a later event that comes before the timer fires finds no state either, so that it does not matter when it fires.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headwater.declaration import nearest
from headwater.errors import JobInvalid
from headwater.jobs.state_type import StateType
from headwater.jobs.steps import Context, PerKey, Timer, Transition

WRAPPER = "$headwater"
TTL_TIMER = "$ttl"
_WRAPPED = {WRAPPER, "value"}


class Kept(NamedTuple):
    """The stored state of a key: a JSON value, its version, and the event time of the key's latest event."""

    value: Any = None
    version: int = 1
    at_ms: int | None = None


@dataclass(slots=True)
class KeyedPart:
    """One function that keeps state. `label`: its own name. `handlers`: the functions of its timers, by name."""

    name: str
    label: str
    key: Callable[[Any, Context], Any]
    function: Callable[[Any, Context], Any]
    state: StateType
    version: int = 1
    migrate: Callable[[Any, int], Any] | None = None
    ttl_ms: int | None = None
    handlers: dict[str, Callable[[Context], Any]] = field(default_factory=dict)

    def step(self) -> PerKey:
        has_timers = self.handlers or self.ttl_ms is not None
        on_event = self._on_event if self.version > 1 or self.ttl_ms is not None else self._on_plain_event
        on_timer = self._on_timer if has_timers else None
        # What only deletes old state emits nothing.
        return PerKey(self.name, self.key, on_event, on_timer, timers_emit=bool(self.handlers))

    def _on_plain_event(self, stored: Any, event: Any, context: Context) -> Transition:
        """As `_on_event` for a state without a wrapper, which most are: it is called for each event."""
        if stored is None:
            context.state = self.state.first()
        elif type(stored) is dict and WRAPPER in stored:
            return self._on_event(stored, event, context)
        else:
            context.state = self.state.decode(stored)
        if type(context.key) is list:
            context.key = tuple(context.key)
        before = context.timers
        made = self.function(event, context)
        if context.timers is not before:
            self._check_timers(context.timers, before)
        state = context.state
        return Transition(None if state is None else self.state.encode(state), () if made is None else made)

    def _on_event(self, stored: Any, event: Any, context: Context) -> Transition:
        kept = self._kept(stored, context)
        context.state = self._read(kept)
        return self._called(self.function, kept, context, event)

    def _on_timer(self, stored: Any, name: str, context: Context) -> Transition:
        if name == TTL_TIMER:
            return self._expired(stored, context)
        handler = self.handlers.get(name)
        if handler is None:
            # One that the function of an earlier version of the job has set.
            return Transition(stored)
        kept = self._kept(stored, context)
        context.state = self._read(kept)
        return self._called(handler, kept, context)

    def _called(self, function: Callable[..., Any], kept: Kept, context: Context, *event: Any) -> Transition:
        given = context.timers
        if isinstance(context.key, list):
            context.key = tuple(context.key)
        if TTL_TIMER in given:
            context.timers = {name: timer for name, timer in given.items() if name != TTL_TIMER}
        before = context.timers
        made = function(*event, context)
        if context.timers is not before:
            self._check_timers(context.timers, before)
        events = () if made is None else made
        after = None if context.state is None else self.state.encode(context.state)
        if after is None or (self.ttl_ms is None and self.version == 1):
            return Transition(after, events, context.timers)
        wrapper: dict[str, Any] = {"v": self.version}
        timers = context.timers
        if self.ttl_ms is not None:
            times = [] if kept.at_ms is None else [kept.at_ms]
            wrapper["at"] = at_ms = max([*times, context.event_time_ms] if event or not times else times)
            # Not moved by each event: when it fires, it is set again if it is too early.
            expiry = given.get(TTL_TIMER) or Timer(at_ms + self.ttl_ms, fires_when_idle=False)
            timers = {**timers, TTL_TIMER: expiry}
        return Transition({WRAPPER: wrapper, "value": after}, events, timers)

    def _check_timers(self, timers: Mapping[str, Timer], before: Mapping[str, Timer]) -> None:
        for name in timers:
            if name not in self.handlers and timers[name] != before.get(name):
                near = nearest(name, self.handlers)
                hint = f"Did you mean {near!r}?" if near else f"Add one: @{self.label}.on_timer({name!r})."
                raise JobInvalid(f"timer({name!r}): no function is called when it is due.", hint=hint)

    def _expired(self, stored: Any, context: Context) -> Transition:
        kept = _unwrapped(stored)
        if self.ttl_ms is None or kept.at_ms is None:
            return Transition(stored)
        expiry_ms = kept.at_ms + self.ttl_ms
        if expiry_ms <= context.event_time_ms:
            return Transition(None)
        return Transition(stored, timers={**context.timers, TTL_TIMER: Timer(expiry_ms, fires_when_idle=False)})

    def _kept(self, stored: Any, context: Context) -> Kept:
        """What is stored; nothing if its time to live is over by the time of this event or timer."""
        kept = _unwrapped(stored)
        is_over = (
            self.ttl_ms is not None and kept.at_ms is not None and context.event_time_ms >= kept.at_ms + self.ttl_ms
        )
        return Kept() if is_over else kept

    def _read(self, kept: Kept) -> Any:
        """The state that `kept` is, of the job's version; the first one if there is none."""
        value = kept.value
        if value is not None and kept.version != self.version:
            if kept.version > self.version or self.migrate is None:
                raise JobInvalid(
                    f"The stored state is of version {kept.version}, and the job's is {self.version}.",
                    hint="An older version of a job cannot read the state of a newer one.",
                )
            value = self.migrate(value, kept.version)
            if type(value) is self.state.kind:
                return value
        return self.state.first() if value is None else self.state.decode(value)


def stored_value(stored: Any) -> Any:
    """The value of a stored state, without its version and time."""
    return _unwrapped(stored).value


def _unwrapped(stored: Any) -> Kept:
    if not isinstance(stored, dict) or stored.keys() != _WRAPPED:
        return Kept(stored)
    wrapper = stored[WRAPPER]
    return Kept(stored["value"], wrapper["v"], wrapper.get("at"))
