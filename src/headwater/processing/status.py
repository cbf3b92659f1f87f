"""The status of a running job: its state, its counts and its last error, for people and for metrics."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from headwater.connectors.contract import Delivery
from headwater.errors import HeadwaterError, SinkFrozen
from headwater.foreign import name_of, original, stack_of
from headwater.jobs.job import Job
from headwater.jobs.steps import NO_WATERMARK, Failure, Results
from headwater.log.contract import StateChange
from headwater.processing.announcing import Announcements
from headwater.processing.calls_status import NO_CALLS, CallsReport, CallsStatus, show_calls
from headwater.processing.failures.counts import ErrorCounts, ErrorGroup
from headwater.processing.latency import NO_LATENCY, Latency, LatencyReport
from headwater.processing.sink_status import SinkReport, SinkStatus
from headwater.processing.source_status import SourceReport, SourceStatus
from headwater.processing.wording import counted, short_reason
from headwater.telemetry import Telemetry, closed, declared
from headwater.times import utc_text

State = Literal[
    "starting",
    "running",
    "retrying",
    "circuit_open",
    "paused",
    "restarting",
    "frozen",
    "stopped_on_error",
    "elsewhere",
    "failed",
    "stopped",
]
# "frozen": its table cannot hold its events, until that is repaired.
# "stopped_on_error": in front of an event that it cannot process, until it is resumed; "stopped": the process ends.
# "elsewhere": another process runs it, or Flink.
# How long after a failed event, and after a restart without a commit since, a job is reported as failing.
ERROR_SECONDS = 60.0
RESTART_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobReport:
    """A job at one moment: counts since the process started, times in ISO format or None.

    `trouble` describes what is wrong with it now; None if nothing is. `emitted`: stream → how many of `written` its
    functions emitted to it. `dropped`: reason → how many events a step dropped, as repeats do. `skipped`: how many it
    could not process and left out, as it was asked to. `calls`: those of its async functions. `error_groups`: its
    errors by cause, the largest group first. `processes`: the numbers of the processes that it runs in; () if it runs
    in the platform's own. `trouble_of_process`: whether `trouble` is about its process, and may name other jobs.
    """

    name: str
    place: str | None
    state: State
    read: int
    written: int
    errors: int
    late: int
    restarts: int
    watermark: str | None
    position: str | None
    last_error: str | None
    trouble: str | None
    calls: CallsReport = NO_CALLS
    emitted: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    error_groups: tuple[ErrorGroup, ...] = ()
    processes: tuple[int, ...] = ()
    skipped: int = 0
    trouble_of_process: bool = False
    # Calls that were made again.
    retried: int = 0
    latency: LatencyReport = NO_LATENCY
    # Records of its sources that it has not processed, when it was last looked, and how far its event time is behind.
    lag: int | None = None
    lag_seconds: float | None = None
    state_keys: int = 0
    state_bytes: int = 0
    # Of a job that writes by a sink, and of one that reads by a connector.
    sink: SinkReport | None = None
    source: SourceReport | None = None


def lag_seconds(lag: int | None, watermark_ms: int) -> float | None:
    """How far the event time of a job is behind the clock; 0 if it has processed everything, None if not known."""
    if not lag:
        return None if lag is None else 0.0
    return None if watermark_ms == NO_WATERMARK else max(0.0, time.time() - watermark_ms / 1000)


def ended(report: JobReport) -> JobReport:
    """What is left of the report of a part, or of a process, that has ended: what it has counted."""
    return replace(
        report,
        calls=NO_CALLS,
        trouble=None,
        latency=NO_LATENCY,
        lag=None,
        lag_seconds=None,
        state_keys=0,
        state_bytes=0,
        sink=None if report.sink is None else report.sink.ended(),
        source=None if report.source is None else report.source.ended(),
    )


def show_report(telemetry: Telemetry, job: Job, report: Callable[[], JobReport]) -> None:
    """Metrics of whether something is wrong with a job, of its lag, and of its state if it keeps any."""
    shown: list[tuple[str, str, Callable[[JobReport], float]]] = [
        (
            "headwater_job_in_trouble",
            "Whether a job fails and is restarted, or its events fail.",
            lambda one: one.trouble is not None,
        ),
        (
            "headwater_job_stopped",
            "Whether a job is stopped in front of an event that it cannot process.",
            lambda one: one.state == "stopped_on_error",
        ),
        ("headwater_job_lag_events", "Records of its sources that a job has not processed.", lambda one: one.lag or 0),
        (
            "headwater_job_lag_seconds",
            "How far the event time of a job is behind the clock; 0 if it has processed everything.",
            lambda one: one.lag_seconds or 0.0,
        ),
    ]
    if job.writes().sink is not None:
        help_text = "Whether the table of a sink cannot hold its events, which stay in the log."
        shown.append(("headwater_sink_frozen", help_text, lambda one: one.state == "frozen"))
    if job.keyed_steps:
        shown += [
            ("headwater_job_state_keys", "Keys of which a job keeps state.", lambda one: one.state_keys),
            ("headwater_job_state_bytes", "Bytes of the state that a job keeps.", lambda one: one.state_bytes),
        ]
    if job.input is not None:
        help_text = "Whether the upstream of a source says how many events were not delivered yet."
        shown.append(("headwater_source_lag_known", help_text, lambda one: one.lag is not None))
    for name, documentation, value in shown:
        gauge = telemetry.gauge(name, documentation, (declared("job"),)).labels(job.name)
        gauge.set_function(partial(_value, value, report))


def _value(value: Callable[[JobReport], float], report: Callable[[], JobReport]) -> float:
    return float(value(report()))


class RunnerStatus:
    """Counts what a runner does, and prints errors on the console.

    `announcements` are shared by the runners of parts of one job, so that each error is printed once.
    """

    # Whether another process runs the job, or Flink, and what is known of it.
    is_elsewhere = False
    _reported: JobReport | None = None

    def __init__(
        self,
        job: Job,
        telemetry: Telemetry,
        announcements: Announcements | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self.state: State = "starting"
        # As text: an exception would keep everything alive that its frames refer to.
        self.last_error: str | None = None
        self.restarts = 0
        self.errors_by_cause = ErrorCounts()
        # Where the reader of a message finds the error events; "" where they are not in the log.
        self.errors_hint = f"; see `headwater errors list {job.name}`"
        self._announcements = announcements or Announcements(clock)
        self._clock = clock
        self._error_at = self._restart_at = float("-inf")
        self._restarts_in_a_row = 0
        self._restart_kind = ""
        self._has_begun = False
        # Gives what is committed with so many outputs, and these results, if the counts have to outlive the process.
        self.checkpoint: Callable[[int, Results], StateChange] | None = None
        # Whether a record is searched for that makes its batch fail each time.
        self.is_searching = False
        # Whether the position is known.
        self.has_run = False
        self._this_batch_failed = self._last_events_failed = False
        self._counts = {"read": 0, "written": 0, "errors": 0, "late": 0, "skipped": 0}
        self._emitted: Counter[str | None] = Counter()
        self._dropped: Counter[str] = Counter()
        self._watermark_ms = NO_WATERMARK
        self._position: str | None = None
        self.calls = CallsStatus(job, telemetry, clock)
        self.sink = None if job.writes().target is None else SinkStatus(job, telemetry)
        self.source = None if job.input is None else SourceStatus(job, telemetry)
        self._lag: int | None = None
        self._state_size = (0, 0)
        name = job.name
        self.latency = Latency.of(telemetry, name, clock)
        events = telemetry.counter(
            "headwater_job_events", "Events of jobs, by outcome.", (declared("job"), closed("what"))
        )
        self._counters: dict[str, Any] = {what: events.labels(name, what) for what in (*self._counts, "dropped")}
        self._lost = telemetry.counter(
            "headwater_job_positions_lost",
            "How often records were deleted or damaged before a job had read them.",
            (declared("job"),),
        ).labels(name)
        self._restarts = telemetry.counter(
            "headwater_job_restarts", "Restarts after failures.", (declared("job"),)
        ).labels(name)
        self._watermark = telemetry.gauge(
            "headwater_job_watermark_seconds", "Event time up to which a job is complete.", (declared("job"),)
        ).labels(name)

        if announcements is None:  # a part of a job is included in the report of the whole
            show_report(telemetry, job, self.report)
            if job.awaits:
                show_calls(telemetry, name, lambda: self.report().calls)

    def report(self) -> JobReport:
        """The current status."""
        if self._reported is not None:
            return self._reported
        calls = self.calls.report()
        return JobReport(
            name=self.job.name,
            place=None if self.job.place is None else str(self.job.place),
            state="circuit_open" if calls.circuit is not None and self.state == "running" else self.state,
            read=self._counts["read"],
            written=self._counts["written"],
            errors=self._counts["errors"],
            late=self._counts["late"],
            skipped=self._counts["skipped"],
            restarts=self.restarts,
            watermark=None if self._watermark_ms == NO_WATERMARK else utc_text(self._watermark_ms),
            position=self._position,
            last_error=calls.circuit or self.last_error,
            trouble=self._trouble(),
            calls=calls,
            emitted={to: count for to, count in self._emitted.items() if to is not None},
            dropped=dict(self._dropped),
            error_groups=self.errors_by_cause.groups(),
            retried=self.calls.retried,
            latency=self.latency.report(),
            lag=self._lag,
            lag_seconds=lag_seconds(self._lag, self._watermark_ms),
            state_keys=self._state_size[0],
            state_bytes=self._state_size[1],
            sink=None if self.sink is None else self.sink.report(),
            source=None if self.source is None else self.source.report(),
        )

    def lags(self, records: int | None) -> None:
        """So many records of its sources are not processed; None: that is not known."""
        self._lag = records

    def state_size(self, keys: int, size_bytes: int) -> None:
        """So many keys are kept, with so many bytes."""
        self._state_size = keys, size_bytes

    def running(self) -> None:
        self.state = "running"
        self._has_begun = self.has_run = True

    def read(self, events: int, watermark_ms: int) -> None:
        self._count("read", events)
        self._last_events_failed = self._this_batch_failed
        self._watermark_ms = watermark_ms
        if watermark_ms != NO_WATERMARK:
            self._watermark.set(watermark_ms / 1000)

    def committed(self, written: int, results: Results, token: str, rows: Sequence[Delivery] = ()) -> None:
        """A batch was committed with so many outputs or rows, of `rows`."""
        self.state = "running"
        if self.sink is not None:
            self.sink.committed(written, len(results.failures), rows)
        if results.emitted:
            refused = Counter(one.item.to for one in results.failures)
            self._emitted += Counter(one.to for one in results.emitted) - refused
        self._position = token
        self._count("written", written)
        skips = self.job.on_error == "skip"
        self._count("skipped" if skips else "errors", len(results.failures))
        self._count("late", len(results.late))
        if results.dropped:
            self._dropped += Counter(reason for reason, _ in results.dropped)
            self._counters["dropped"].inc(len(results.dropped))
        self._this_batch_failed = bool(results.failures) and not skips
        if results.failures:
            self._failed(results.failures)
        if self._restarts_in_a_row:
            _log.warning("job %s works again, after %s.", self.job.label, counted(self._restarts_in_a_row, "restart"))
            self._announcements.forget(self._restart_kind)
            self._restarts_in_a_row = 0

    def retrying(self, error: BaseException) -> None:
        if isinstance(error, SinkFrozen):
            self.frozen(error)
            return
        self.state = "retrying"
        self.last_error = short_reason(error)
        self._other_failed(error)

    def frozen(self, error: SinkFrozen) -> None:
        """Its table cannot hold its events; it is tried again, until somebody has repaired that."""
        reason = " ".join(filter(None, (short_reason(error), error.hint)))
        if self._announcements.of(f"frozen {reason}") is not None:
            _log.error("job %s is frozen: %s", self.job.label, reason)
        self.state, self.last_error = "frozen", reason
        self._other_failed(error)

    def paused(self) -> None:
        """Somebody has paused the job."""
        self.state = "paused"
        self.last_error = None

    def stopped_on_error(self, reason: str) -> None:
        """The job is stopped in front of an event that it cannot process."""
        if self.state != "stopped_on_error" or self.last_error != reason:
            _log.error(
                "job %s is stopped: %s. Nothing is lost: it continues at this event after a restart, or when it is"
                " resumed (`headwater job resume %s`).",
                self.job.label,
                reason,
                self.job.name,
            )
        self.state, self.last_error = "stopped_on_error", reason

    def position_lost(self, error: BaseException) -> None:
        self.last_error = short_reason(error)
        self._lost.inc()

    def restarting(self, error: BaseException, pause_seconds: float, *, unforeseen: bool = False) -> None:
        """The runner ended and is restarted after the pause. `unforeseen`: the stack is printed."""
        self.state = "restarting"
        self.last_error = short_reason(error)
        self._other_failed(error)
        self.restarts += 1
        self._restart_at = self._clock()
        self._restarts.inc()
        if isinstance(error, HeadwaterError) and error.is_away:
            # The log reports this itself, once for all jobs.
            return
        self._restarts_in_a_row += 1
        self._restart_kind = f"restart {self.last_error}"
        what, self._has_begun = "has ended" if self._has_begun else "cannot start", False
        announced = self._announcements.of(self._restart_kind)
        if announced is None:
            return
        _log.log(
            logging.ERROR if unforeseen else logging.WARNING,
            "job %s %s%s; the next attempt is in %.1f s: %s%s",
            self.job.label,
            what,
            "" if announced.total == 1 else f" ({announced.total:,} times so far)",
            pause_seconds,
            self.last_error,
            f"\n{stack_of(error)}" if unforeseen and announced.total == 1 else "",
        )

    def error_event_refused(self, error: BaseException) -> None:
        """An error event could not be stored: the event is counted as failed, and the reason is printed."""
        announced = self._announcements.of(f"error event {name_of(error)}")
        if announced is not None:
            _log.warning(
                "job %s: %s not stored in %s: %s",
                self.job.label,
                f"{counted(announced.fresh, 'error event')} {'was' if announced.fresh == 1 else 'were'}",
                self.job.writes().errors,
                short_reason(error),
            )

    def elsewhere(self, report: JobReport | None = None, watermark_ms: int = NO_WATERMARK) -> None:
        """Another process runs the job, or Flink; `report` is what is known of it, with counts since its start."""
        self.is_elsewhere = True
        self.state = "elsewhere" if report is None else report.state
        if report is None:
            return
        for what, before in self._counts.items():
            number: int = getattr(report, what)
            # Flink counts from zero after a restart; 0 may also be that nothing is known now.
            if number:
                self._counters[what].inc(number - before if number >= before else number)
                self._counts[what] = number
        self._restarts.inc(max(0, report.restarts - self.restarts))
        self.restarts = report.restarts
        if watermark_ms != NO_WATERMARK:
            self._watermark.set(watermark_ms / 1000)
        self._reported = report

    def ended(self, error: BaseException | None = None) -> None:
        self.state = "stopped" if error is None else "failed"
        self.last_error = self.last_error if error is None else short_reason(error)

    def _failed(self, failures: Sequence[Failure]) -> None:
        skips = self.job.on_error == "skip"
        if not skips:
            self._error_at = self._clock()
        self.last_error = short_reason(failures[-1].error)
        self._other_failed(failures[-1].error)
        kinds: dict[str, list[Failure]] = {}
        for failure in failures:
            kinds.setdefault(f"{failure.step}: {name_of(original(failure.error))}", []).append(failure)
        for kind, ones in kinds.items():
            announced = self._announcements.of(kind, len(ones))
            if announced is not None:
                _log.warning(
                    "job %s: %s could not be processed%s%s. The last: %s: %s",
                    self.job.label,
                    counted(announced.fresh, "event"),
                    ""
                    if announced.total == announced.fresh
                    else f" since the last message, {announced.total:,} in all",
                    ", and left out" if skips else self.errors_hint,
                    ones[-1].step,
                    short_reason(ones[-1].error),
                )

    def _other_failed(self, error: BaseException) -> None:
        """What the job exchanges events with has failed, or its run."""
        for other in (self.sink, self.source):
            if other is not None:
                other.failed(short_reason(error), error)

    def _trouble(self) -> str | None:
        now = self._clock()
        if self.state == "stopped_on_error":
            return f"stopped: {self.last_error}"
        if self.state in ("retrying", "restarting", "frozen", "failed"):
            return f"{self.state}: {self.last_error}"
        if self.state == "running" and (calls := self.calls.report()).circuit is not None:
            return f"circuit open, {counted(calls.waiting, 'event')} waiting: {calls.circuit}"
        if self._restarts_in_a_row and now - self._restart_at < RESTART_SECONDS:
            return f"started again: {self.last_error}"
        if self.state == "running" and (self._last_events_failed or now - self._error_at < ERROR_SECONDS):
            return f"events fail: {self.last_error}"
        return None

    def _count(self, what: str, number: int) -> None:
        if number:
            self._counts[what] += number
            self._counters[what].inc(number)
