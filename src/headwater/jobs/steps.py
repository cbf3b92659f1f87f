"""What a job is made of: the primitives `Each` and `PerKey`, and how one event or timer is folded through them.

How this works: a step is data with plain functions in it; the functions here apply it to one item at a time and add the
output to `Results`. They use no clock, no log and no runner, so that every runner gets the same results. `PerKey`
keeps, per key, a JSON value and named timers. Its functions get them with each event or due timer and return a
`Transition`: the new state, the events to pass on, the new timers. Changes of the state by a failing function are
discarded, because it is given a copy. Windows are functions on top of `PerKey`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from headwater.errors import JobInvalid
from headwater.event import decode_json, decode_kept, encode_kept
from headwater.foreign import contain
from headwater.schemas.json_value import identity

# Before the first event nothing is late and no timer is due.
NO_WATERMARK = -(2**62)
TIMER_MS_MAX = 2**62


class _Timer(NamedTuple):
    at_ms: int
    fires_when_idle: bool = True


class Timer(_Timer):
    """When to be called again, in event time. Called when the watermark passes `at_ms`.

    When no more events arrive (an idle source, the end of the input), a timer fires by the wall clock, unless
    `fires_when_idle` is false: a job must not delete state while idle that a later event could need. `strict`, its
    opposite, is the name of it in earlier versions.
    """

    __slots__ = ()

    def __new__(cls, at_ms: int, *, fires_when_idle: bool = True, strict: bool | None = None) -> Self:
        return super().__new__(cls, at_ms, fires_when_idle if strict is None else not strict)


@dataclass(frozen=True, slots=True)
class Transition:
    """What a keyed function returns. State None deletes the key's state; `timers` None keeps them unchanged."""

    state: Any = None
    events: Iterable[Any] = ()
    timers: Mapping[str, Timer] | None = None
    # Events that arrived after the state for them was deleted: counted, and sent to the job's late stream.
    late: Iterable[Any] = ()


