"""A job as data: which streams it reads, the steps events go through, and the stream or table it fills.

`@job(...)` makes one from a function, `@table(...)` one that keeps a materialized table, `table(...)` one that fills a
table of a database; they only describe, a runner runs them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Never, Unpack, assert_never, get_args

from headwater.connectors.contract import Shape
from headwater.connectors.source_spec import ConfiguredSource
from headwater.connectors.spec import BatchDefaults, ConfiguredSink
from headwater.errors import JobInvalid
from headwater.jobs.arguments import Arguments, is_texts, shown
from headwater.jobs.flink.query import FlinkQuery
from headwater.jobs.keyed_part import KeyedPart
from headwater.jobs.lineage import Writes
from headwater.jobs.outcomes import Retry
from headwater.jobs.parts import BranchSettings, Function, PartPlan, PartSettings, only
from headwater.jobs.place import Place, calling_place
from headwater.jobs.scope import Offered, Scope
from headwater.jobs.steps import Await, Context, Each, PerKey, Step
from headwater.jobs.tables.materialized import MaterializedTable
from headwater.jobs.tables.used import TablesUsed, tables_used

_JOB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")

# By event time, where nothing is late, or as it is in the files, where an event may be late.
HistoryOrder = Literal["event-time", "arrival"]
# What becomes of an event that the job cannot process: it is written to the error stream, the job stops in front of it,
# or it is counted and left out.
OnError = Literal["error_event", "stop", "skip"]
Start = Literal["oldest", "newest"]


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
    """The table a job fills, in the project's database of tables or where `sink` says; or the events for `sink`.

    `batch`: what is written at once; None: what a runner reads at once. `attempts_max`: how often an event is given to
    a target that does not take it, while it takes others.
    """

    shape: Shape
    sink: ConfiguredSink | None = None
    batch: BatchDefaults | None = None
    attempts_max: int = 10


@dataclass(frozen=True, slots=True)
class Job:
    """Source streams → steps → a stream or a table.

    `input`: the connector that it reads instead of streams; it has no steps then, and its outputs are validated as
    events of producers are.
    `outputs`: the streams that its functions `emit` to, besides. `settings`: name → value, for `context.settings`.
    `materialized`: the table that is the state of its last step; such a job has no output. `tables`: the materialized
    tables that it reads, those it declares and those its functions ask the context for.
    `out_of_order_ms`: how much older than the newest event of its partition an event may be and still be on time.
    `idle_ms`: after this time without events, timers fire by the wall clock; None: they never do. `history_order`: how
    a run over files takes its input unless it is asked for another order. `on_error`: what becomes of an event that it
    cannot process. `start`: where it begins in its sources if it has no position yet.
    """

    name: str
    sources: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    output: ToStream | ToTable | None = None
    out_of_order_ms: int = 0
    idle_ms: int | None = 10_000
    canaries: bool = False
    late_stream: str | None = None
    summary: str = ""
    # Dotted paths of the sources' events without which it has no key, or nothing to add up.
    fields_read: tuple[str, ...] = ()
    # The same of the events of one stream: (stream, path).
    fields_of_streams: tuple[tuple[str, str], ...] = ()
    # Those of `fields_read` of which only some JSON types can be added up, with these.
    fields_added_up: tuple[tuple[str, frozenset[str]], ...] = ()
    # Where it is defined; by default, where it was made.
    place: Place | None = dataclasses.field(default=None, compare=False)
    # The directory of its project, if that is known.
    project: Path | None = dataclasses.field(default=None, compare=False)
    outputs: tuple[ToStream, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    history_order: HistoryOrder = "event-time"
    on_error: OnError = "error_event"
    start: Start = "oldest"
    materialized: MaterializedTable | None = None
    tables: tuple[str, ...] = ()
    # The last of its parts, if that keeps state: what `on_timer` is about.
    keyed_part: KeyedPart | None = dataclasses.field(default=None, compare=False, repr=False)
    input: ConfiguredSource | None = dataclasses.field(default=None, compare=False)
    # Instead of steps: what it does is written in Flink's SQL, and nothing but Flink runs it.
    query: FlinkQuery | None = None
    has_branches: bool = dataclasses.field(default=False, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Raises JobInvalid for a job that no runner could run."""
        if self.place is None:
            object.__setattr__(self, "place", calling_place())
        if not isinstance(self.name, str) or not _JOB_NAME.fullmatch(self.name):
            raise self.invalid(f"{self.name!r} cannot name a job.", hint="Use letters, digits, '_', '-' and '.'.")
        if not is_texts(self.sources) or bool(self.sources) is (self.input is not None):
            raise self.invalid(f"The job {self.name} reads {shown(self.sources)}: `sources` is a tuple of streams.")
        if wrong := [step for step in self.steps if not isinstance(step, Step)]:
            raise self.invalid(
                f"The job {self.name} has {shown(wrong[0])} as a step: a step is an Each, an Await or a PerKey."
            )
        if not isinstance(self.output, ToStream | ToTable | None):
            raise self.invalid(f"The job {self.name} writes {shown(self.output)}: `output` is a ToStream or a ToTable.")
        if self.on_error not in get_args(OnError):
            choices = ", ".join(get_args(OnError))
            raise self.invalid(f"The job {self.name}: `on_error` is one of {choices}, not {shown(self.on_error)}.")
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise self.invalid(f"The job {self.name} has two steps of one name: {', '.join(names)}.")
        _check_awaits(self)
        _check_outputs(self)
        used = tables_named(self)
        object.__setattr__(self, "tables", tuple(name for name in used.names if name in used.certain))
        for written in self.writes().results:
            if written in self.sources:
                raise self.invalid(f"The job {self.name} reads the stream it writes, {written}.")

    def then(self, *positional: Never, **settings: Unpack[PartSettings]) -> Callable[[Function], Job]:
        """Add a part behind those the job has: a decorator of a function `(event, context)`, as `@job` is.

        It is given what the part before returns, and takes the arguments of `@job` that are about one function. The
        decorated name is the same job. Raises JobInvalid, with the line.
        """
        number = 1 + sum(step.name == "then" or step.name.startswith("then-") for step in self.steps)
        name = "then" if number == 1 else f"then-{number}"
        asked = Arguments(f"@{self.name}.then", settings, PartSettings.__annotations__, calling_place())
        _require_events(self, asked)
        if positional:
            raise asked.refused("", "all arguments have names.", 'Write .then(state=…, key="field").')
        plan = PartPlan(asked, name)

        def added(function: Function) -> Job:
            part = plan.of(function)
            self._change(steps=(*self.steps, *part.steps), keyed_part=part.keyed)
            return self

        return added

    def branch(self, name: str, **settings: Unpack[BranchSettings]) -> Job:
        """A job `NAME.name` that reads the same streams and begins with the same steps, with parts of its own behind.

        It gets the events for which `where` holds, and has its own outputs, position, state and error stream. A job
        that has branches and writes nothing itself is not run. Raises JobInvalid, with the line.
        """
        place = calling_place()
        asked = Arguments(f"{self.name}.branch({name!r})", settings, BranchSettings.__annotations__, place)
        _require_events(self, asked)
        if not isinstance(name, str) or not _JOB_NAME.fullmatch(name) or "." in name:
            raise asked.refused("", "the name of a branch has letters, digits, '_' and '-'.")
        sink, where = asked.sink("sink"), asked.function("where", "event")
        steps = () if where is None else (Each(f"{name}.where", only(where)),)
        made = dataclasses.replace(
            self,
            name=f"{self.name}.{name}",
            steps=(*self.steps, *steps),
            output=None if sink is None else ToStream(*sink),
            outputs=tuple(ToStream(*one) for one in asked.outputs("outputs")),
            late_stream=asked.text("late"),
            keyed_part=None,
            place=place,
        )
        object.__setattr__(self, "has_branches", True)
        return made

    def on_timer(self, name: str) -> Callable[[Callable[[Context], Any]], Callable[[Context], Any]]:
        """A decorator of a function `(context) -> event | events | None`, called when the timer `name` is due.

        The timer is one that a function of the job's last part has set by `context.timer`. Raises JobInvalid, with the
        line, if that part keeps no state.
        """
        asked = Arguments(f"@{self.name}.on_timer({name!r})", {}, (), calling_place())
        if not isinstance(name, str) or not name:
            raise asked.refused("name", f"the name of a timer is text, not {shown(name)}.")
        if self.keyed_part is None:
            raise asked.refused("", "timers belong to a key, and this part keeps no state.", "Add key= and state=.")
        part = self.keyed_part
        if name in part.handlers:
            raise asked.refused("", "the timer has a function already.", "Give one of them another name.")

        def added(function: Callable[[Context], Any]) -> Callable[[Context], Any]:
            asked.function("function", "context", value=function)
            part.handlers[name] = function
            self._change(steps=tuple(part.step() if step.name == part.name else step for step in self.steps))
            return function

        return added

    @property
    def is_only_begun(self) -> bool:
        """Whether it is what its branches begin with, and no job to run itself."""
        return self.has_branches and not self.writes().results and self.writes().target is None

    def _change(self, **fields: Any) -> None:
        """While the file of the job is loaded, its decorators complete it. Raises JobInvalid if it cannot be so."""
        if self.has_branches:
            message = f"The job {self.name} has branches, which begin with what it was before."
            raise self.invalid(message, hint="Complete it before its first branch, or add the part to one of them.")
        changed = dataclasses.replace(self, **fields)
        for name in (*fields, "tables"):
            object.__setattr__(self, name, getattr(changed, name))

    def reads(self) -> tuple[str, ...]:
        """The streams whose events it is given, each once."""
        return tuple(dict.fromkeys(self.sources))

    def writes(self) -> Writes:
        """The streams and the table it writes; the only source of this."""
        emitted = tuple(one.stream for one in self.outputs)
        match self.output:
            case ToStream(stream):
                return Writes(self.error_stream, output=stream, late=self.late_stream, emitted=emitted)
            case ToTable(shape, sink, batch, attempts_max):
                return Writes(
                    self.error_stream,
                    target=shape,
                    sink=sink,
                    batch=batch,
                    attempts_max=attempts_max,
                    late=self.late_stream,
                    emitted=emitted,
                )
            case None:
                return Writes(self.error_stream, late=self.late_stream, emitted=emitted, materialized=self.materialized)
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


def with_target(job: Job, shape: Shape) -> Job:
    """The same job, whose sink is given another shape. Raises JobInvalid if it writes by no sink."""
    match job.output:
        case ToTable():
            return dataclasses.replace(job, output=dataclasses.replace(job.output, shape=shape))
        case ToStream() | None:
            raise job.invalid(f"The job {job.name} writes by no sink.")
        case _:
            assert_never(job.output)


def tables_named(job: Job) -> TablesUsed:
    """What may be names of the materialized tables that a job reads: declared, and in the code of its functions."""
    functions: list[object] = []
    for step in job.steps:
        match step:
            case Each():
                functions.append(step.apply)
            case Await():
                functions += [step.call, step.key]
            case PerKey():
                functions += [step.key, step.on_event, step.on_timer]
            case _:
                assert_never(step)
    return tables_used(functions, job.tables)


def _require_events(job: Job, asked: Arguments) -> None:
    if job.materialized is not None:
        hint = "Another job reads the stream, and this table by context.table(…)."
        raise asked.refused("", f"the job {job.name} keeps a table and passes no events on.", hint)


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
