"""What a runner promises, what it can do, and which jobs it therefore cannot run, asked before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.jobs.job import Job
from headwater.processing.status import RunnerStatus


@dataclass(frozen=True, slots=True)
class RunnerFeatures:
    """What a runner can do, with the log, the store and the sink it has.

    `streams`: it commits outputs and position together. `keyed_state`: it keeps what steps remember per key, committed
    with the position. `tables`: it fills the table of a job; `tables_with_state`: also where the job keeps state.
    `fires_when_idle`: where no events come, timers fire by the wall clock; otherwise only events make them fire.
    `shares_partitions`: processes that run the same job at once divide its partitions; otherwise the last one has all.
    """

    streams: bool
    keyed_state: bool
    tables: bool
    tables_with_state: bool
    fires_when_idle: bool
    shares_partitions: bool

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        """What `job` needs and is not among these features, a clause each; () where nothing is missing."""
        fills_table = job.writes().table is not None
        reasons = []
        if job.keeps_state and fills_table and not self.tables_with_state:
            reasons.append("it keeps state and fills a table: let it write a stream, and fill the table from that")
        elif job.keeps_state and not self.keyed_state:
            reasons.append("the log keeps no keyed state")
        if not fills_table and not self.streams:
            reasons.append("the log cannot commit outputs and position together")
        if job.has_timers and not self.fires_when_idle:
            reasons.append("it has timers, and here they would not fire while no events come")
        if fills_table and not self.tables:
            reasons.append("it fills a table and was given no sink")
        return tuple(reasons)


class Runner(Protocol):
    """Runs one job; `run` may be called again after it raised.

    Making one for a job that it cannot run raises JobInvalid with all of `unsupported_reasons`.
    Every implementation passes `headwater.testing.suites.runner`.
    """

    job: Job
    status: RunnerStatus
    features: RunnerFeatures

    def unsupported_reasons(self, job: Job) -> tuple[str, ...]:
        """Why it could not run `job`, with what it has, a clause each; () where it could. Touches nothing."""
        ...

    async def run(self, *, drain: bool = False) -> None: ...

    def stop(self) -> None: ...

    def cancelled_itself(self) -> None:
        """Called where the task of `run` was cancelled, and not by the one who started it."""
        ...

    async def fence(self) -> None: ...

    async def lag(self) -> int: ...


def require_supported(job: Job, reasons: Sequence[str]) -> None:
    """Raises JobInvalid, at the job's place, where there are reasons why it cannot run."""
    if reasons:
        raise job.invalid(f"The job {job.name} cannot run here: {'; '.join(reasons)}.")
