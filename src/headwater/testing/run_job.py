"""Tests of a job without a server: events in; outputs, errors, late events and state out.

`run(job, events)` processes events to the end of the input. `JobTest` does so step by step, and travels in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from headwater.event import decode_json, get_path
from headwater.jobs.cells import Cell
from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.job import Job
from headwater.jobs.keyed_part import stored_value
from headwater.jobs.tables.reader import TableReader
from headwater.lookups.lookups import Lookups
from headwater.lookups.transport import Transport
from headwater.testing.answers import Answers
from headwater.testing.in_thread import open_in_thread, result_within
from headwater.testing.job_kit import JobKit, without_envelope
from headwater.testing.memory_sink import MemorySink, MemoryTarget
from headwater.testing.memory_tables import tables_in_memory
from headwater.times import time_ms

_T = TypeVar("_T")
Event = Mapping[str, Any]
# How long a step of a test may take, in seconds.
STEP_SECONDS_MAX = 60.0
IDLE_SECONDS = 0.1


class JobOutcome:
    """What a job has made of the events so far. `outcome["stream"]` has the events of one of its outputs."""

    def __init__(
        self,
        job: Job,
        streams: Mapping[str, list[dict[str, Any]]],
        states: Mapping[str, Mapping[Any, Any]],
        rows: list[dict[str, Any]],
    ) -> None:
        self._job = job
        self._streams = streams
        self._states = states
        # Of the table that it fills or keeps, with its key among the columns.
        self.rows = rows

    def __getitem__(self, stream: str) -> list[dict[str, Any]]:
        """Raises KeyError, with the streams that there are, for one the job does not write."""
        if stream not in self._streams:
            raise KeyError(f"{self._job.name} does not write {stream}; it writes {', '.join(self._streams)}.")
        return self._streams[stream]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of its main output, with their `$schema` and `meta`."""
        return self._streams[self._job.writes().output or ""] if self._job.writes().output else []

    @property
    def values(self) -> list[dict[str, Any]]:
        """The same without `$schema` and `meta`."""
        return without_envelope(self.events)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The error events, in order."""
        return self._streams[self._job.writes().errors]

    @property
    def late(self) -> list[dict[str, Any]]:
        """The late events; [] without a late stream."""
        late = self._job.writes().late
        return self._streams[late] if late else []

    @property
    def state(self) -> Mapping[Any, Any]:
        """Key → state of the last step that keeps any; a key of several parts is a tuple."""
        return self._states[self._job.keyed_steps[-1].name] if self._job.keyed_steps else {}

    def state_of(self, step: str) -> Mapping[Any, Any]:
        """Key → state of one step."""
        return self._states[step]

    def by_id(self, event_id: str) -> dict[str, Any]:
        """The event with this `meta.id`, of whichever stream. Raises KeyError, with the ids that there are."""
        found = {get_path(event, "meta.id"): event for events in self._streams.values() for event in events}
        if event_id not in found:
            raise KeyError(f"no event has the id {event_id!r}; there are {', '.join(map(str, found)) or 'no events'}")
        return found[event_id]


class JobTest(AbstractContextManager["JobTest"]):
    """One job on a log in memory, with a clock that only the test, or a later event, moves.

    `http`: URL → answer, as `Answers` takes them, or a transport, such as `RecordedAnswers`. `tables`: name → rows by
    key, for `context.table`; the key of several parts is a tuple. `settings` override those of the job. `at`: the time
    at the start (ISO 8601); by default the clock follows the events. `schemas`: URI → document, to be checked as in
    production; others accept everything.
    """

    def __init__(
        self,
        job: Job,
        *,
        http: Mapping[str, Any] | Transport | None = None,
        tables: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        at: str | None = None,
        schemas: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Raises ValueError for a setting or a time that there is not."""
        unknown = set(settings or {}) - set(job.settings)
        if unknown:
            raise ValueError(f"{job.name} has no setting {', '.join(sorted(unknown))}; it has {list(job.settings)}.")
        self.job = dataclasses.replace(job, settings={**job.settings, **(settings or {})}) if settings else job
        self.http = Answers(http or {}) if http is None or isinstance(http, Mapping) else http
        self._tables = tables_in_memory(tables or {})
        self._schemas = schemas
        self._at_ms = None if at is None else time_ms(at)
        if at is not None and self._at_ms is None:
            raise ValueError(f"{at!r} is not a time; write it like 2026-01-31T12:00:00Z.")
        table = job.writes().table
        self._sink = None if table is None else MemorySink(MemoryTarget(), table)
        self._stack = contextlib.ExitStack()
        self._kit: JobKit | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._kit, self._loop = self._stack.enter_context(open_in_thread(self._opened, "job-test"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is None and isinstance(self.http, Answers) and self.http.unexpected:
            raise AssertionError(f"The job asked for what the test has no answer for: {self.http.unexpected[0]}")

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[JobKit, asyncio.AbstractEventLoop]]:
        lookups = Lookups(transport=self.http)
        try:
            kit = JobKit(
                self.job,
                sink=self._sink,
                schemas=self._schemas,
                http=lookups,
                tables=self._tables,
            )
            if self._at_ms is not None:
                kit.clock.now = self._at_ms / 1000
            await kit.open()
            yield kit, asyncio.get_running_loop()
        finally:
            await lookups.close()

    def restart(self, job: Job) -> None:
        """Continue with another version of the job, or the same, as a platform does that is started again.

        Position, state and timers are those that the version before has left. Raises ValueError for a job of another
        name, which would have none of these.
        """
        if job.name != self.job.name:
            raise ValueError(f"{job.name} is another job than {self.job.name}: it would begin without state.")
        self.job = job
        self._do(self._open.restart(job))

    def put(self, *events: Event, stream: str | None = None) -> None:
        """Store events in a source: `stream`, else the one that `meta.stream` names, else the first."""
        for event in events:
            named = get_path(event, "meta.stream")
            self._do(self._open.put(event, stream=stream or (named if named in self.job.reads() else None)))

    def process(self) -> JobOutcome:
        """Process what there is, as a live run does: windows and timers whose time has not come wait."""
        self._do(self._open.run_live(pause_seconds=IDLE_SECONDS))
        return self.outcome()

    def advance(self, duration: Duration) -> JobOutcome:
        """Let time pass without events, then process: timers that are due fire."""
        self._do(self._open.run_live(pause_seconds=IDLE_SECONDS, advance_seconds=milliseconds(duration) / 1000))
        return self.outcome()

    def finish(self) -> JobOutcome:
        """Process everything as if no more events came: all windows and timers fire."""
        self._do(self._open.run())
        return self.outcome()

    def outcome(self) -> JobOutcome:
        """What there is so far."""
        return self._do(self._outcome())

    async def _outcome(self) -> JobOutcome:
        kit = self._open
        streams = {name: await kit.events(name) for name in self.job.writes().streams}
        states = {step.name: dict([one async for one in self._cells(step.name)]) for step in self.job.keyed_steps}
        rows: list[dict[str, Any]] = []
        if self._sink is not None:
            view = self._sink.view(1_000_000)
            rows = [dict(zip(view.columns, row, strict=True)) for row in view.rows]
        if (table := self.job.writes().materialized) is not None:
            state = kit.log.state_reader()
            rows = [table.flat(one) for one in TableReader(table, state.get, state.scan)]
        return JobOutcome(self.job, streams, states, rows)

    async def _cells(self, step: str) -> AsyncIterator[tuple[Any, Any]]:
        after = b""
        while page := await self._open.log.state_scan(f"job/{self.job.name}/{step}/cells", after=after):
            for key, cell in page:
                state = Cell.decode(cell).state
                if state is not None:
                    yield _hashable(decode_json(key)), stored_value(state)
            after = page[-1][0]

    @property
    def _open(self) -> JobKit:
        if self._kit is None:
            raise RuntimeError("Use a JobTest in a `with` block.")
        return self._kit

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        assert self._loop is not None
        return result_within(work, self._loop, STEP_SECONDS_MAX)


def run(
    job: Job,
    events: Iterable[Event],
    *,
    http: Mapping[str, Any] | Transport | None = None,
    tables: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    at: str | None = None,
    schemas: Mapping[str, Mapping[str, Any]] | None = None,
) -> JobOutcome:
    """Give `events` to a job, process them to the end, and return the outcome; the arguments are those of `JobTest`.

    Raises AssertionError if the job asks a service for which there is no answer.
    """
    with JobTest(job, http=http, tables=tables, settings=settings, at=at, schemas=schemas) as test:
        test.put(*events)
        return test.finish()


def _hashable(key: Any) -> Any:
    """A list as a tuple, an object as the tuple of its pairs, sorted by name."""
    match key:
        case list():
            return tuple(map(_hashable, key))
        case dict():
            return tuple((name, _hashable(key[name])) for name in sorted(key))
        case _:
            return key
