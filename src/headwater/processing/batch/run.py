"""Runs one job over files that end: reads and sorts them, then moves them through the loop of the live runner."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import orjson

from headwater.errors import Fault, HeadwaterError
from headwater.foreign import awaited
from headwater.intake.gate import Gate, GateSettings
from headwater.jobs.job import HistoryOrder, Job
from headwater.jobs.metrics import JobMetrics
from headwater.jobs.scope import Offered
from headwater.jobs.steps import Results
from headwater.log.contract import StateChange, TopicPartition
from headwater.processing.batch.admission import Admission, AdmissionRules, InputCounts, InputLine
from headwater.processing.batch.clocks import with_times_of_arrival
from headwater.processing.batch.sorting import Entry, EntrySort, SortLimits
from headwater.processing.batch.source import EntrySource, RecentIds
from headwater.processing.batch.store import COUNTS, NAMESPACE, FilesStore
from headwater.processing.embedded.loop import EmbeddedRunner
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.status import RunnerStatus
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.telemetry import Telemetry

DAY_MS = 86_400_000
IDS_MAX = 1_000_000
# What a file of errors says does not depend on how fast they came.
FULL_ERRORS_MAX = 2**62
# How often a run begins again without having processed anything in between; the loop sets a bad record aside before.
ATTEMPTS_MAX = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """How a run treats its input. `order` None: as the job wants it."""

    order: HistoryOrder | None = None
    rules: AdmissionRules = field(default_factory=AdmissionRules)
    sort: SortLimits = field(default_factory=SortLimits)
    # Repeats of an id are recognised within this much event time, and among so many events.
    ids_ms: int = DAY_MS
    ids_max: int = IDS_MAX
    events_per_second: float | None = None
    # Whether a live run continues where this one ends, so that windows stay open at its end.
    hands_over: bool = False


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """The outcome: what became of the lines, and how many events the job wrote, failed on and found late.

    The counts are those of the whole input, also if the run was interrupted: `resumed_after` of `read` were processed
    before.
    """

    counts: InputCounts
    duplicates: int
    read: int
    written: int
    errors: int
    late: int
    resumed_after: int
    # What functions of the job counted, by name.
    counted: Mapping[str, float] = field(default_factory=dict)
    # How many events the job could not process and left out, as it was asked to.
    skipped: int = 0


class HistoryRun:
    """One job over one input. `lines` yields the whole input at each call; `directory` exists and is the run's own."""

    def __init__(
        self,
        job: Job,
        project: tuple[StreamRegistry, Validator, GateSettings],
        lines: Callable[[], Iterable[InputLine]],
        *,
        store: FilesStore,
        directory: Path,
        settings: HistorySettings,
        **offered: Unpack[Offered],
    ) -> None:
        """`offered`: what the job's functions find in their context. Raises JobInvalid, StreamUnknown."""
        self._job = job
        self._streams, self._validator, self._gate_settings = project
        self._lines = lines
        self._settings = settings
        self._sorted: EntrySort | None = None
        if (settings.order or job.history_order) == "event-time":
            runs = directory / "sorting"
            runs.mkdir(exist_ok=True)
            self._sorted = EntrySort(runs, settings.sort)
        self._admission = self._door()
        topics = [self._streams.get(name).topics[0] for name in job.reads()]
        self._source = EntrySource(
            self._entries,
            topics,
            ids=lambda: RecentIds(settings.ids_ms, settings.ids_max),
            events_per_second=settings.events_per_second,
        )
        gate = Gate(self._streams, self._validator, self._gate_settings, clock=self._source.now)
        telemetry = Telemetry()
        status = RunnerStatus(job, telemetry)
        # The caller, which knows the target, says where they are.
        status.errors_hint = ""
        status.checkpoint = self._checkpoint
        self._store = store
        # What interrupted runs of the same have counted.
        self._before: Mapping[str, Any] | None = None
        self._metrics = offered["metrics"] = JobMetrics(telemetry, job.name)
        self._runner = EmbeddedRunner(
            job,
            self._source,
            store,
            gate,
            settings=RunnerSettings(
                history=True, hands_over=settings.hands_over, full_errors_per_minute_max=FULL_ERRORS_MAX
            ),
            status=status,
            clock=self._source.now,
            scope=job.scope(None, **offered),
        )

    def read(self, watch: Callable[[], None]) -> int:
        """Read and sort the input, if it is to be sorted; the number of entries, 0 if unknown. Blocks.

        `watch` is called for each line. Raises SchemaUnavailable, OSError.
        """
        if self._sorted is None:
            return 0
        for entry in self._admitted():
            self._sorted.add(entry)
            watch()
        self._sorted.finish()
        return self._sorted.count

    @property
    def done(self) -> int:
        """How many entries were processed so far, by this run and those it resumes."""
        return sum(self._source.processed.offsets.values())

    async def process(self) -> HistorySummary:
        """Process everything from where an interrupted run ended. Raises what the runner raises."""
        status, left = self._runner.status, ATTEMPTS_MAX
        if self._before is None:
            self._before = await self._store.counts()
        while True:
            before = status.report().read
            try:
                await awaited(self._runner.run(drain=True))
                break
            except Exception as error:
                left = ATTEMPTS_MAX if status.report().read > before else left - 1
                own = isinstance(error, HeadwaterError) and error.fault is not Fault.PRODUCER
                if own or left == 0:
                    raise
                _log.warning("job %s: %s; it resumes from the last commit.", self._job.label, error)
        found = self._counts()
        return HistorySummary(
            self._admission.counts,
            self._source.duplicates,
            self.done,
            found["written"] - (found["late"] if self._job.writes().late else 0),
            found["errors"],
            found["late"],
            max(0, self.done - status.report().read),
            found["counted"],
            found["skipped"],
        )

    def _counts(self) -> dict[str, Any]:
        """What this run, and those that it resumes, have counted."""
        report, before = self._runner.status.report(), self._before or {}
        counted = Counter(before.get("counted", {})) + Counter(self._metrics.counted())
        counts = {
            name: before.get(name, 0) + getattr(report, name) for name in ("written", "errors", "late", "skipped")
        }
        return {**counts, "counted": dict(counted)}

    def _checkpoint(self, written: int, results: Results) -> StateChange:
        """The counts after the next commit, of so many outputs and these results, for a run that resumes this one."""
        counts = self._counts()
        counts["written"] += written
        counts["late"] += len(results.late)
        counts["skipped" if self._job.on_error == "skip" else "errors"] += len(results.failures)
        return StateChange(NAMESPACE, COUNTS, orjson.dumps(counts))

    @property
    def newest_ms(self) -> Mapping[TopicPartition, int]:
        """The newest event time in each partition of the log among the input."""
        return self._admission.newest_ms

    def stop(self) -> None:
        """Ask `process` to return after the current batch."""
        self._runner.stop()

    def _entries(self) -> Iterator[Entry]:
        if self._sorted is not None:
            return iter(self._sorted)
        self._admission = self._door()
        # Times of a log are never after that of receipt.
        return with_times_of_arrival(self._admitted(), is_dated=lambda: bool(self._admission.newest_ms))

    def _admitted(self) -> Iterator[Entry]:
        for line in self._lines():
            entry = self._admission.entry(line)
            if entry is not None:
                yield entry

    def _door(self) -> Admission:
        return Admission(self._job, self._streams, self._validator, self._gate_settings, self._settings.rules)
