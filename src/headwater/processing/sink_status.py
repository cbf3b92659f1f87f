"""How one sink is doing: what it wrote, how old the oldest event is that it has not, and since when it waits.

How this works: counts are of commits. The oldest event that is not written is looked up in the log when the lag is
measured; its age is computed when somebody asks, so that it grows while a target is away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from headwater.connectors.contract import DeleteWhen, Delivery
from headwater.errors import HeadwaterError, SinkUnavailable
from headwater.event import get_path
from headwater.jobs.job import Job
from headwater.telemetry import Telemetry, closed, declared

# Of the connector of tables that jobs fill in the project's own database.
OF_PROJECT = "tables"


@dataclass(frozen=True, slots=True)
class SinkReport:
    """A sink at one moment: counts since the process started, times in epoch milliseconds.

    `written` includes `deleted`. `rejected`: events that became error events or were skipped. `discarded`: rows that
    its contract has left out. `oldest_ms`: the receipt of the oldest event that is not written, None if all are.
    `waiting_since_ms`: since when its target does not take anything; None if it does.
    `complete_ms`: until when the hours in the lake are complete, None if that is not known, or if it fills no lake.
    """

    name: str
    connector: str
    written: int = 0
    deleted: int = 0
    rejected: int = 0
    discarded: int = 0
    oldest_ms: int | None = None
    last_commit_ms: int | None = None
    last_error: str | None = None
    last_error_ms: int | None = None
    waiting_since_ms: int | None = None
    complete_ms: int | None = None

    def __add__(self, other: SinkReport) -> SinkReport:
        """The report of both parts of one job, or of one and its successor: the last error is the newer one."""
        newer = max(self, other, key=lambda one: one.last_error_ms or 0)
        return replace(
            self,
            written=self.written + other.written,
            deleted=self.deleted + other.deleted,
            rejected=self.rejected + other.rejected,
            discarded=self.discarded + other.discarded,
            oldest_ms=min(filter(None, (self.oldest_ms, other.oldest_ms)), default=None),
            last_commit_ms=max(filter(None, (self.last_commit_ms, other.last_commit_ms)), default=None),
            last_error=newer.last_error,
            last_error_ms=newer.last_error_ms,
            waiting_since_ms=min(filter(None, (self.waiting_since_ms, other.waiting_since_ms)), default=None),
            complete_ms=max(filter(None, (self.complete_ms, other.complete_ms)), default=None),
        )

    def ended(self) -> SinkReport:
        """What is left of it when its process has ended: what it has counted."""
        return replace(self, oldest_ms=None, waiting_since_ms=None)

    def lag_seconds(self, now_seconds: float) -> float:
        """The age of the oldest event that is not written; 0 if all are."""
        return 0.0 if self.oldest_ms is None else max(0.0, now_seconds - self.oldest_ms / 1000)


class SinkStatus:
    """Counts what the sink of one job does. `clock`: epoch seconds."""

    def __init__(self, job: Job, telemetry: Telemetry, clock: Callable[[], float] = time.time) -> None:
        writes = job.writes()
        assert writes.target is not None
        self._name = writes.target.name
        self._connector = OF_PROJECT if writes.sink is None else writes.sink.spec.name
        self._delete_when = writes.target.delete_when
        self._clock = clock
        self._written = self._deleted = self._rejected = self._discarded = 0
        self._oldest_ms: int | None = None
        self._last_commit_ms: int | None = None
        self._last_error: str | None = None
        self._last_error_ms: int | None = None
        self._waiting_since_ms: int | None = None
        self._complete_ms: int | None = None
        rows = telemetry.counter("headwater_sink_rows", "Rows of sinks, by outcome.", (declared("job"), closed("what")))
        self._rows = {what: rows.labels(job.name, what) for what in ("written", "deleted", "rejected")}
        for name, documentation, value in (
            (
                "headwater_sink_lag_seconds",
                "The age of the oldest event that a sink has not written; 0 if it has written all.",
                lambda: self.report().lag_seconds(clock()),
            ),
            (
                "headwater_sink_waiting_seconds",
                "For how long the target of a sink has not taken anything; 0 if it does.",
                lambda: self._seconds_since(self._waiting_since_ms),
            ),
            (
                "headwater_sink_last_commit_timestamp_seconds",
                "When a sink wrote last, epoch seconds; 0 if it has not since the start.",
                lambda: (self._last_commit_ms or 0) / 1000,
            ),
        ):
            telemetry.gauge(name, documentation, (declared("job"),)).labels(job.name).set_function(value)

    def report(self) -> SinkReport:
        """The current status."""
        return SinkReport(
            name=self._name,
            connector=self._connector,
            written=self._written - self._discarded,
            deleted=self._deleted,
            rejected=self._rejected,
            discarded=self._discarded,
            oldest_ms=self._oldest_ms,
            last_commit_ms=self._last_commit_ms,
            last_error=self._last_error,
            last_error_ms=self._last_error_ms,
            waiting_since_ms=self._waiting_since_ms,
            complete_ms=self._complete_ms,
        )

    def committed(self, written: int, rejected: int, rows: Iterable[Delivery]) -> None:
        """A batch is durable: `rows` of which so many were written, and events that were rejected."""
        self._waiting_since_ms = None
        if written or rejected:
            self._last_commit_ms = int(self._clock() * 1000)
            # Looked up again when the lag is measured.
            self._oldest_ms = None
        deleted = sum(map(partial(deletes, self._delete_when), rows)) if self._delete_when else 0
        self._written += written
        self._deleted += deleted
        self._rejected += rejected
        for what, count in (("written", written), ("deleted", deleted), ("rejected", rejected)):
            if count:
                self._rows[what].inc(count)

    def discarded(self, what: Literal["rows", "values"], count: int) -> None:
        """So many rows, or values, were left out by the contract of the sink."""
        if what == "rows":
            # The job counts them as written.
            self._discarded += count

    def complete(self, until_ms: int | None) -> None:
        """All events before are in the lake (epoch milliseconds), as far as canaries prove."""
        self._complete_ms = until_ms

    def failed(self, reason: str, error: BaseException) -> None:
        """A call of the sink, or the run of its job, ended with an error."""
        now_ms = int(self._clock() * 1000)
        self._last_error, self._last_error_ms = reason, now_ms
        is_away = isinstance(error, HeadwaterError) and (error.is_away or isinstance(error, SinkUnavailable))
        if is_away and self._waiting_since_ms is None:
            self._waiting_since_ms = now_ms

    def lags(self, oldest_ms: int | None) -> None:
        """The oldest event that is not written was received then; None: there is none."""
        self._oldest_ms = oldest_ms

    def _seconds_since(self, at_ms: int | None) -> float:
        return 0.0 if at_ms is None else max(0.0, self._clock() - at_ms / 1000)


def sink_state(state: str, sink: SinkReport) -> str:
    """The state of its job in the words for sinks: one whose target takes nothing is waiting for it."""
    if state in ("retrying", "restarting", "starting", "running") and sink.waiting_since_ms is not None:
        return "waiting"
    return state


def deletes(when: DeleteWhen, delivery: Delivery) -> bool:
    """Whether the event deletes the row of its key."""
    for path, values in when:
        found = get_path(delivery.value, path)
        if not any(type(found) is type(value) and found == value for value in values):
            return False
    return bool(when)