@dataclass(slots=True)
class Context:
    """What a step's function gets in addition to the event; times are epoch milliseconds of event time."""

    event_time_ms: int
    watermark_ms: int = NO_WATERMARK
    stream: str | None = None
    key: Any = None
    state: Any = None
    timers: Mapping[str, Timer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Each:
    """Event → events. The function returns an event, several, or None."""

    name: str
    apply: Callable[[Any, Context], Any]


@dataclass(frozen=True, slots=True)
class PerKey:
    """Key; state and event (or timer) → new state, events, timers. Keys and states are JSON values."""

    name: str
    key: Callable[[Any, Context], Any]
    on_event: Callable[[Any, Any, Context], Transition]
    on_timer: Callable[[Any, str, Context], Transition] | None = None


Step = Each | PerKey


@dataclass(frozen=True, slots=True)
class Element:
    """One event between two steps. `lineage_id` identifies its origin: ids of derived events are computed from it."""

    value: Any
    event_time_ms: int
    lineage_id: str
    stream: str | None = None
    # The event that was read, as bytes and decoded; None for the output of a timer.
    raw: bytes | None = None
    source: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A function failed on this item, or the Gate refused it."""

    item: Element
    step: str
    error: BaseException


@dataclass(slots=True)
class Results:
    """The output of a step."""

    items: list[Element] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    late: list[Element] = field(default_factory=list)


class KeyEntry(NamedTuple):
    """The state and timers of one key."""

    state: Any = None
    timers: Mapping[str, Timer] = {}

    def encode(self) -> bytes | None:
        """As bytes, or None if there is nothing to keep. Raises JobInvalid for an invalid timer."""
        if self.state is None and not self.timers:
            return None
        timers = {}
        # Called for each event with a timer, so it avoids calls.
        for name, (at_ms, fires_when_idle) in self.timers.items():
            if type(at_ms) is not int or not -TIMER_MS_MAX <= at_ms <= TIMER_MS_MAX or "\0" in name:
                raise JobInvalid(f"The timer {name!r} is at {at_ms!r}, which is not a time in whole milliseconds.")
            # The stored flag has the opposite meaning: it is older than the name.
            timers[name] = [at_ms, not fires_when_idle]
        return encode_kept({"s": self.state, "t": timers})

    @classmethod
    def decode(cls, encoded: bytes | None) -> KeyEntry:
        if encoded is None:
            return cls()
        value = decode_kept(encoded)
        return cls(value["s"], {name: Timer(at, strict=strict) for name, (at, strict) in value["t"].items()})


def apply_each(step: Each, item: Element, watermark_ms: int, results: Results) -> None:
    """Apply `step` to one item."""
    context = Context(item.event_time_ms, watermark_ms, item.stream)
    try:
        made = _several(step.apply(item.value, context))
    except BaseException as error:  # the job's code: anything it raises becomes an error event
        contain(error)
        results.failures.append(Failure(item, step.name, error))
        return
    results.items.extend(_derived(item, made))


def key_of(step: PerKey, item: Element, watermark_ms: int, results: Results) -> bytes | None:
    """The item's key, encoded in a canonical form; None if the function fails or returns something that is not JSON."""
    try:
        return identity(step.key(item.value, Context(item.event_time_ms, watermark_ms, item.stream)))
    except BaseException as error:
        contain(error)
        results.failures.append(Failure(item, step.name, error))
        return None


def apply_event(
    step: PerKey, key: bytes, item: Element, before: bytes | None, *, watermark_ms: int, results: Results
) -> bytes | None:
    """Apply `step`, whose cell for `key` is `before`, to one item; the cell afterwards."""
    try:
        cell = KeyEntry.decode(before)
        context = Context(item.event_time_ms, watermark_ms, item.stream, decode_json(key), cell.state, cell.timers)
        transition = step.on_event(cell.state, item.value, context)
        after, made, late = _settle(transition, cell)
    except BaseException as error:
        contain(error)
        results.failures.append(Failure(item, step.name, error))
        return before
    results.items.extend(_derived(item, made))
    results.late.extend(_derived(item, late))
    return after


def apply_timer(
    step: PerKey, key: bytes, name: str, at_ms: int, before: bytes | None, *, watermark_ms: int, results: Results
) -> bytes | None:
    """Fire the timer `name` of `key` that was set to `at_ms`; the cell afterwards. Does nothing if it was set again."""
    cell = KeyEntry.decode(before)
    timer = cell.timers.get(name)
    if timer is None or timer.at_ms != at_ms:
        return before
    left = {other: at for other, at in cell.timers.items() if other != name}
    lineage_id = f"{step.name}/{key.decode()}/{name}/{timer.at_ms}"
    item = Element(None, timer.at_ms, lineage_id)
    if step.on_timer is None:
        return KeyEntry(cell.state, left).encode()
    try:
        context = Context(timer.at_ms, watermark_ms, None, decode_json(key), cell.state, left)
        transition = step.on_timer(cell.state, name, context)
        after, made, late = _settle(transition, KeyEntry(cell.state, left))
    except BaseException as error:  # the timer is deleted, the state is kept
        contain(error)
        results.failures.append(Failure(item, step.name, error))
        return KeyEntry(KeyEntry.decode(before).state, left).encode()
    results.items.extend(_derived(item, made))
    results.late.extend(_derived(item, late))
    return after


def _settle(transition: Transition, cell: KeyEntry) -> tuple[bytes | None, list[Any], list[Any]]:
    """The cell after a transition, and its events; everything that can fail happens in here."""
    if not isinstance(transition, Transition):
        raise JobInvalid(f"A keyed function returns a Transition, not {type(transition).__name__}.")
    timers = cell.timers if transition.timers is None else transition.timers
    return KeyEntry(transition.state, timers).encode(), _several(transition.events), _several(transition.late)


def _several(made: Any) -> list[Any]:
    if made is None:
        return []
    if isinstance(made, Mapping | str | bytes) or not isinstance(made, Iterable):
        return [made]
    return list(made)


def _derived(item: Element, made: list[Any]) -> list[Element]:
    return [
        Element(value, item.event_time_ms, f"{item.lineage_id}/{index}", item.stream, item.raw, item.source)
        for index, value in enumerate(made)
    ]
