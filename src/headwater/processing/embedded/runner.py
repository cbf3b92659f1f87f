"""Makes the embedded runner of one job: its source in a log, and the store it commits to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Unpack

from headwater.connectors.contract import Source
from headwater.connectors.secrets import Secrets
from headwater.intake.gate import Gate
from headwater.jobs.job import Job
from headwater.jobs.metrics import JobMetrics
from headwater.jobs.scope import Offered
from headwater.log.contract import Log
from headwater.processing.embedded.connected.source import NO_SECRETS, ConnectorSource
from headwater.processing.embedded.log_source import LogSource
from headwater.processing.embedded.loop import EmbeddedRunner
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.failures.failed_events import FailedEvents
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
    **offered: Unpack[Offered],
) -> EmbeddedRunner:
    """A runner that reads from `log` and commits to `store`, by default to the log itself.

    `offered`: what the job's functions find in their context; `metrics` are those of `telemetry` unless given.
    Raises JobInvalid if it cannot run the job.
    """
    settings = settings or RunnerSettings()
    store = store or LogStore(log, job.group)
    telemetry = telemetry or Telemetry()
    status = RunnerStatus(job, telemetry)
    offered.setdefault("metrics", JobMetrics(telemetry, job.name))
    scope = job.scope(clock, **offered)
    source = LogSource(
        log,
        job,
        status,
        # Rows that the position is kept with may outlive the log that they were made of.
        ids_in_token=store.rows is not None and store.rows.token_in_target,
        stops_where_replaced=settings.stops_where_replaced,
    )
    return EmbeddedRunner(
        job,
        source,
        store,
        gate,
        settings=settings,
        status=status,
        scope=scope,
        clock=clock,
        failed_events=FailedEvents(log, settings.failed_events_seconds),
    )


def connector_runner_on(
    log: Log,
    job: Job,
    gate: Gate,
    connector: Source,
    *,
    telemetry: Telemetry | None = None,
    settings: RunnerSettings | None = None,
    secrets: Secrets = NO_SECRETS,
) -> EmbeddedRunner:
    """A runner of a job that reads `connector` instead of streams, and commits to the log.

    `secrets`: those of the connector, which its errors must not show.

    Raises JobInvalid if it cannot run the job.
    """
    settings, telemetry = settings or RunnerSettings(), telemetry or Telemetry()
    status = RunnerStatus(job, telemetry)
    return EmbeddedRunner(
        job,
        ConnectorSource(connector, job, log, status, secrets=secrets),
        LogStore(log, job.group),
        gate,
        settings=settings,
        status=status,
        scope=job.scope(time.time),
        failed_events=FailedEvents(log, settings.failed_events_seconds),
    )
