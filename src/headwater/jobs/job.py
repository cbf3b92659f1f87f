"""A job as data: which streams it reads, the steps events go through, and the stream or table it fills.

`@job(...)` makes one from a function, `table(...)` one that fills a table; both only describe, a runner runs them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Never, Required, TypedDict, Unpack, assert_never, cast, get_args

from headwater.connectors.contract import Column, ColumnType, TableShape
from headwater.connectors.spec import ConfiguredSink
from headwater.errors import JobInvalid
from headwater.event import get_path
from headwater.jobs.arguments import Arguments, is_texts, shown
from headwater.jobs.durations import Duration
from headwater.jobs.lineage import Writes
from headwater.jobs.operators.windows import Windows
from headwater.jobs.outcomes import Retry
from headwater.jobs.place import Place, calling_place
from headwater.jobs.scope import Offered, Scope
from headwater.jobs.steps import Await, Context, Each, PerKey, Step, Transition

_JOB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")

# By event time, where nothing is late, or as it is in the files, where an event may be late.
HistoryOrder = Literal["event-time", "arrival"]

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
    """The table a job fills; in the project's database of tables, or where `sink` says."""

    shape: TableShape
    sink: ConfiguredSink | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Source streams → steps → a stream or a table.

    `outputs`: the streams that its functions `emit` to, besides. `settings`: name → value, for `context.settings`.
    `out_of_order_ms`: how much older than the newest event of its partition an event may be and still be on time.
    `idle_ms`: after this time without events, timers fire by the wall clock. `history_order`: how a run over files
    takes its input unless it is asked for another order.
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
    # Dotted paths of the sources' events without which it has no key, or nothing to add up.
    fields_read: tuple[str, ...] = ()
    # Those of them of which only some JSON types can be added up, with these.
    fields_added_up: tuple[tuple[str, frozenset[str]], ...] = ()
    # Where it is defined; by default, where it was made.
    place: Place | None = dataclasses.field(default=None, compare=False)
    # The directory of its project, if that is known.
    project: Path | None = dataclasses.field(default=None, compare=False)
    outputs: tuple[ToStream, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    history_order: HistoryOrder = "event-time"

    def __post_init__(self) -> None:
        """Raises JobInvalid for a job that no runner could run."""
        if self.place is None:
            object.__setattr__(self, "place", calling_place())
        if not isinstance(self.name, str) or not _JOB_NAME.fullmatch(self.name):
            raise self.invalid(f"{self.name!r} cannot name a job.", hint="Use letters, digits, '_', '-' and '.'.")
        if not is_texts(self.sources) or not self.sources:
            raise self.invalid(f"The job {self.name} reads {shown(self.sources)}: `sources` is a tuple of streams.")
        if wrong := [step for step in self.steps if not isinstance(step, Step)]:
            raise self.invalid(
                f"The job {self.name} has {shown(wrong[0])} as a step: a step is an Each, an Await or a PerKey."
            )
        if not isinstance(self.output, ToStream | ToTable | None):
            raise self.invalid(f"The job {self.name} writes {shown(self.output)}: `output` is a ToStream or a ToTable.")
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise self.invalid(f"The job {self.name} has two steps of one name: {', '.join(names)}.")
        _check_awaits(self)
        _check_outputs(self)
        for written in self.writes().results:
            if written in self.sources:
                raise self.invalid(f"The job {self.name} reads the stream it writes, {written}.")

    def reads(self) -> tuple[str, ...]:
        """The streams whose events it is given, each once."""
        return tuple(dict.fromkeys(self.sources))

    def writes(self) -> Writes:
        """The streams and the table it writes; the only source of this."""
        emitted = tuple(one.stream for one in self.outputs)
        match self.output:
            case ToStream(stream):
                return Writes(self.error_stream, output=stream, late=self.late_stream, emitted=emitted)
            case ToTable(shape, sink):
                return Writes(self.error_stream, table=shape, sink=sink, late=self.late_stream, emitted=emitted)
            case None:
                return Writes(self.error_stream, late=self.late_stream, emitted=emitted)
            case _:
                assert_never(self.output)

    def output_version(self, stream: str) -> str | None:
        """The version that it pins the schema of one of its outputs to; None: the newest."""
        match self.output:
            case ToStream(name, version) if name == stream:
                return version
            case ToStream() | ToTable() | None:
                return next((one.version for one in self.outputs if one.stream == stream), None)
            case _:
                assert_never(self.output)

    @property
    def emits(self) -> Mapping[str, str]:
        """What `context.emit` accepts as `to`, with the stream that it means: each output, also with its version."""
        named = {one.stream: one.stream for one in self.outputs}
        return named | {f"{one.stream}:{one.version}": one.stream for one in self.outputs if one.version}

    def scope(self, clock: Callable[[], float] | None, **offered: Unpack[Offered]) -> Scope:
        """The scope of a run by a runner with this clock, in epoch seconds, which offers these things.

        None as clock: no event has an age, as over history.
        """
        return Scope(self.name, clock=clock, outputs=self.emits, settings=self.settings, **offered)

    @property
    def awaits(self) -> bool:
        """Whether any of its steps waits for other services."""
        for step in self.steps:
            match step:
                case Await():
                    return True
                case Each() | PerKey():
                    pass
                case _:
                    assert_never(step)
        return False

    @property
    def label(self) -> str:
        """Its name and place, as in messages: `page_edits (jobs/edits.py:12)`."""
        return self.name if self.place is None else f"{self.name} ({self.place})"

    def invalid(self, message: str, *, hint: str | None = None) -> JobInvalid:
        """An error about this job, at its place."""
        file, line = self.place or (None, None)
        return JobInvalid(message, file=file, line=line, hint=hint)

    @property
    def error_stream(self) -> str:
        """The stream of the events that the job could not process."""
        return f"{self.name}.error"

    @property
    def group(self) -> str:
        """The group of the job's position in the log."""
        return f"job.{self.name}"

    @property
    def keeps_state(self) -> bool:
        """Whether it keeps anything but its position."""
        return bool(self.keyed_steps) or self.parks

    @property
    def parks(self) -> bool:
        """Whether any of its steps parks events for a later retry."""
        for step in self.steps:
            match step:
                case Await(retry=Retry(park_ms=parks)):
                    if parks:
                        return True
                case Each() | PerKey() | Await():
                    pass
                case _:
                    assert_never(step)
        return False

    @property
    def has_timers(self) -> bool:
        """Whether any of its steps sets timers, as windows do."""
        return any(step.on_timer is not None for step in self.keyed_steps)

    @property
    def keyed_steps(self) -> tuple[PerKey, ...]:
        """The steps that keep state for each key, in order."""
        keyed = []
        for step in self.steps:
            match step:
                case PerKey():
                    keyed.append(step)
                case Each() | Await():
                    pass
                case _:
                    assert_never(step)
        return tuple(keyed)


def _check_awaits(job: Job) -> None:
    keyed: str | None = None
    for step in job.steps:
        match step:
            case PerKey(name):
                keyed = name
            case Await(name) if keyed is not None:
                raise job.invalid(
                    f"The job {job.name} awaits, in its step {name}, after it keeps state, in {keyed}: calls must"
                    " come first.",
                    hint="Make two jobs of it: the first writes a stream, which the second, that awaits, reads.",
                )
            case Await() | Each():
                pass
            case _:
                assert_never(step)


def _check_outputs(job: Job) -> None:
    if not isinstance(job.outputs, tuple) or not {type(one) for one in job.outputs} <= {ToStream}:
        raise job.invalid(f"The job {job.name}: `outputs` is a tuple of ToStream, not {shown(job.outputs)}.")
    names = [one.stream for one in job.outputs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise job.invalid(f"The job {job.name} has two outputs for the stream {twice[0]}.")
    if (main := job.writes().output) in names:
        raise job.invalid(
            f"The job {job.name} has {main} as its output twice.",
            hint="What the function returns goes there; `outputs` are the others, for context.emit(event, to=…).",
        )


class JobSettings(TypedDict, total=False):
    """What `@job` takes."""

    source: Required[str | Sequence[str]]
    sink: str | None
    key: Key | None
    where: Callable[[Any], bool] | None
    window: Windows | None
    state: Callable[[], Any] | None
    name: str | None
    late: str | None
    out_of_order: Duration
    idle: Duration
    canaries: bool
    history: HistoryOrder


class TableSettings(TypedDict, total=False):
    """What `table` takes besides the name."""

    source: Required[str | Sequence[str]]
    columns: Required[Mapping[str, str | tuple[str, str]]]
    key: str | Sequence[str]
    where: Callable[[Any], bool] | None
    order: str
    version: str


def job(*positional: Never, **settings: Unpack[JobSettings]) -> Callable[[Callable[[Any, Context], Any]], Job]:
    """Make a job of a function `(event, context) -> event | events | None`.

    With `window` the function gets each `Window` instead of the events. With `state` (a dataclass, or something like
    `dict` or `int` whose call gives the first value) `context.state` holds the key's state; assign None to forget it.
    Raises JobInvalid, with the line, for an argument that is unknown or of a wrong type.
    """
    asked = Arguments("@job", settings, JobSettings.__annotations__, calling_place())
    if positional:
        raise asked.refused("", "all arguments have names.", 'Write @job(source="stream", …).')
    sources, sink = asked.streams("source"), asked.sink("sink")
    key, steps = _key_function(asked), _steps_before(asked)
    state = asked.function("state")
    if (state or asked.value("window") is not None) and key is None:
        name = "window" if state is None else "state"
        raise asked.refused(name, "something is kept per key, but the job has no key.", 'Add key="field".')
    described = Job(
        asked.text("name") or "function",
        sources,
        output=None if sink is None else ToStream(*sink),
        out_of_order_ms=asked.duration_ms("out_of_order", 0),
        idle_ms=asked.duration_ms("idle", 10),
        canaries=asked.flag("canaries", default=False),
        late_stream=asked.text("late"),
        fields_read=(*(asked.paths("key") or ()), *(asked.value("window").paths if asked.value("window") else ())),
        fields_added_up=asked.value("window").typed_paths if asked.value("window") else (),
        place=asked.place,
        history_order=asked.choice("history", get_args(HistoryOrder)),
    )

    def made(function: Callable[[Any, Context], Any]) -> Job:
        asked.function("function", "window" if asked.value("window") else "event", "context", value=function)
        last = Each("function", function) if state is None or key is None else _stateful(function, key, state)
        return dataclasses.replace(
            described,
            name=asked.text("name") or str(getattr(function, "__name__", "")),
            steps=(*steps, last),
            summary=(function.__doc__ or "").strip().split("\n")[0],
        )

    return made


def _steps_before(asked: Arguments) -> list[Step]:
    """The filter and the windows."""
    steps: list[Step] = []
    where, window, key = asked.function("where", "event"), asked.value("window"), _key_function(asked)
    if where is not None:
        steps.append(Each("where", _only(where)))
    if window is not None:
        if not isinstance(window, Windows):
            raise asked.wrong("window", "tumbling(…), sliding(…) or session(…)")
        if asked.value("state") is not None:
            raise asked.refused("state", "a job has a window or a state, not both.", "Make two jobs of it.")
        if key is not None:
            steps.append(window.step("window", key))
    return steps


def table(name: str, **settings: Unpack[TableSettings]) -> Job:
    """A job that keeps a table filled from a stream: `columns` gives each column's type, or (type, dotted path).

    Types: text, integer, real, boolean, json. Of events with the same `key` the newest is the row: the one that arrived
    last or, with `version`, a column, the one with the greatest value in it. `order` is the default order of a view,
    such as "edits desc". Raises JobInvalid, with the line, for an invalid argument.
    """
    asked = Arguments(f"table({name!r})", settings, TableSettings.__annotations__, calling_place())
    if not isinstance(name, str):
        raise asked.refused("name", f"a table's name is text, not {shown(name)}.")
    where = asked.function("where", "event")
    key = () if asked.value("key") in ((), []) else asked.paths("key") or ()
    if callable(asked.value("key")):
        raise asked.wrong("key", "the name of a column, or a list of names")
    try:
        shape = TableShape(name, _columns(asked), key, asked.text("order") or "", asked.text("version") or "")
    except JobInvalid as error:
        raise asked.refused("columns", error.detail, error.hint) from None
    return Job(
        name=f"table.{name}",
        sources=asked.streams("source"),
        steps=() if where is None else (Each("where", _only(where)),),
        output=ToTable(shape),
        summary=f"Keeps the table {name} filled.",
        place=asked.place,
    )


def _columns(asked: Arguments) -> tuple[Column, ...]:
    columns = asked.required("columns")
    takes = 'a mapping such as {"title": "text", "user": ("text", "performer.name")}'
    if not isinstance(columns, Mapping):
        raise asked.wrong("columns", takes)
    made = []
    for column, described in columns.items():
        kind, path = (described, column) if isinstance(described, str) else _pair(described)
        if not is_texts([column, kind, path]) or not all(path.split(".")):
            raise asked.wrong("columns", takes)
        made.append(Column(column, cast("ColumnType", kind), path))
    return tuple(made)


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, list | tuple) and len(value) == 2 else (None, None)


def _only(where: Callable[[Any], bool]) -> Callable[[Any, Context], Any]:
    return lambda event, context: event if where(event) else None


def _key_function(asked: Arguments) -> Callable[[Any, Context], Any] | None:
    paths = asked.paths("key")
    if paths is None:
        function = asked.function("key", "event")
        return None if function is None else lambda event, context: function(event)
    if isinstance(asked.value("key"), str):
        path = paths[0]
        return lambda event, context: _present(event, path)
    return lambda event, context: [_present(event, path) for path in paths]


def _present(event: Any, path: str) -> Any:
    value = get_path(event, path)
    if value is None:
        raise JobInvalid(f"{path} is absent, and the job keeps its state by it.")
    return value


def _stateful(
    function: Callable[[Any, Context], Any], key: Callable[[Any, Context], Any], state: Callable[[], Any]
) -> PerKey:
    def on_event(kept: Any, event: Any, context: Context) -> Transition:
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
        return Transition(after, events=[] if made is None else made)

    return PerKey("function", key, on_event)
