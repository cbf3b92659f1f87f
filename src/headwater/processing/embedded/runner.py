"""Makes the embedded runner of one job: its source in a log, and the store it commits to."""

from __future__ import annotations

import time
from collections.abc import Callable

from headwater.intake.gate import Gate
from headwater.jobs.job import Job
from headwater.log.contract import Log
from headwater.processing.embedded.log_source import LogSource
from headwater.processing.embedded.loop import EmbeddedRunner, RunnerSettings
from headwater.processing.status import RunnerStatus
from headwater.processing.stores.contract import JobStore, LogStore
from headwater.telemetry import Telemetry


def runner_on(
    log: Log,
    job: Job,
    gate: Gate,
    *,
    store: JobStore | None = None,
    telemetry: Telemetry | None = None,
    settings: RunnerSettings | None = None,
    clock: Callable[[], float] = time.time,
) -> EmbeddedRunner:
    """A runner that reads from `log` and commits to `store`, by default to the log itself.

    Raises JobInvalid if it cannot run the job.
    """
    settings = settings or RunnerSettings()
    store = store or LogStore(log, job.group)
    status = RunnerStatus(job, telemetry or Telemetry())
    source = LogSource(
        log,
        job,
        status,
        # Rows that the position is kept with may outlive the log that they were made of.
        ids_in_token=store.rows is not None and store.rows.token_in_target,
        stops_where_replaced=settings.stops_where_replaced,
    )
    return EmbeddedRunner(job, source, store, gate, settings=settings, status=status, clock=clock)
