"""What is known about a running job: its state, its counts and its last trouble, for people and for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from headwater.processing.steps import NO_WATERMARK, Results
from headwater.telemetry import Telemetry
from headwater.times import utc_text

State = Literal["starting", "running", "retrying", "restarting", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class JobReport:
    """One moment of a job: counts since the process started, times in ISO or None."""

    name: str
    state: State
    read: int
    written: int
    errors: int
    late: int
    restarts: int
    watermark: str | None
    position: str | None
    last_error: str | None


class RunnerStatus:
    """Counts what a runner does."""

    def __init__(self, name: str, telemetry: Telemetry) -> None:
        self.name = name
        self.state: State = "starting"
        self.last_error: BaseException | None = None
        self.restarts = 0
        self._counts = {"read": 0, "written": 0, "errors": 0, "late": 0}
        self._watermark_ms = NO_WATERMARK
        self._position: str | None = None
        events = telemetry.counter("headwater_job_events", "Events of jobs, by what became of them.", ("job", "what"))
        self._counters: dict[str, Any] = {what: events.labels(name, what) for what in self._counts}
        self._lost = telemetry.counter(
            "headwater_job_positions_lost", "How often retention overtook a job.", ("job",)
        ).labels(name)
        self._restarts = telemetry.counter("headwater_job_restarts", "Restarts after failures.", ("job",)).labels(name)
        self._watermark = telemetry.gauge(
            "headwater_job_watermark_seconds", "Event time up to which a job is complete.", ("job",)
        ).labels(name)

    def report(self) -> JobReport:
        """The present moment."""
        return JobReport(
            name=self.name,
            state=self.state,
            **self._counts,
            restarts=self.restarts,
            watermark=None if self._watermark_ms == NO_WATERMARK else utc_text(self._watermark_ms),
            position=self._position,
            last_error=None if self.last_error is None else f"{type(self.last_error).__name__}: {self.last_error}",
        )

    def running(self) -> None:
        self.state = "running"

    def read(self, events: int, watermark_ms: int) -> None:
        self._count("read", events)
        self._watermark_ms = watermark_ms
        if watermark_ms != NO_WATERMARK:
            self._watermark.set(watermark_ms / 1000)

    def committed(self, written: int, results: Results, token: str) -> None:
        self.state = "running"
        self._position = token
        self._count("written", written)
        self._count("errors", len(results.failures))
        self._count("late", len(results.late))
        if results.failures:
            self.last_error = results.failures[-1].error

    def retrying(self, error: BaseException) -> None:
        self.state = "retrying"
        self.last_error = error

    def position_lost(self, error: BaseException) -> None:
        self.last_error = error
        self._lost.inc()

    def restarting(self, error: BaseException) -> None:
        self.state = "restarting"
        self.last_error = error
        self.restarts += 1
        self._restarts.inc()

    def ended(self, error: BaseException | None = None) -> None:
        self.state = "stopped" if error is None else "failed"
        self.last_error = error or self.last_error

    def _count(self, what: str, number: int) -> None:
        if number:
            self._counts[what] += number
            self._counters[what].inc(number)
