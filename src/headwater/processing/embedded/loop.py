"""The embedded runner: runs one job inside this process, from a source to a store.

How this works: it reads a batch after the committed position, folds it through the steps one after the other, and
commits outputs, error events, keyed state, timers, watermark and the new position to its `JobStore`, together: a kill
at any moment leaves all of a batch or nothing. The watermark moves between batches, so whether an event is late depends
on what came before its batch. Errors raised by a job's own functions become error events; only errors of source and
store end `run`, after retries.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from headwater.connectors.contract import Delivery
from headwater.errors import HeadwaterError
from headwater.foreign import contain
from headwater.intake.gate import Gate
from headwater.intake.outcome import Admitted
from headwater.jobs.job import Job
from headwater.jobs.steps import Element, Failure
from headwater.log.contract import Position, Record, StateChange, StoredRecord
from headwater.processing.contract import RunnerFeatures, require_supported
from headwater.processing.embedded.elements import delivery_of, elements_of, undecoded
from headwater.processing.embedded.fold import Batch, Due, LoopTurn, StepFold
from headwater.processing.embedded.retries import Retries
from headwater.processing.embedded.source import JobSource
from headwater.processing.embedded.suspects import Suspects
from headwater.processing.embedded.watermark import Watermarks
from headwater.processing.outputs import OutputBuilder
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.contract import JobStore, ReplacesRefused
from headwater.streams.stream import Stream

PROGRESS_KEY = b"progress"
# Later than any event time.
END_OF_TIME = 2**61

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Sizes, times and retries of a runner."""

    batch_records_max: int = 500
    batch_bytes_max: int = 4_194_304
    timers_max: int = 1000
    wait_seconds: float = 1.0
    # The event loop is shared with the rest of the process: how long a job may use it at a time.
    turn_seconds: float = 0.002
    retries_max: int = 6
    retry_seconds: float = 0.1
    retry_seconds_max: float = 5.0
    # Whether the job ends, instead of starting from the beginning, if its log was replaced.
    stops_where_replaced: bool = False


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
    ) -> None:
        """Raises JobInvalid if this runner cannot run the job. `runner_on` makes source and store, too."""
        self.features = RunnerFeatures(
            streams=store.takes_events,
            keyed_state=store.keeps_state,
            tables=store.rows is not None,
            tables_with_state=False,
            fires_when_idle=True,
            shares_partitions=False,
        )
        require_supported(job, self.unsupported_reasons(job))
        self.job = job
        self.settings = settings
        self.status = status
        self._source = source
        self._store = store
        self._gate = gate
        self._clock = clock
        self._writes = job.writes()
        self._outputs = OutputBuilder(job, gate, store.refuses)
        if isinstance(store, ReplacesRefused):
            store.on_refused = self._refused
        self._stopping = asyncio.Event()
        self._retries = Retries(
            settings.retries_max, settings.retry_seconds, settings.retry_seconds_max, status, self._stopping
        )
        self._idle_since = 0.0
        self._turn = LoopTurn(settings.turn_seconds)
        self._watermarks = Watermarks()
        self._fold = StepFold(job, store, self._turn, timers_max=settings.timers_max)
        self._streams: dict[str, Stream] = {}
        self._suspects = Suspects()
        self._current: Sequence[StoredRecord] = ()

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        return self.features.unsupported_reasons(job)

    def stop(self) -> None:
        """Ask `run` to return after the current batch."""
        self._stopping.set()

    async def run(self, *, drain: bool = False) -> None:
        """Process events until stopped. May be called again after it raised: it resumes from what is committed.

        `drain`: process what there is now, in any order and nothing of it late, fire all timers, and return. Raises
        LogUnavailable, SinkUnavailable when retries did not help.
        """
        self._stopping.clear()
        try:
            await self._begin()
            await self._run(drain=drain)
            # The next run expects to read what this one committed.
            await self._retries.of(self._store.flush)
        finally:
            await self._store.close()

    async def _run(self, *, drain: bool) -> None:
        end = await self._source.end() if drain else None
        while not self._stopping.is_set():
            if end is None:
                await self._source.refresh()
            records = await self._read(0.0 if drain else self.settings.wait_seconds)
            if records:
                self._idle_since = self._clock()
                await self._process_or_set_aside(records, hold_watermark=drain)
            if end is not None and (not records or _reached(self._source.position, end)):
                await self._finish()
                return
            if not records and end is None:
                await self._retries.of(self._store.flush)
                await self._process_idleness()

    async def fence(self) -> None:
        """Fence earlier processes that ran the job; `run` does so too. Raises what the store raises."""
        if self._store.rows is None or not self._store.rows.token_in_target:
            try:
                await self._retries.of(self._store.open)
            finally:
                await self._store.close()

    def cancelled_itself(self) -> None:
        """The job's code cancelled the task of `run`, while it processed one of the current records."""
        self._suspects.failed(self._current, asyncio.CancelledError("it cancelled the task it runs in"))

    async def lag(self) -> int:
        """How many records of its sources the job has not processed."""
        return await self._source.lag()

    async def _begin(self) -> None:
        await asyncio.to_thread(self._outputs.prepare)
        streams = [self._gate.streams.get(name) for name in self.job.reads()]
        self._streams = {topic: stream for stream in streams for topic in stream.topics}
        self._fold = StepFold(self.job, self._store, self._turn, timers_max=self.settings.timers_max)
        token = await self._retries.of(self._store.open)
        kept = await self._store.state_get(self._namespace(), [PROGRESS_KEY])
        self._watermarks = Watermarks(kept.get(PROGRESS_KEY))
        await self._source.begin(token, self._streams)
        await self._leave_old_rows()
        self._idle_since = self._clock()
        self.status.running()

    async def _read(self, wait_seconds: float) -> Sequence[StoredRecord]:
        records = await self._source.read(
            records_max=1 if self._suspects.among(self._source.position) else self.settings.batch_records_max,
            bytes_max=self.settings.batch_bytes_max,
            wait_seconds=wait_seconds,
            stopping=self._stopping,
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

    async def _process_or_set_aside(self, records: Sequence[StoredRecord], *, hold_watermark: bool) -> None:
        if (rows := self._store.rows) is not None and self._suspects.among(self._source.position):
            # If the target does not even accept a write without rows, the record is not the cause.
            token = self._source.token(self._source.position)
            await self._retries.of(lambda: rows.ready(token))
        verdict = self._suspects.verdict(records)
        if verdict is not None:
            await self._set_aside(records[0], verdict)
            return
        self._current = records
        try:
            await self._process(records, hold_watermark=hold_watermark)
        except Exception as error:
            self._suspects.failed(records, error)
            raise
        self._current = ()

    async def _set_aside(self, record: StoredRecord, error: BaseException) -> None:
        """Skip a record that cannot be processed, with an error event about it."""
        batch = Batch()
        try:
            elements = self._elements([record], batch)
        except Exception:  # decoding may be what fails
            elements = [undecoded(record, self._streams[record.topic])]
        batch.results.failures += [Failure(element, "process", error) for element in elements]
        await self._commit(batch, self._source.after([record]))
        self.status.read(1, self._watermarks.watermark_ms)

    async def _process(self, records: Sequence[StoredRecord], *, hold_watermark: bool) -> None:
        """Fold records through the steps and commit; then fire the due timers that did not fit into that commit."""
        batch = Batch()
        elements = self._elements(records, batch)
        position = self._source.after(records)
        before_ms = self._watermarks.watermark_ms
        if not hold_watermark:
            await self._move_watermark(position, records)
        moved_ms = self._watermarks.watermark_ms
        await self._fold.fold(elements, batch, before_ms, moved_ms=moved_ms, due=Due(moved_ms, moved_ms))
        await self._commit(batch, position)
        self.status.read(len(records), moved_ms)
        while batch.more and not self._stopping.is_set():
            batch = await self._fire(Due(moved_ms, moved_ms))

    async def _move_watermark(self, position: Position, records: Sequence[StoredRecord] = ()) -> None:
        """Move it as far as the partitions allow that were just read or have more records to read."""
        parts = set(position.offsets)
        read = {(record.topic, record.partition) for record in records}
        if len(parts) <= 1:
            active = parts
        elif records and not self.job.keeps_state:
            # If nothing depends on it, the brokers are not asked for ends.
            active = read
        elif records:
            active = await self._source.with_backlog(position, read)
        else:
            active = {part for part in parts if self._watermarks.has_seen(part)}
        self._watermarks.advance(active, self.job.out_of_order_ms)

    async def _process_idleness(self) -> None:
        """Fire timers by the wall clock that no event will fire; only events move the watermark itself."""
        idle_ms = (self._clock() - self._idle_since) * 1000
        if self.job.keeps_state and idle_ms >= self.job.idle_ms:
            await self._fire_all(int(self._clock() * 1000) - self.job.out_of_order_ms)

    async def _finish(self) -> None:
        """All input is processed: fire everything that waits for an event, then move the watermark accordingly."""
        await self._fire_all(END_OF_TIME)
        if self._stopping.is_set():
            return
        await self._move_watermark(self._source.position)
        more = True
        while more:
            watermark_ms = self._watermarks.watermark_ms
            more = (await self._fire(Due(watermark_ms, watermark_ms), commit=True)).more

    async def _fire_all(self, until_ms: int) -> None:
        while not self._stopping.is_set():
            batch = await self._fire(Due(until_ms, None))
            if not batch.more:
                return

    async def _fire(self, due: Due, *, commit: bool = False) -> Batch:
        """Fire and commit as many due timers as fit into one commit, without events."""
        batch, watermark_ms = Batch(), self._watermarks.watermark_ms
        await self._fold.fold([], batch, watermark_ms, moved_ms=watermark_ms, due=due)
        if batch.fired or commit:
            await self._commit(batch, self._source.position)
        return batch

    async def _commit(self, batch: Batch, position: Position) -> None:
        """Commit all results of the batch in one transaction, and move the position."""
        results = batch.results
        made = [await self._made(self._outputs.late(one), batch) for one in results.late if self._writes.late]
        if self._writes.output is not None:
            made += [await self._made(self._outputs.output(one), batch) for one in results.items]
        rows = self._rows(batch)
        errors = await self._error_records(results.failures)
        failed_before = len(results.failures)
        outputs = [admitted.record for admitted in made if admitted is not None]
        token = self._source.token(position)
        changes = [
            *self._fold.changes(),
            StateChange(self._namespace(), PROGRESS_KEY, self._watermarks.encode()),
        ]
        await self._retries.of(lambda: self._store.commit([*outputs, *errors], token, changes, rows))
        self._fold.committed()
        await self._source.move(position)
        rejected = len(results.failures) - failed_before
        self.status.committed(len(outputs) + len(rows) - rejected, results, position.token())

    def _rows(self, batch: Batch) -> list[Delivery]:
        """The rows for the job's table; an event that can never be a row is a failure."""
        if (target := self._store.rows) is None:
            return []
        rows: list[Delivery] = []
        written: list[Element] = []

        async def rejected(index: int, error: Exception) -> Record | None:
            failure = Failure(written[index], "table", error)
            batch.results.failures.append(failure)
            return next(iter(await self._error_records([failure])), None)

        target.on_rejected = rejected
        for element in batch.results.items:
            try:
                target.check(row := delivery_of(element))
            except BaseException as error:  # the event is invalid, or the sink's code fails on it
                contain(error)
                batch.results.failures.append(Failure(element, "table", error))
            else:
                rows.append(row)
                written.append(element)
        return rows

    async def _made(self, making: Awaitable[Admitted | Failure], batch: Batch) -> Admitted | None:
        made = await making
        await self._turn.pause()
        if isinstance(made, Failure):
            batch.results.failures.append(made)
            return None
        return made

    async def _refused(self, record: Record, error: HeadwaterError) -> Record | None:
        """The record that the store relays instead of one that the log no longer accepts."""
        _log.warning("job %s: an event for %s was refused by the log: %s", self.job.label, record.topic, error)
        return await self._outputs.instead_of(record, error, int(self._clock() * 1000))

    async def _error_records(self, failures: Iterable[Failure]) -> list[Record]:
        records = []
        for failure in failures:
            made = await self._outputs.error(failure, int(self._clock() * 1000))
            if isinstance(made, Failure):
                self.status.error_event_refused(made.error)
            else:
                records.append(made.record)
        return records

    def _elements(self, records: Sequence[StoredRecord], batch: Batch) -> list[Element]:
        now_ms = int(self._clock() * 1000)
        return elements_of(
            records, self._streams, self._watermarks, batch.results, now_ms=now_ms, canaries=self.job.canaries
        )

    def _namespace(self) -> str:
        return f"job/{self.job.name}/progress"


def _reached(position: Position, end: Position) -> bool:
    return all(position.offsets.get(part, 0) >= offset for part, offset in end.offsets.items())
