"""Makes the records of what an operator has made: outputs, emitted and late events that passed the gate, and errors.

It does what the embedded runner does before a commit, with the same parts; what it makes is written by the sink.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from headwater.intake.gate import Gate
from headwater.intake.outcome import Admitted
from headwater.jobs.job import Job
from headwater.jobs.steps import Element, Failure, Results
from headwater.log.contract import Record
from headwater.processing.failures.counts import ErrorCounts
from headwater.processing.failures.events import ErrorEvents
from headwater.processing.failures.failed_events import FailedEvents
from headwater.processing.failures.recording import FailureRecords
from headwater.processing.failures.redriven import was_written, written_of
from headwater.processing.flink.limits import TopicLimits
from headwater.processing.output_gate import STEP, OutputGate
from headwater.processing.outputs import OutputBuilder

_log = logging.getLogger(__name__)


class RecordMaker:
    """Makes the records of one operator. Used by one thread."""

    def __init__(
        self, job: Job, gate: Gate, limits: TopicLimits, *, full_per_minute_max: int, clock: Callable[[], float]
    ) -> None:
        """`full_per_minute_max`: how many errors of one cause are described in full each minute."""
        self._job = job
        self._writes = job.writes()
        self._limits = limits
        self._outputs = OutputBuilder(job, gate)
        errors = ErrorEvents(
            job,
            gate,
            OutputGate(gate, limits),
            ErrorCounts(),
            full_per_minute_max=full_per_minute_max,
            apart=FailedEvents(None),
        )
        self._failures = FailureRecords(job, errors, clock, self._refused)

    def prepare(self) -> None:
        """Find the schemas of the outputs. Blocks on I/O. Raises StreamUnknown, SchemaNotFound, JobInvalid."""
        self._outputs.prepare()

    def try_records(self, results: Results) -> list[Record] | None:
        """As `records`, for what needs no waiting; None, and nothing is done, for anything else."""
        if results.failures or results.late:
            return None
        records = []
        for item in self._written(results):
            made = self._outputs.try_output(item)
            if not isinstance(made, Admitted) or self._limits.check(made.record) is not None:
                return None
            records.append(made.record)
        return records

    async def records(self, results: Results) -> list[Record]:
        """The records of what the last step has made (`items`), and of all that goes past the steps that follow.

        What does not pass the gate is added to the failures. Raises JobStopped if the job is to stop at one of them.
        """
        made = [await self._outputs.late(one) for one in results.late] if self._writes.late else []
        made += [await self._output(one) for one in self._written(results)]
        checked = [self._checked(one, item) for one, item in zip(made, self._origins(results), strict=True)]
        results.failures += [one for one in checked if isinstance(one, Failure)]
        records = [one.record for one in checked if isinstance(one, Admitted)]
        written = written_of(results) if results.failures else {}
        return [*records, *await self._failures.records(results.failures, written)]

    def _written(self, results: Results) -> Iterable[Element]:
        """What becomes outputs: not what was written when the event was processed before."""
        items = results.items if self._writes.output is not None else []
        return [one for one in (*items, *results.emitted) if not was_written(one)]

    def _origins(self, results: Results) -> list[Element]:
        return [*(results.late if self._writes.late else ()), *self._written(results)]

    async def _output(self, item: Element) -> Admitted | Failure:
        made = self._outputs.try_output(item)
        return await self._outputs.output(item) if made is None else made

    def _checked(self, made: Admitted | Failure, item: Element) -> Admitted | Failure:
        if isinstance(made, Failure) or (error := self._limits.check(made.record)) is None:
            return made
        return Failure(item, STEP, error)

    def _refused(self, error: BaseException) -> None:
        _log.error("job %s: an error event was refused: %s", self._job.label, error)
