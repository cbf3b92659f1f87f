"""The embedded runner: runs one job inside this process, from a source to a store.

How this works: it reads a batch after the committed position, folds it through the steps one after the other, and
commits outputs, error events, keyed state, timers, watermark and the new position to its `JobStore`, together: a kill
at any moment leaves all of a batch or nothing. Errors raised by a job's own functions become error events; only errors
of source and store end `run`, after retries. A job that waits for other services has a loop of its own, `overlapping`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from headwater.errors import JobStopped
from headwater.intake.gate import Gate
from headwater.jobs.job import Job
from headwater.jobs.scope import Scope
from headwater.jobs.steps import Element, Failure
from headwater.log.contract import Position, StoredRecord
from headwater.processing.arriving import ArrivalBuilder
from headwater.processing.contract import RunnerFeatures, require_supported
from headwater.processing.embedded.await_steps import divided
from headwater.processing.embedded.batches import PROGRESS_KEY, Batches, progress_of
from headwater.processing.embedded.commits import Commits, Outputs, error_events
from headwater.processing.embedded.connected.arrivals import arrivals, arrived, stream_of
from headwater.processing.embedded.connected.deliveries import input_topic
from headwater.processing.embedded.elements import elements_of, undecoded
from headwater.processing.embedded.fold import Batch, LoopTurn, StepFold
from headwater.processing.embedded.overlapping import OverlappingLoop
from headwater.processing.embedded.read_ahead import Run
from headwater.processing.embedded.reading.batch_reader import BatchReader
from headwater.processing.embedded.reading.suspects import Suspects
from headwater.processing.embedded.reposition import begin_at_the_end, reposition
from headwater.processing.embedded.retries import Retries
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.embedded.source import JobSource, KnowsOldest
from headwater.processing.embedded.state_sizes import StateSizes, sizes_of
from headwater.processing.failures.causes import INPUT, PROCESS
from headwater.processing.failures.failed_events import FailedEvents
from headwater.processing.flight_recorder import JobFlight
from headwater.processing.outputs import OutputBuilder
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.contract import JobStore
from headwater.streams.stream import Stream

# So many records take a few milliseconds, which the rest of the process waits.
DECODED_AT_ONCE = 500

_log = logging.getLogger(__name__)


class EmbeddedRunner:
    """Runs one job. `run` returns when it was stopped or, with `drain`, when all input is processed."""

    def __init__(
        self,
        job: Job,
        source: JobSource,
        store: JobStore,
        gate: Gate,
        *,
        settings: RunnerSettings,
        status: RunnerStatus,
        clock: Callable[[], float] = time.time,
        scope: Scope,
        failed_events: FailedEvents | None = None,
    ) -> None:
        """Raises JobInvalid if this runner cannot run the job. `runner_on` makes source, store and scope, too.

        `failed_events`: where failed events are stored that do not fit into their error events.
        """
        self.features = RunnerFeatures(
            streams=store.takes_events,
            keyed_state=store.keeps_state,
            tables=store.rows is not None,
            tables_with_state=False,
            fires_when_idle=True,
            shares_partitions=False,
            awaits=True,
        )
        require_supported(job, self.unsupported_reasons(job))
        self.job = job
        self.settings = settings
        self.status = status
        self._source = source
        self._store = store
        self._gate = gate
        self._clock = clock
        self._scope = scope
        self._stages, self._rest = divided(job)
        self._stopping = asyncio.Event()
        self._retries = Retries(
            settings.retries_max, settings.retry_seconds, settings.retry_seconds_max, status, self._stopping
        )
        self._reader = BatchReader(source, settings, self._stopping, clock)
        self._idle_since = 0.0
        self._turn = LoopTurn(settings.turn_seconds)
        self._commits = Commits(
            job,
            source,
            store,
            outputs=outputs_of(job, gate, store, settings),
            errors=error_events(job, gate, store, status, settings, apart=failed_events),
            status=status,
            retries=self._retries,
            turn=self._turn,
            clock=clock,
        )
        self._flight = JobFlight() if settings.recorder is None else settings.recorder.of(job.name)
        self._batches = self._new_batches(None, StateSizes({}))
        self._streams: dict[str, Stream] = {}
        self._suspects = Suspects(settings.attempts_max, before=self._flight.suspicion)
        self._current: Sequence[StoredRecord] = ()

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        return self.features.unsupported_reasons(job)

    def stop(self) -> None:
        """Ask `run` to return after the current batch."""
        self._stopping.set()

    async def run(self, *, drain: bool = False) -> None:
        """Process events until stopped. May be called again after it raised: it resumes from what is committed.

        `drain`: process what there is now, in any order and nothing of it late, fire all timers, and return. Raises
        LogUnavailable, SinkUnavailable when retries did not help, JobStopped at an event that failed if the job wants
        that; everything before it is committed.
        """
        self._stopping.clear()
        try:
            while True:
                self._set_current(())
                await self._begin()
                try:
                    await self._run(drain=drain)
                    break
                except JobStopped:
                    if len(self._current) <= 1:
                        raise
                    # Of these events it is to be found which one failed.
            # The next run expects to read what this one committed.
            await self._retries.of(self._store.flush)
        finally:
            await self._store.close()

    async def _run(self, *, drain: bool) -> None:
        if self._stages:
            await OverlappingLoop(self._overlapping(), self._stages, drain=drain).run()
            return
        end = await self._source.end() if drain else None
        while not self._stopping.is_set():
            if end is None:
                await self._source.refresh()
            records = await self._read(drain=drain)
            if records:
                self._idle_since = self._clock()
                hold_watermark = drain and not self.settings.history
                await self._process_or_set_aside(records, hold_watermark=hold_watermark)
            if end is not None and (not records or _reached(self._source.position, end)):
                if not self.settings.hands_over:
                    await self._batches.finish()
                return
            if not records and end is None:
                await self._retries.of(self._store.flush)
                await self._batches.process_idleness(self._idle_since)

    async def fence(self) -> None:
        """Fence earlier processes that ran the job; `run` does so too. Raises what the store raises."""
        if self._store.rows is None or not self._store.rows.token_in_target:
            try:
                await self._retries.of(self._store.open)
            finally:
                await self._store.close()

    async def reposition(self, position: Position) -> None:
        """Delete everything the job keeps, and let the next run begin at `position`."""
        try:
            await self._retries.of(self._store.open)
            await self._retries.of(lambda: reposition(self.job, self._store, self._source.token(position)))
        finally:
            await self._store.close()

    def cancelled_itself(self) -> None:
        """The job's code cancelled the task of `run`, while it processed one of the current records."""
        self._suspects.failed(self._current, asyncio.CancelledError("it cancelled the task it runs in"))

    async def lag(self) -> int | None:
        """How many records of its sources the job has not processed; None if its source does not know."""
        lag = await self._source.lag()
        if self.status.sink is not None and isinstance(self._source, KnowsOldest):
            self.status.sink.lags(await self._source.oldest_ms() if lag else None)
        return lag

    async def _begin(self) -> None:
        await self._commits.begin()
        if self.job.input is None:
            streams = [self._gate.streams.get(name) for name in self.job.reads()]
            self._streams = {topic: stream for stream in streams for topic in stream.topics}
        else:
            self._streams = {name: self._gate.streams.get(name) for name in self.job.writes().outputs}
        token = await self._retries.of(self._store.open)
        kept = await self._store.state_get(progress_of(self.job), [PROGRESS_KEY])
        progress = kept.get(PROGRESS_KEY)
        sizes = await self._retries.of(lambda: sizes_of(self.job, self._store, progress))
        self._batches = self._new_batches(progress, sizes)
        self.status.state_size(*sizes.total)
        await self._source.begin(token, self._streams)
        if token is None and self.job.start == "newest":
            await begin_at_the_end(self._source, self._store, self._retries)
        await self._leave_old_rows()
        self._idle_since = self._clock()
        self.status.running()

    def _new_batches(self, kept: bytes | None, sizes: StateSizes) -> Batches:
        fold = StepFold(
            self.job,
            self._rest,
            self._store,
            self._turn,
            self._scope,
            timers_max=self.settings.timers_max,
            one_by_one=self.settings.history,
            flight=self._flight,
        )
        return Batches(
            self.job,
            self._source,
            self._commits,
            fold,
            kept=kept,
            sizes=sizes,
            status=self.status,
            stopping=self._stopping,
            clock=self._clock,
        )

    async def _read(self, *, drain: bool) -> Sequence[StoredRecord]:
        records_max = self._suspects.records_max(self._source.position, self.settings.batch_records_max)
        self.status.is_searching = self._suspects.is_searching
        records = await self._reader.read(
            records_max=records_max,
            wait_seconds=0.0 if drain else self.settings.wait_seconds,
            waits=not drain and not self._suspects.is_searching,
        )
        await self._leave_old_rows()
        return records

    async def _leave_old_rows(self) -> None:
        """Keep the rows of a log that was replaced as another table, and fill an empty one."""
        if (rows := self._store.rows) is None or not self._source.was_replaced():
            return
        kept_as = await self._retries.of(rows.set_aside)
        if kept_as is not None:
            _log.warning("job %s: the rows of the replaced log are kept as the table %s.", self.job.name, kept_as)

    def _overlapping(self) -> Run:
        return Run(
            self.job,
            self._source,
            self._store,
            self._batches,
            self._suspects,
            self._streams,
            self.settings,
            self.status,
            self._retries,
            self._stopping,
            self._turn,
            self._scope,
            self._clock,
            set_aside=self._was_set_aside,
            leave_old_rows=self._leave_old_rows,
            current=self._set_current,
            flight=self._flight,
        )

    def _set_current(self, records: Sequence[StoredRecord]) -> None:
        self._current = records

    async def _process_or_set_aside(self, records: Sequence[StoredRecord], *, hold_watermark: bool) -> None:
        if await self._was_set_aside(records):
            return
        self._current = records
        try:
            with self._flight.trying(self._suspects.alone(records)):
                await self._process(records, hold_watermark=hold_watermark)
        except Exception as error:
            self._suspects.failed(records, error)
            self.status.is_searching = self._suspects.is_searching
            raise
        self._current = ()

    async def _was_set_aside(self, records: Sequence[StoredRecord]) -> bool:
        """Whether this is a record that fails each time, and was skipped, with an error event."""
        if (rows := self._store.rows) is not None and self._suspects.among(self._source.position):
            # If the target does not even accept a write without rows, the record is not the cause.
            token = self._source.token(self._source.position)
            await self._retries.of(lambda: rows.ready(token))
        verdict = self._suspects.verdict(records)
        if verdict is not None:
            await self._set_aside(records[0], verdict)
        return verdict is not None

    async def _set_aside(self, record: StoredRecord, error: BaseException) -> None:
        """Skip a record that cannot be processed, with an error event about it."""
        batch = Batch()
        try:
            elements = await self._elements([record], batch)
        except Exception:  # decoding may be what fails
            elements = [undecoded_of(self.job, record, self._streams)]
        elements += [element for _, element in batch.results.resumed]
        attempts = self._suspects.attempts
        batch.results.failures += [Failure(element, PROCESS, error, attempts=attempts) for element in elements]
        position = self._source.after([record])
        try:
            prepared = await self._batches.prepare(batch, position)
        except JobStopped:
            self._suspects.try_again()
            raise
        await self._batches.store(prepared)
        await self._source.move(position)
        self.status.read(1, self._batches.watermarks.watermark_ms)

    async def _process(self, records: Sequence[StoredRecord], *, hold_watermark: bool) -> None:
        batch = Batch()
        elements = await self._elements(records, batch)
        position = self._source.after(records)
        self._flight.reads(position)
        if self.job.input is not None:
            # Those that only carry a position are no events.
            records = [record for record in records if record.value]
        await self._batches.process(elements, batch, position, records=records, hold_watermark=hold_watermark)

    async def _elements(self, records: Sequence[StoredRecord], batch: Batch) -> list[Element]:
        if refused := self._source.refused(records):
            for index, error in refused.items():
                item = undecoded_of(self.job, records[index], self._streams)
                batch.results.failures.append(Failure(item, INPUT, error))
            records = [record for index, record in enumerate(records) if index not in refused]
        elements: list[Element] = []
        now_ms = int(self._clock() * 1000)
        for at in range(0, len(records), DECODED_AT_ONCE):
            some = records[at : at + DECODED_AT_ONCE]
            if self.job.input is not None:
                elements += arrivals(some, self._streams, batch.results, now_ms=now_ms, job=self.job)
            else:
                seen, results = batch.seen.append, batch.results
                elements += elements_of(some, self._streams, seen, results, now_ms=now_ms, job=self.job)
            await self._turn.pause()
        return elements


def undecoded_of(job: Job, record: StoredRecord, streams: Mapping[str, Stream]) -> Element:
    """An element for a record of which only the bytes are known."""
    if job.input is not None and record.topic == input_topic(job):
        return arrived(record, streams[stream_of(record)])
    return undecoded(record, streams.get(record.topic))


def outputs_of(job: Job, gate: Gate, store: JobStore, settings: RunnerSettings) -> Outputs:
    """What makes the output events of a job: derived ones, or those that a connector has read."""
    if job.input is not None:
        return ArrivalBuilder(job, gate, store.refuses)
    return OutputBuilder(job, gate, store.refuses, dated_by_event=settings.history)


def _reached(position: Position, end: Position) -> bool:
    return all(position.offsets.get(part, 0) >= offset for part, offset in end.offsets.items())
