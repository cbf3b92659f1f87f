"""A job as data: which streams it reads, the steps events go through, and the stream or table it fills.

`@job(...)` makes one from a function, `table(...)` one that fills a table; both only describe, a runner runs them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, cast

from headwater.connectors.contract import Column, ColumnType, TableShape
from headwater.errors import JobInvalid
from headwater.event import get_path
from headwater.processing.durations import Duration, milliseconds
from headwater.processing.place import Place, calling_place
from headwater.processing.steps import Context, Each, PerKey, Step, Turn
from headwater.processing.windows import Tumbling

_JOB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")

Key = str | Sequence[str] | Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class ToStream:
    """The stream a job writes. `version` pins the schema of its events; None takes the newest of the stream's title."""

    stream: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> ToStream:
        """`stream` or `stream:1.0.0`."""
        stream, _, version = text.partition(":")
        return cls(stream, version or None)


@dataclass(frozen=True, slots=True)
class ToTable:
    """The table a job fills."""

    shape: TableShape


@dataclass(frozen=True, slots=True)
class Job:
    """Source streams → steps → a stream or a table.

    `out_of_order_ms`: how much older than the newest event of its partition an event may be and still be on time.
    `idle_ms`: after so long without events, timers go by the wall clock.
    """

    name: str
    sources: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    output: ToStream | ToTable | None = None
    out_of_order_ms: int = 0
    idle_ms: int = 10_000
    canaries: bool = False
    late_stream: str | None = None
    summary: str = ""
    # Where it is defined; found out where it is not given.
    place: Place | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Raises JobInvalid for what no runner could run."""
        if self.place is None:
            object.__setattr__(self, "place", calling_place())
        if not _JOB_NAME.fullmatch(self.name):
            raise self.invalid(f"{self.name!r} cannot name a job.", hint="Use letters, digits, '_', '-' and '.'.")
        if not self.sources:
            raise self.invalid(f"The job {self.name} reads no stream.")
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise self.invalid(f"The job {self.name} has two steps of one name: {', '.join(names)}.")
        if isinstance(self.output, ToStream) and self.output.stream in self.sources:
            raise self.invalid(f"The job {self.name} reads the stream it writes, {self.output.stream}.")

    @property
    def label(self) -> str:
        """Its name and place, as messages give them: `page_edits (jobs/edits.py:12)`."""
        return self.name if self.place is None else f"{self.name} ({self.place})"

    def invalid(self, message: str, *, hint: str | None = None) -> JobInvalid:
        """An error about this job, at its place."""
        file, line = self.place or (None, None)
        return JobInvalid(message, file=file, line=line, hint=hint)

    @property
    def error_stream(self) -> str:
        """Where events go that the job could not process."""
        return f"{self.name}.error"

    @property
    def group(self) -> str:
        """The name under which the log remembers how far the job is."""
        return f"job.{self.name}"

    @property
    def keeps_state(self) -> bool:
        """Whether it remembers anything but its position."""
        return any(isinstance(step, PerKey) for step in self.steps)


class JobSettings(TypedDict, total=False):
    """What else `@job` takes: see the fields of `Job`."""

    name: str
    late: str
    out_of_order: Duration
    idle: Duration
    canaries: bool


def job(
    *,
    source: str | Sequence[str],
    sink: str | None = None,
    key: Key | None = None,
    where: Callable[[Any], bool] | None = None,
    window: Tumbling | None = None,
    state: Callable[[], Any] | None = None,
    **settings: Unpack[JobSettings],
) -> Callable[[Callable[[Any, Context], Any]], Job]:
    """Make a job of a function `(event, context) -> event | events | None`.

    With `window` the function gets each `Window` instead of the events. With `state` (a dataclass, or something like
    `dict` or `int` whose call gives the first value) `context.state` holds the key's state; assign None to forget it.
    """

    place = calling_place()

    def made(function: Callable[[Any, Context], Any]) -> Job:
        name = settings.get("name", function.__name__)
        steps: list[Step] = []
        if where is not None:
            steps.append(Each("where", _only(where)))
        if (window is not None or state is not None) and key is None:
            raise JobInvalid(f"The job {name} keeps something per key but has no key.", hint='Add key="field".')
        if window is not None:
            steps.append(window.step("window", _key_function(key)))
        if state is not None:
            if window is not None:
                raise JobInvalid(f"The job {name} has both a window and a state; make two jobs of it.")
            steps.append(_stateful(function, _key_function(key), state))
        else:
            steps.append(Each("function", function))
        return Job(
            name=name,
            sources=(source,) if isinstance(source, str) else tuple(source),
            steps=tuple(steps),
            output=None if sink is None else ToStream.parse(sink),
            out_of_order_ms=milliseconds(settings.get("out_of_order", 0)),
            idle_ms=milliseconds(settings.get("idle", 10)),
            canaries=settings.get("canaries", False),
            late_stream=settings.get("late"),
            summary=(function.__doc__ or "").strip().split("\n")[0],
            place=place,
        )

    return made


def table(
    name: str,
    *,
    source: str | Sequence[str],
    columns: Mapping[str, str | tuple[str, str]],
    key: str | Sequence[str] = (),
    where: Callable[[Any], bool] | None = None,
    order: str = "",
) -> Job:
    """A job that keeps a table filled from a stream: `columns` gives each column's type, or (type, dotted path).

    Types: text, integer, real, boolean, json. Of events with the same `key` the newest is the row. `order` is how
    people want to see the table, such as "edits desc".
    """
    made = []
    for column, described in columns.items():
        kind, path = (described, column) if isinstance(described, str) else described
        made.append(Column(column, cast("ColumnType", kind), path))
    shape = TableShape(name, tuple(made), (key,) if isinstance(key, str) else tuple(key), order)
    return Job(
        name=f"table.{name}",
        sources=(source,) if isinstance(source, str) else tuple(source),
        steps=() if where is None else (Each("where", _only(where)),),
        output=ToTable(shape),
        summary=f"Keeps the table {name} filled.",
    )


def _only(where: Callable[[Any], bool]) -> Callable[[Any, Context], Any]:
    return lambda event, context: event if where(event) else None


def _key_function(key: Key | None) -> Callable[[Any, Context], Any]:
    if callable(key):
        function = key
        return lambda event, context: function(event)
    if isinstance(key, str):
        path = key
        return lambda event, context: _present(event, path)
    paths = tuple(key or ())
    return lambda event, context: [_present(event, path) for path in paths]


def _present(event: Any, path: str) -> Any:
    value = get_path(event, path)
    if value is None:
        raise JobInvalid(f"{path} is absent, and the job keeps its state by it.")
    return value


def _stateful(
    function: Callable[[Any, Context], Any], key: Callable[[Any, Context], Any], state: Callable[[], Any]
) -> PerKey:
    def on_event(kept: Any, event: Any, context: Context) -> Turn:
        if kept is None:
            context.state = state()
        elif dataclasses.is_dataclass(state):
            context.state = state(**kept)
        if isinstance(context.key, list):
            context.key = tuple(context.key)
        made = function(event, context)
        after = context.state
        if dataclasses.is_dataclass(after) and not isinstance(after, type):
            after = dataclasses.asdict(after)
        return Turn(after, events=[] if made is None else made)

    return PerKey("function", key, on_event)
