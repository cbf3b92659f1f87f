"""Makes the commit of a batch: its outputs, error events and rows, with the state and the position they belong to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.connectors.contract import Delivery
from headwater.errors import HeadwaterError, WriteGivenUp
from headwater.foreign import contain
from headwater.intake.gate import Gate
from headwater.intake.outcome import Admitted
from headwater.jobs.job import Job
from headwater.jobs.steps import Element, Failure, Results
from headwater.log.contract import Position, Record, StateChange
from headwater.processing.embedded.elements import delivery_of
from headwater.processing.embedded.fold import Batch, LoopTurn
from headwater.processing.embedded.retries import Retries
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.embedded.source import JobSource
from headwater.processing.failures.causes import TABLE
from headwater.processing.failures.events import ErrorEvents
from headwater.processing.failures.failed_events import FailedEvents
from headwater.processing.failures.recording import NOTHING_WRITTEN, FailureRecords
from headwater.processing.failures.redriven import was_written, written_of
from headwater.processing.output_gate import OutputGate
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.contract import JobStore, ReplacesRefused

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One commit, ready to be stored. `written`: how many outputs and rows it has, `failures` before it: how many."""

    position: Position
    token: str
    results: Results
    records: Sequence[Record]
    rows: Sequence[Delivery]
    changes: Sequence[StateChange]
    written: int
    failures: int


class Outputs(Protocol):
    """What makes the records of a job's results: each passes the gate, or is a failure."""

    def prepare(self) -> None:
        """Find the schemas of the outputs. Blocks on I/O. Raises StreamUnknown, SchemaNotFound, JobInvalid."""
        ...

    def try_output(self, item: Element) -> Admitted | Failure | None:
        """As `output`; None if that has to wait, for a schema or for the log."""
        ...

    async def output(self, item: Element) -> Admitted | Failure:
        """The event made of `item`. Raises retriable errors."""
        ...

    async def late(self, item: Element) -> Admitted | Failure:
        """The late event as it was, in the job's late stream. Raises retriable errors."""
        ...


class Commits:
    """Makes and stores the commits of one job, one after the other."""

    def __init__(
        self,
        job: Job,
        source: JobSource,
        store: JobStore,
        *,
        outputs: Outputs,
        errors: ErrorEvents,
        status: RunnerStatus,
        retries: Retries,
        turn: LoopTurn,
        clock: Callable[[], float],
    ) -> None:
        self._job = job
        self._source = source
        self._store = store
        self._status = status
        self._retries = retries
        self._turn = turn
        self._clock = clock
        self._writes = job.writes()
        self._outputs = outputs
        self._errors = errors
        self._failures = FailureRecords(job, errors, clock, status.error_event_refused)
        if isinstance(store, ReplacesRefused):
            store.on_refused = self._refused

    async def begin(self) -> None:
        """Find the schemas of the outputs. Raises StreamUnknown, SchemaNotFound, JobInvalid."""
        await asyncio.to_thread(self._outputs.prepare)

    async def prepare(self, batch: Batch, position: Position, changes: Sequence[StateChange]) -> Prepared:
        """Everything that the results of `batch` are stored as; what cannot be stored is added to its failures.

        Raises JobStopped if an event failed and the job is to stop at it.
        """
        results = batch.results
        if results.redriven:
            results.items = [one for one in results.items if not was_written(one)]
            results.emitted = [one for one in results.emitted if not was_written(one)]
        made = [await self._outputs.late(one) for one in results.late] if self._writes.late else []
        # What a connector has read says itself which stream it is for.
        if self._writes.output is not None or self._job.input is not None:
            await self._make(results.items, made)
        await self._make(results.emitted, made)
        results.failures += [one for one in made if isinstance(one, Failure)]
        outputs = [one.record for one in made if isinstance(one, Admitted)]
        rows = await self._rows(batch)
        errors = await self._error_records(results.failures, written_of(results) if results.failures else {})
        written, failures = len(outputs) + len(rows), len(results.failures)
        token = self._source.token(position)
        if self._status.checkpoint is not None:
            changes = [*changes, self._status.checkpoint(written, results)]
        return Prepared(position, token, results, [*outputs, *errors], rows, changes, written, failures)

    async def store(self, prepared: Prepared) -> None:
        """Store it in one transaction, with retries."""
        await self._retries.of(
            lambda: self._store.commit(prepared.records, prepared.token, prepared.changes, prepared.rows)
        )

    def stored(self, prepared: Prepared) -> None:
        """Count what was stored. Rows that the target rejected during the commit are failures by now."""
        rejected = len(prepared.results.failures) - prepared.failures
        written, token = prepared.written - rejected, prepared.position.token()
        self._status.committed(written, prepared.results, token, prepared.rows)

    async def _rows(self, batch: Batch) -> list[Delivery]:
        """The rows for the job's table; an event that can never be a row is a failure."""
        if (target := self._store.rows) is None:
            return []
        rows: list[Delivery] = []
        written: list[Element] = []

        async def rejected(index: int, error: Exception) -> Sequence[Record]:
            attempts = error.attempts if isinstance(error, WriteGivenUp) else 1
            failure = Failure(written[index], TABLE, error, attempts=attempts)
            batch.results.failures.append(failure)
            return await self._error_records([failure])

        target.on_rejected = rejected
        for element in batch.results.items:
            try:
                target.check(row := delivery_of(element))
            except BaseException as error:  # the event is invalid, or the sink's code fails on it
                contain(error)
                batch.results.failures.append(Failure(element, TABLE, error))
            else:
                rows.append(row)
                written.append(element)
            if self._turn.is_over:
                await self._turn.pause()
        return rows

    async def _make(self, items: Iterable[Element], made: list[Admitted | Failure]) -> None:
        """Make the output events of `items`."""
        outputs, turn = self._outputs, self._turn
        for item in items:
            one = outputs.try_output(item)
            made.append(await outputs.output(item) if one is None else one)
            if turn.is_over:
                await turn.pause()

    async def _refused(self, record: Record, error: HeadwaterError) -> Sequence[Record]:
        """The records that the store relays instead of one that the log no longer accepts.

        The event that it was made of is committed: too late to stop in front of it.
        """
        _log.warning("job %s: an event for %s was refused by the log: %s", self._job.label, record.topic, error)
        if self._job.on_error == "skip":
            return []
        return await self._errors.instead_of(record, error, int(self._clock() * 1000))

    async def _error_records(
        self, failures: Iterable[Failure], written: Mapping[int, Sequence[str]] = NOTHING_WRITTEN
    ) -> list[Record]:
        return await self._failures.records(failures, written)


def error_events(
    job: Job, gate: Gate, store: JobStore, status: RunnerStatus, settings: RunnerSettings, *, apart: FailedEvents | None
) -> ErrorEvents:
    """What makes the error events of one job; `apart`: where events are stored that do not fit into them."""
    return ErrorEvents(
        job,
        gate,
        OutputGate(gate, store.refuses),
        status.errors_by_cause,
        full_per_minute_max=settings.full_errors_per_minute_max,
        apart=apart,
        dated_by_event=settings.history,
    )
