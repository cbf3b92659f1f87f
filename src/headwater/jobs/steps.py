"""What a job is made of: the steps `Each`, `Await` and `PerKey`, and what goes through them.

How this works: a step is data with functions in it; `headwater.jobs.apply` applies it to one item at a time. Neither
uses a log, an event loop or a runner, so that every runner gets the same results. `PerKey` keeps, per key, a JSON value
and named timers. Its functions get them with each event or due timer and return a `Transition`: the new state, the
events to pass on, the new timers. Changes of the state by a failing function are discarded, because it is given a copy.
Windows are functions on top of `PerKey`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol, Self

import msgspec

from headwater.errors import JobInvalid
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.ids import derived_id
from headwater.jobs.metrics import JobMetrics
from headwater.jobs.outcomes import Retry
from headwater.jobs.scope import NO_SCOPE, Scope

# Before the first event nothing is late and no timer is due.
NO_WATERMARK = -(2**62)
TIMER_MS_MAX = 2**62


class _Timer(NamedTuple):
    at_ms: int
    fires_when_idle: bool = True
    clock: Literal["event", "wall"] = "event"


class Timer(_Timer):
    """When to be called again. Called when the watermark passes `at_ms` or, with `clock="wall"`, when that time comes.

    When no more events arrive (an idle source, the end of the input), a timer in event time fires by the wall clock,
    unless `fires_when_idle` is false: a job must not delete state while idle that a later event could need. `strict`,
    its opposite, is the name of it in earlier versions. A wall timer fires by the wall clock alone, not at the end of
    the input.
    """

    __slots__ = ()

    def __new__(
        cls,
        at_ms: int,
        *,
        fires_when_idle: bool = True,
        strict: bool | None = None,
        clock: Literal["event", "wall"] = "event",
    ) -> Self:
        return super().__new__(cls, at_ms, fires_when_idle if strict is None else not strict, clock)


class _NoTimers(Mapping[str, Timer]):
    """The timers where there is no key."""

    __hash__ = object.__hash__

    def __getitem__(self, name: str) -> Timer:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


NO_TIMERS = _NoTimers()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# A struct, as a dataclass takes three times as long to make, and each keyed event has one.
class Transition(msgspec.Struct):
    """What a keyed function returns. State None deletes the key's state.

    `timers` None keeps those of the context, with what `context.timer` and `context.cancel` changed.
    """

    state: Any = None
    events: Iterable[Any] = ()
    timers: Mapping[str, Timer] | None = None
    # Events that arrived after the state for them was deleted: counted, and sent to the job's late stream.
    late: Iterable[Any] = ()
    # Why the event was dropped, if it was: counted by that word.
    dropped: str | None = None


class Context(msgspec.Struct):
    """What a step's function gets in addition to the event; times are epoch milliseconds of event time.

    `scope` is what all contexts of a run share. `attempt` counts the calls for this event, from 1. `rows`, for a step
    that keeps rows: a mutable mapping of text to JSON values of this key, in order of the text.
    """

    event_time_ms: int
    watermark_ms: int = NO_WATERMARK
    stream: str | None = None
    key: Any = None
    state: Any = None
    timers: Mapping[str, Timer] = NO_TIMERS
    scope: Scope = NO_SCOPE
    lineage_id: str = ""
    attempt: int = 1
    rows: MutableMapping[str, Any] | None = None
    # What `emit` was given, as (stream, event).
    emitted: list[tuple[str, Any]] | None = None

    @property
    def event_time(self) -> datetime:
        """The event time in UTC. Raises OverflowError for a year that `datetime` does not have."""
        return _EPOCH + timedelta(milliseconds=self.event_time_ms)

    @property
    def age(self) -> float:
        """Seconds since the event time by the runner's clock; 0 over history."""
        return self.scope.age_ms(self.event_time_ms) / 1000

    @property
    def idempotency_key(self) -> str:
        """An id of this event in this job, the same in each attempt and whenever the event is processed again."""
        return derived_id(self.scope.job, "", self.lineage_id)

    @property
    def log(self) -> logging.Logger:
        """The logger `headwater.job.NAME`."""
        return self.scope.log

    @property
    def metrics(self) -> JobMetrics:
        """Counters, gauges and histograms by name. Raises JobInvalid where there are none."""
        return self.scope.metrics

    @property
    def http(self) -> Any:
        """The HTTP client of the runner, for an async function. Raises JobInvalid where there is none."""
        return self.scope.http

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the job, with what the project changes of them."""
        return self.scope.settings

    def table(self, name: str) -> Any:
        """The materialized table of this name: `.get(key)` is the last committed row, or None. Raises JobInvalid where
        there is no such table.
        """
        return self.scope.table(name)

    def emit(self, event: Any, to: str) -> None:
        """Write `event` to another output of the job; steps after this one do not get it.

        `to` is one of the job's `outputs`, with or without its version. A failing function emits nothing. Raises
        JobInvalid for a stream that is not declared.
        """
        stream = self.scope.output_stream(to)
        if self.emitted is None:
            self.emitted = []
        # The function may go on to change the event.
        self.emitted.append((stream, copy.deepcopy(event)))

    def side(self, stream: str, event: Any) -> None:
        """`emit` with the stream first."""
        self.emit(event, stream)

    def timer(
        self,
        name: str,
        *,
        after: Duration | None = None,
        at_ms: int | None = None,
        fires_when_idle: bool = True,
        clock: Literal["event", "wall"] = "event",
    ) -> None:
        """Set the timer `name` of this key, or set it again: `after` the event time, or at a time in milliseconds.

        With `clock="wall"` it is `after` the present, and fires by the clock of the runner; over history, where that
        means nothing, event time takes its place. Raises JobInvalid in a function that has no key, and for what is not
        a time.
        """
        if (after is None) == (at_ms is None):
            raise JobInvalid(f"timer({name!r}): give either `after`, a duration, or `at_ms`, a time.")
        if clock not in ("event", "wall"):
            raise JobInvalid(f'timer({name!r}): `clock` is "event" or "wall", not {clock!r}.')
        timers = self._timers_of_key("timer", name)
        now_ms = self.scope.processing_ms if clock == "wall" else None
        start_ms = self.event_time_ms if now_ms is None else now_ms
        at = at_ms if after is None else start_ms + milliseconds(after)
        if type(at) is not int or not -TIMER_MS_MAX <= at <= TIMER_MS_MAX:
            raise JobInvalid(f"timer({name!r}): {at!r} is not a time in whole milliseconds.")
        of = "event" if now_ms is None else clock
        self.timers = {**timers, name: Timer(at, fires_when_idle=fires_when_idle, clock=of)}

    def cancel(self, name: str) -> None:
        """Delete the timer `name` of this key, if it is set. Raises JobInvalid in a function that has no key."""
        timers = self._timers_of_key("cancel", name)
        self.timers = {other: timer for other, timer in timers.items() if other != name}

    def _timers_of_key(self, verb: str, name: Any) -> Mapping[str, Timer]:
        if not isinstance(name, str) or not name or "\0" in name:
            raise JobInvalid(f"{verb}({name!r}): the name of a timer is text.")
        if self.timers is NO_TIMERS:
            raise JobInvalid(
                f"{verb}({name!r}): timers belong to a key, and this function is not called for one.",
                hint="Give the job key= and state=, or set the timer in a part added by .then(state=…, key=…).",
            )
        return self.timers


@dataclass(frozen=True, slots=True)
class Each:
    """Event → events. The function returns an event, several, or None."""

    name: str
    apply: Callable[[Any, Context], Any]


@dataclass(frozen=True, slots=True)
class Await:
    """Event → events, by an async function that may wait for another service. Allowed only before the first PerKey.

    Up to `concurrency` calls wait at a time. Events of one `key` are called one after the other; None: of all events,
    none waits for another. The results are passed on in the order of the events. A call that takes longer than
    `timeout_ms` fails with TimeoutError. `retry` says which failures are retried; None: none is.
    """

    name: str
    call: Callable[[Any, Context], Awaitable[Any]]
    concurrency: int = 64
    retry: Retry | None = field(default_factory=Retry)
    timeout_ms: int = 30_000
    key: Callable[[Any, Context], Any] | None = None


@dataclass(frozen=True, slots=True)
class PerKey:
    """Key; state and event (or timer) → new state, events, timers. Keys and states are JSON values.

    `keeps_rows`: the functions also get `context.rows`, JSON values by text, which are stored one by one: for a list or
    a set that would otherwise be written whole for each event. `delay_ms`: for how long in event time the step may hold
    an event: for the steps after it the watermark is that much earlier. An `Element` among the events of a Transition
    is passed on as it is, with its own time, stream and id. `timers_emit`: whether `on_timer` passes on events.
    """

    name: str
    key: Callable[[Any, Context], Any]
    on_event: Callable[[Any, Any, Context], Transition]
    on_timer: Callable[[Any, str, Context], Transition] | None = None
    keeps_rows: bool = False
    delay_ms: int = 0
    timers_emit: bool = True


Step = Each | Await | PerKey


class ReadRecord(Protocol):
    """The record of an event that was read, as the log has it; `timestamp_ms` is the time of receipt."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def timestamp_ms(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...

    @property
    def value(self) -> bytes: ...


