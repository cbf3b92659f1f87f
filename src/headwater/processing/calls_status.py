"""The status of the async calls of a job: what is in flight, what waits to be tried again, and its circuit."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from headwater.jobs.job import Job
from headwater.processing.wording import counted, short_reason
from headwater.telemetry import Telemetry, closed, declared

# How a call may end; `transient`: with an error that may pass.
OUTCOMES = ("succeeded", "transient", "failed")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallsReport:
    """The calls of a job at one moment.

    `in_flight`: how many events were read and are not committed, `in_flight_bytes`: their size, with the results so
    far. `waiting`: how many of them wait to be tried again. `parked`: how many events are to be tried again much later,
    `parked_bytes`: their size. `circuit`: the reason because of which the circuit is open.
    """

    in_flight: int = 0
    in_flight_bytes: int = 0
    waiting: int = 0
    parked: int = 0
    parked_bytes: int = 0
    circuit: str | None = None

    def __add__(self, other: CallsReport) -> CallsReport:
        return CallsReport(
            self.in_flight + other.in_flight,
            self.in_flight_bytes + other.in_flight_bytes,
            self.waiting + other.waiting,
            self.parked + other.parked,
            self.parked_bytes + other.parked_bytes,
            self.circuit or other.circuit,
        )


NO_CALLS = CallsReport()


class CallsStatus:
    """Counts the calls of one runner, and prints when its circuit opens and closes."""

    def __init__(self, job: Job, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._job = job
        self._clock = clock
        self._report = NO_CALLS
        self._opened_at = 0.0
        counter = telemetry.counter(
            "headwater_job_attempts",
            "Calls of async functions of jobs, by outcome.",
            (declared("job"), closed("outcome")),
        )
        self._attempts = {outcome: counter.labels(job.name, outcome) for outcome in OUTCOMES} if job.awaits else {}
        self.retried = 0
        retries = telemetry.counter(
            "headwater_job_retries", "Calls of async functions of jobs that were made again.", (declared("job"),)
        )
        self._retries = retries.labels(job.name) if job.awaits else None

    def report(self) -> CallsReport:
        """The current status."""
        return self._report

    def attempted(self, outcome: str) -> None:
        """A call ended with one of `OUTCOMES`."""
        self._attempts[outcome].inc()

    def retries(self) -> None:
        """A call is made again."""
        self.retried += 1
        if self._retries is not None:
            self._retries.inc()

    def ended(self) -> None:
        """The run ended; what is parked stays so."""
        self._report = CallsReport(parked=self._report.parked, parked_bytes=self._report.parked_bytes)

    def now(self, report: CallsReport, circuit: BaseException | None) -> None:
        """The status has changed. `circuit`: the error because of which the circuit is open."""
        was_open = self._report.circuit is not None
        reason = None if circuit is None else short_reason(circuit)
        self._report = replace(report, circuit=reason)
        if reason is not None and not was_open:
            self._opened_at = self._clock()
            _log.warning(
                "job %s: the circuit is open, because half of the last events failed: %s. Nothing is read or given up"
                " until one of the events, which are tried one after the other, succeeds.",
                self._job.label,
                reason,
            )
        elif reason is None and was_open:
            seconds = counted(round(self._clock() - self._opened_at), "second")
            _log.warning("job %s: the circuit is closed again, after %s.", self._job.label, seconds)


_METRICS: tuple[tuple[str, str, Callable[[CallsReport], float]], ...] = (
    ("in_flight_events", "Events that a job has read and not committed.", lambda report: report.in_flight),
    ("in_flight_bytes", "Their size, with the results so far.", lambda report: report.in_flight_bytes),
    ("waiting_events", "Those of them that wait to be tried again.", lambda report: report.waiting),
    ("parked_events", "Events that a job has parked, to be tried again later.", lambda report: report.parked),
    ("parked_bytes", "The size of the parked events.", lambda report: report.parked_bytes),
    ("circuit_open", "Whether a job waits for the end of an outage.", lambda report: report.circuit is not None),
)


def show_calls(telemetry: Telemetry, job: str, report: Callable[[], CallsReport]) -> None:
    """Make a metric of each number of the report."""
    for name, help_text, number in _METRICS:
        gauge = telemetry.gauge(f"headwater_job_{name}", help_text, (declared("job"),))
        gauge.labels(job).set_function(functools.partial(_number, report, number))


def _number(report: Callable[[], CallsReport], number: Callable[[CallsReport], float]) -> float:
    return float(number(report()))
