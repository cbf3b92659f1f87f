"""Tests of a whole project without a server: events through its gate, its jobs, its tables, on a log in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from headwater.config import load_config
from headwater.declaration import nearest
from headwater.event import decode_stored, json_bytes
from headwater.intake.outcome import Refused
from headwater.lookups.lookups import Lookups
from headwater.lookups.transport import Transport
from headwater.platform import Platform
from headwater.processing.declarations import declarations
from headwater.testing.answers import Answers
from headwater.testing.in_thread import open_in_thread, result_within
from headwater.testing.oracle_log import OracleLog

_T = TypeVar("_T")
# How long a step of a test may take, in seconds.
STEP_SECONDS_MAX = 120.0
ROWS_MAX = 1_000_000


class ProjectTest(AbstractContextManager["ProjectTest"]):
    """The project in a directory, with its schemas, streams, jobs and tables, on a log in memory.

    `directory`, which is for this test alone, gets the files of tables. `http`: URL → answer, as `Answers` takes them,
    or a transport. `only`: the jobs, or tables as `table.NAME`, that run; by default all. `sections`: settings that
    override headwater.yaml.
    """

    def __init__(
        self,
        project: Path,
        directory: Path,
        *,
        http: Mapping[str, Any] | Transport | None = None,
        only: Collection[str] | None = None,
        **sections: Mapping[str, Any],
    ) -> None:
        """Raises ConfigInvalid, JobInvalid for a project with errors, KeyError for a job that it does not have."""
        own = {
            "log": {"url": f"sqlite:///{directory / 'events.db'}"},
            "jobs": {"tables_path": str(directory / "tables.db"), "state_path": str(directory / "state")},
        }
        overrides = {name: {**own.get(name, {}), **sections.get(name, {})} for name in {*own, *sections}}
        self._config = load_config(project, environment={}, overrides=overrides)
        streams, jobs = declarations(self._config)
        names = [job.name for job in jobs]
        for name in only or ():
            if name not in names:
                raise KeyError(_unknown("job", name, names))
        self._declared = (streams, jobs if only is None else [job for job in jobs if job.name in only])
        self.http = Answers(http or {}) if http is None or isinstance(http, Mapping) else http
        self._stack = contextlib.ExitStack()
        self._entered: tuple[Platform, asyncio.AbstractEventLoop] | None = None

    def __enter__(self) -> Self:
        self._entered = self._stack.enter_context(open_in_thread(self._opened, "project-test"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is None and isinstance(self.http, Answers) and self.http.unexpected:
            raise AssertionError(f"A job asked for what the test has no answer for: {self.http.unexpected[0]}")

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Platform, asyncio.AbstractEventLoop]]:
        lookups = Lookups(self._config.lookups, transport=self.http)
        platform = Platform(self._config, *self._declared, log=OracleLog(), lookups=lookups)
        await platform.start(run_jobs=False)
        try:
            yield platform, asyncio.get_running_loop()
        finally:
            await platform.stop()

    def post(self, *events: Mapping[str, Any]) -> None:
        """Send events through the intake. Raises AssertionError, with every reason, if one is refused."""
        if refused := self.refusals(*events):
            raise AssertionError("; ".join(f"event {number}: {why}" for number, why in refused.items()))

    def put(self, *events: Mapping[str, Any]) -> None:
        """Store events as jobs do, also in streams that accept none from outside. Raises AssertionError as `post`."""
        verdicts = [self._platform.gate.admit(json.loads(json_bytes(event)), own=True) for event in events]
        if refused := {number: one.reason for number, one in enumerate(verdicts) if isinstance(one, Refused)}:
            raise AssertionError("; ".join(f"event {number}: {why}" for number, why in refused.items()))
        self._do(self._platform.log.append([one.record for one in verdicts if not isinstance(one, Refused)]))

    def refusals(self, *events: Mapping[str, Any]) -> dict[int, str]:
        """Send events through the intake: the index of each that is refused, with the reason."""
        outcomes = self._do(self._platform.intake.write(events))
        return {number: str(one.reason) for number, one in enumerate(outcomes) if isinstance(one, Refused)}

    def run_jobs(self) -> None:
        """Let the jobs process everything, in the order in which events flow, as if no more events came."""
        self._do(self._platform.finish_jobs())

    def events(self, stream: str) -> list[dict[str, Any]]:
        """All events of a stream. Raises KeyError, with the nearest name, for one that is not declared."""
        known = self._platform.streams.find(stream)
        if known is None:
            raise KeyError(_unknown("stream", stream, self._platform.streams.names()))
        return self._do(self._events(known.topics))

    def errors(self, job: str) -> list[dict[str, Any]]:
        """The events that a job could not process."""
        found = next((one for one in self._platform.jobs if one.name == job), None)
        if found is None:
            raise KeyError(_unknown("job", job, [one.name for one in self._platform.jobs]))
        return self.events(found.writes().errors)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, in its order; of one made by `@table`, with the parts of their keys."""
        kept = self._platform.materialized
        if table in kept.names():
            reader = kept(table)
            return [reader.table.flat(row) for row in reader]
        if table not in self._platform.tables:
            raise KeyError(_unknown("table", table, [*self._platform.tables, *kept.names()]))
        return self._do(self._rows(table))

    async def _events(self, topics: tuple[str, ...]) -> list[dict[str, Any]]:
        log = self._platform.log
        position = await log.first(topics)
        found: list[dict[str, Any]] = []
        while records := await log.read(position):
            for record in records:
                found.append(decode_stored(record.value, record.headers))
                position = position.after(record)
        return found

    async def _rows(self, table: str) -> list[dict[str, Any]]:
        sink = self._platform.tables[table]
        await sink.open()
        view = await asyncio.to_thread(sink.view, ROWS_MAX)
        return [dict(zip(view.columns, row, strict=True)) for row in view.rows]

    @property
    def _platform(self) -> Platform:
        if self._entered is None:
            raise RuntimeError("Use a ProjectTest in a `with` block.")
        return self._entered[0]

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        assert self._entered is not None
        return result_within(work, self._entered[1], STEP_SECONDS_MAX)


def _unknown(what: str, name: str, known: list[str] | tuple[str, ...] | Any) -> str:
    near = nearest(name, known)
    return f"the project has no {what} {name!r}" + (f"; did you mean {near!r}?" if near else "")
