"""How one source is doing: what it has delivered, what it has withheld, and since when it waits for its upstream."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from headwater.errors import SourceUnavailable
from headwater.jobs.job import Job
from headwater.telemetry import Telemetry, declared


@dataclass(frozen=True, slots=True)
class SourceReport:
    """A source at one moment: counts since the process started, times in epoch milliseconds.

    `withheld`: what its connector left out of events, since no rule shows it or it could not be decided, → how often.
    `waiting_since_ms`: since when its upstream does not answer; None if it does.
    """

    name: str
    connector: str
    delivered: int = 0
    delivered_ms: int | None = None
    withheld: Mapping[str, int] = field(default_factory=dict)
    waiting_since_ms: int | None = None
    last_error: str | None = None
    last_error_ms: int | None = None

    def __add__(self, other: SourceReport) -> SourceReport:
        """The report of both parts of one job, or of one and its successor: the last error is the newer one."""
        newer = max(self, other, key=lambda one: one.last_error_ms or 0)
        return replace(
            self,
            delivered=self.delivered + other.delivered,
            delivered_ms=max(filter(None, (self.delivered_ms, other.delivered_ms)), default=None),
            withheld=dict(Counter(self.withheld) + Counter(other.withheld)),
            waiting_since_ms=min(filter(None, (self.waiting_since_ms, other.waiting_since_ms)), default=None),
            last_error=newer.last_error,
            last_error_ms=newer.last_error_ms,
        )

    def ended(self) -> SourceReport:
        """What is left of it when its process has ended: what it has counted."""
        return replace(self, waiting_since_ms=None)


class SourceStatus:
    """Counts what the connector of one job does. `clock`: epoch seconds."""

    def __init__(self, job: Job, telemetry: Telemetry, clock: Callable[[], float] = time.time) -> None:
        assert job.input is not None
        self._name = job.input.name
        self._connector = job.input.spec.name
        self._clock = clock
        self._delivered = 0
        self._delivered_ms: int | None = None
        self._withheld: Mapping[str, int] = {}
        self._waiting_since_ms: int | None = None
        self._last_error: str | None = None
        self._last_error_ms: int | None = None
        began_ms = int(clock() * 1000)
        for name, documentation, value in (
            (
                "headwater_source_seconds_since_event",
                "Seconds since the connector of a source has delivered an event, or since the start.",
                lambda: self._seconds_since(began_ms if self._delivered_ms is None else self._delivered_ms),
            ),
            (
                "headwater_source_waiting_seconds",
                "For how long the upstream of a source has not answered; 0 if it does.",
                lambda: self._seconds_since(self._waiting_since_ms),
            ),
            (
                "headwater_source_values_withheld",
                "Values, rows and tables that a source left out since no rule shows them, since the start.",
                lambda: float(sum(self._withheld.values())),
            ),
        ):
            telemetry.gauge(name, documentation, (declared("job"),)).labels(job.name).set_function(value)
        events = telemetry.counter("headwater_source_events", "Events that connectors delivered.", (declared("job"),))
        self._events = events.labels(job.name)

    def report(self) -> SourceReport:
        """The current status."""
        return SourceReport(
            name=self._name,
            connector=self._connector,
            delivered=self._delivered,
            delivered_ms=self._delivered_ms,
            withheld=self._withheld,
            waiting_since_ms=self._waiting_since_ms,
            last_error=self._last_error,
            last_error_ms=self._last_error_ms,
        )

    def answered(self, events: int) -> None:
        """The upstream has answered a read, with so many events."""
        self._waiting_since_ms = None
        if events:
            self._delivered += events
            self._delivered_ms = int(self._clock() * 1000)
            self._events.inc(events)

    def withholds(self, counts: Mapping[tuple[str, str], int]) -> None:
        """What the connector has left out so far, by table and column; `*`: whole rows."""
        self._withheld = {
            f"rows of {table}" if column == "*" else f"{table}.{column}": count
            for (table, column), count in counts.items()
        }

    def failed(self, reason: str, error: BaseException) -> None:
        """A call of the connector, or the run of its job, ended with an error."""
        self._last_error, self._last_error_ms = reason, int(self._clock() * 1000)
        if isinstance(error, SourceUnavailable) and self._waiting_since_ms is None:
            self._waiting_since_ms = self._last_error_ms

    def _seconds_since(self, at_ms: int | None) -> float:
        return 0.0 if at_ms is None else max(0.0, self._clock() - at_ms / 1000)


def source_state(state: str, source: SourceReport) -> str:
    """The state of its job in the words for sources: one whose upstream does not answer is waiting for it."""
    if state in ("retrying", "restarting", "starting", "running") and source.waiting_since_ms is not None:
        return "waiting"
    return state