# A struct, as a dataclass takes three times as long to make, and each event has several.
class Element(msgspec.Struct, gc=False):
    """One event between two steps, never changed. `lineage_id` identifies its origin, which ids are derived from."""

    value: Any
    event_time_ms: int
    lineage_id: str
    stream: str | None = None
    # The event that was read, as it is in the log and decoded; None for the output of a timer.
    record: ReadRecord | None = None
    source: Mapping[str, Any] | None = None
    # The declared output that it was emitted to; None: it goes to the next step, and then to the job's output.
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A function failed on this item, or the Gate refused it. `key`: of the step's state, encoded, if it has one.

    `attempts`: how often it was tried before it was given up.
    """

    item: Element
    step: str
    error: BaseException
    key: bytes | None = None
    attempts: int = 1


class Results(msgspec.Struct, gc=False):
    """The output of a step. `emitted`: for the declared outputs that they name, past the steps that follow."""

    items: list[Element] = []
    emitted: list[Element] = []
    failures: list[Failure] = []
    late: list[Element] = []
    # What was dropped, and why.
    dropped: list[tuple[str, Element]] = []
    # Events that failed before and are processed again, with the step that each continues with.
    resumed: list[tuple[str, Element]] = []
    # How many events are processed again, those that start with the first step included.
    redriven: int = 0
