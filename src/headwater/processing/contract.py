"""What a runner guarantees, what it supports, and which jobs it therefore refuses before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.jobs.job import Job
from headwater.log.contract import Position
from headwater.processing.status import RunnerStatus


@dataclass(frozen=True, slots=True)
class RunnerFeatures:
    """What a runner supports, with its source and its store.

    `streams`: it commits outputs and position together. `keyed_state`: it commits the state that steps keep per key
    with the position. `tables`: it fills the table of a job; `tables_with_state`: also if the job keeps state.
    `fires_when_idle`: timers fire by the wall clock while no events arrive; otherwise only events fire them.
    `awaits`: it calls async functions that wait for other services. `shares_partitions`: processes that run the same
    job at once divide its partitions; otherwise the last one has all. `parks`: it keeps events for a later retry.
    `reads_tables`: functions find the materialized tables of other jobs; `keeps_tables`: it keeps such a table.
    `flink_sql`: it passes queries to Flink.
    """

    streams: bool
    keyed_state: bool
    tables: bool
    tables_with_state: bool
    fires_when_idle: bool
    shares_partitions: bool
    awaits: bool
    parks: bool = True
    reads_tables: bool = True
    keeps_tables: bool = True
    flink_sql: bool = False

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        """What `job` needs that these features lack, a clause each; () if nothing is missing."""
        fills_table = job.writes().target is not None
        reasons = []
        if job.keeps_state and fills_table and not self.tables_with_state:
            reasons.append("it keeps state and fills a table: let it write a stream, and fill the table from that")
        elif job.keeps_state and not self.keyed_state:
            reasons.append("the log keeps no keyed state")
        if not fills_table and not self.streams:
            reasons.append("the log cannot commit outputs and position together")
        if fires_when_idle(job) and not self.fires_when_idle:
            reasons.append(
                "its timers are to fire while no events come, and here only events fire them: say so with"
                ' idle="never", if that is enough'
            )
        if job.awaits and not self.awaits:
            reasons.append("it waits for other services, and nothing here awaits its calls")
        if job.input is not None and self.shares_partitions:
            reasons.append("it reads another system, which one process does at a time")
        if fills_table and not self.tables:
            reasons.append("it fills a table and was given no sink")
        return (*reasons, *self._kept_apart(job))

    def _kept_apart(self, job: Job) -> Iterator[str]:
        """What it keeps or reads besides the state of its keys, and what runs it."""
        if job.parks and not self.parks:
            yield "it parks events for a later retry, and nothing here keeps them: leave out park="
        if job.tables and not self.reads_tables:
            yield f"it reads the table {job.tables[0]}, which is not at hand here"
        if job.writes().materialized is not None and not self.keeps_tables:
            yield "it keeps a materialized table, which others could not read here"
        if job.query is not None and not self.flink_sql:
            yield f"it is in Flink's SQL, which only Flink runs: headwater job run {job.name} --on flink"


def fires_when_idle(job: Job) -> bool:
    """Whether the wall clock is to fire timers that emit events, while none come."""
    emits = any(step.on_timer is not None and step.timers_emit for step in job.keyed_steps)
    return emits and job.idle_ms is not None


class Runner(Protocol):
    """Runs one job; `run` may be called again after it raised.

    The constructor raises JobInvalid, with all of `unsupported_reasons`, for a job that it cannot run.
    Every implementation passes `headwater.testing.suites.runner`.
    """

    job: Job
    status: RunnerStatus
    features: RunnerFeatures

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        """Why it cannot run `job`, a clause each; () if it can. Has no side effects."""
        ...

    async def run(self, *, drain: bool = False) -> None: ...

    def stop(self) -> None: ...

    def cancelled_itself(self) -> None:
        """Called if the task of `run` was cancelled, but not by its supervisor."""
        ...

    async def fence(self) -> None: ...

    async def reposition(self, position: Position) -> None:
        """Delete everything the job keeps, and let the next run begin at `position`. Not to be called during a run.

        If it raises, it is to be called again before the next run.
        """
        ...

    async def lag(self) -> int | None: ...


def require_supported(job: Job, reasons: Sequence[str]) -> None:
    """Raises JobInvalid, at the job's place, if there are reasons why it cannot run."""
    if reasons:
        raise job.invalid(f"The job {job.name} cannot run here: {'; '.join(reasons)}.")
