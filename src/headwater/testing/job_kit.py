"""Runs a job on an in-memory log with schemas that accept everything, so that a job's test is events in, events out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headwater.connectors.contract import Sink
from headwater.event import EXACT, EXACT_HEADER, decode_stored, encode_event, event_time_ms
from headwater.intake.gate import Gate, GateSettings
from headwater.jobs.job import Job
from headwater.jobs.scope import Offered
from headwater.log.contract import Log, Record, TopicSettings
from headwater.processing.embedded.loop import EmbeddedRunner
from headwater.processing.embedded.runner import runner_on
from headwater.processing.embedded.settings import RunnerSettings, settings_for
from headwater.processing.stores.contract import JobStore
from headwater.processing.stores.sink import sink_store
from headwater.schemas.dialect import DRAFT_07
from headwater.schemas.schema import Schema
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.clock import ManualClock
from headwater.testing.eventually import eventually
from headwater.testing.oracle_log import OracleLog

# Declares only what the intake fills in.
OPEN: Mapping[str, Any] = {
    "$schema": DRAFT_07,
    "type": "object",
    "properties": {"meta": {"type": "object", "properties": {"id": {}, "dt": {}, "stream": {}}}},
}


class OpenSchemas:
    """A schema for every URI; the given ones are checked, all others accept any object."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._documents = dict(documents or {})

    def get(self, uri: str) -> Schema:
        title = uri.strip("/").rpartition("/")[0]
        document = {**OPEN, "title": title, "$id": uri, **self._documents.get(uri, {})}
        return Schema(uri=uri, document=document, title=title, dialect=DRAFT_07)

    def uris(self) -> Iterable[str]:
        return tuple(self._documents)

    def close(self) -> None:
        """There is nothing to close."""


def streams_of(job: Job) -> StreamRegistry:
    """The streams that a job reads and writes, declared only by name; what it pins has a schema of that name."""
    names = dict.fromkeys((*job.reads(), *job.writes().streams))
    titles = {name: name if job.output_version(name) else None for name in names}
    return StreamRegistry([Stream(name=name, schema_title=title) for name, title in titles.items()])


def open_gate(
    streams: StreamRegistry,
    clock: Callable[[], float] = time.time,
    schemas: Mapping[str, Mapping[str, Any]] | None = None,
) -> Gate:
    """A gate that accepts every event; `schemas`: except those that one of these refuses."""
    return Gate(streams, Validator(OpenSchemas(schemas)), GateSettings(enforce_streams=False), clock)


class JobKit:
    """One job, its streams and a log.

    The clock does not run: it advances to the time of an event that is later. Once a test sets or advances `clock`, it
    controls the time: a later event then comes from a clock that runs ahead.
    """

    def __init__(
        self,
        job: Job,
        *,
        log: Log | None = None,
        sink: Sink | None = None,
        schemas: Mapping[str, Mapping[str, Any]] | None = None,
        partitions: int = 1,
        settings: RunnerSettings | None = None,
        http: Any = None,
        tables: Callable[[str], Any] | None = None,
        store: JobStore | None = None,
    ) -> None:
        """`http` and `tables` are what the contexts of the job have. `store`: where it commits; by default, the log."""
        self.clock = ManualClock()
        self.job = job
        self.log: Log = OracleLog(clock=self.clock) if log is None else log
        self._followed_to = self.clock.now
        self._log_clock: Callable[[], float] = self.clock if log is None else time.time
        self.partitions = partitions
        self._schemas = schemas
        self._settings = settings or settings_for(job, RunnerSettings(wait_seconds=0.02, retry_seconds=0.01))
        self._store = store if sink is None else sink_store(job, sink, self.log)
        self._offered = Offered(http=http) if tables is None else Offered(http=http, tables=tables)
        self.telemetry = Telemetry()
        self.streams = streams_of(job)
        self.runner = self._runner()

    def _runner(self) -> EmbeddedRunner:
        return runner_on(
            self.log,
            self.job,
            open_gate(self.streams, self.clock, self._schemas),
            store=self._store,
            telemetry=self.telemetry,
            settings=self._settings,
            clock=self.clock,
            **self._offered,
        )

    async def restart(self, job: Job) -> None:
        """Continue with another version of the job, as a platform does that is started again with changed code."""
        self.job = job
        self.streams = streams_of(job)
        self.runner = self._runner()
        await self._make_topics()

    async def open(self) -> None:
        """Open the log and create the topics."""
        await self.log.open()
        await self._make_topics()

    async def _make_topics(self) -> None:
        for stream in self.streams.all():
            await self.log.ensure_topic(stream.name, TopicSettings(partitions=self.partitions))

    async def put(self, *events: Mapping[str, Any], stream: str | None = None, partition: int | None = None) -> None:
        """Append events to the job's (first) source."""
        topic = stream or self.job.reads()[0]
        receipt_ms = self._receipt_ms(topic, events)
        made = []
        for text, flags in map(encode_event, events):
            headers = (EXACT_HEADER,) if flags & EXACT else ()
            made.append(Record(topic, text, None, headers, partition=partition, timestamp_ms=receipt_ms))
        placements = await self.log.append(made)
        if self._follows_events:
            self.clock.now = max(self.clock.now, max((one.timestamp_ms for one in placements), default=0) / 1000)
            self._followed_to = self.clock.now

    @property
    def _follows_events(self) -> bool:
        return self.clock.now == self._followed_to

    def _receipt_ms(self, topic: str, events: Iterable[Mapping[str, Any]]) -> int | None:
        """The latest time in `events`, if the clock follows them and is behind; else None: the present."""
        field = self.streams.get(topic).event_time_field
        times = [at for event in events if (at := event_time_ms(event, field)) is not None]
        latest = max(times, default=0)
        return latest if self._follows_events and latest > self._log_clock() * 1000 else None

    async def run(self) -> None:
        """Process the input to its end, and emit every open window."""
        await self.runner.run(drain=True)

    async def run_live(self, *, pause_seconds: float = 0.15, advance_seconds: float = 0.0) -> None:
        """Process the input like a running job: until nothing is left, and for at least `pause_seconds`.

        With `advance_seconds` the clock advances once nothing is left, and the job runs for another pause.
        """
        task = asyncio.create_task(self.runner.run())
        await asyncio.sleep(pause_seconds)

        async def has_nothing_left() -> bool:
            # Before it has begun it knows no position.
            return task.done() or (self.runner.status.has_run and await self.runner.lag() == 0)

        await eventually(has_nothing_left)
        if advance_seconds:
            followed = self._follows_events
            self.clock.advance(advance_seconds)
            if followed:
                self._followed_to = self.clock.now
            await asyncio.sleep(pause_seconds)
        self.runner.stop()
        await task

    async def events(self, stream: str | None = None) -> list[dict[str, Any]]:
        """All events of a stream, by default of the job's output."""
        topic = stream or self.job.writes().output or ""
        position = await self.log.first([topic])
        found: list[dict[str, Any]] = []
        while records := await self.log.read(position):
            for record in records:
                found.append(decode_stored(record.value, record.headers))
                position = position.after(record)
        return found

    async def errors(self) -> list[dict[str, Any]]:
        return await self.events(self.job.writes().errors)


def without_envelope(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Events without `$schema` and `meta`, for comparing a job's output."""
    return [{name: part for name, part in event.items() if name not in ("$schema", "meta")} for event in events]
