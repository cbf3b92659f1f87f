"""The sizes, times and retries of the embedded runner."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from headwater.jobs.job import Job
from headwater.processing.flight_recorder import FlightRecorder


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Sizes, times and retries of a runner."""

    batch_records_max: int = 500
    batch_bytes_max: int = 4_194_304
    # How long the first record of a batch waits for others, from its receipt; 0: what there is, is processed at once.
    batch_seconds_max: float = 0.0
    # How much of the events may be read ahead of what is committed, by jobs that wait for other services.
    in_flight_events_max: int = 5_000
    in_flight_bytes_max: int = 67_108_864
    # How much of the events may be parked for a later retry.
    parked_events_max: int = 10_000
    parked_bytes_max: int = 67_108_864
    # How long completed events wait for others to be committed with.
    commit_seconds: float = 0.025
    # After which pauses, growing up to the maximum, one event is tried during an outage of another service.
    probe_seconds: float = 1.0
    probe_seconds_max: float = 30.0
    # How often a record that makes its batch fail is tried by itself before it is given up.
    attempts_max: int = 2
    timers_max: int = 1000
    wait_seconds: float = 1.0
    # The event loop is shared with the rest of the process: how long a job may use it at a time.
    turn_seconds: float = 0.002
    retries_max: int = 6
    retry_seconds: float = 0.1
    retry_seconds_max: float = 5.0
    # Whether the job ends, instead of starting from the beginning, if its log was replaced.
    stops_where_replaced: bool = False
    # Whether the input is history, in an order that the watermark follows although it ends: times are those of events.
    history: bool = False
    # Whether another run continues at the end of the input, so that nothing is fired there that waits for an event.
    hands_over: bool = False
    # How many errors of one cause are described in full each minute.
    full_errors_per_minute_max: int = 100
    # How long failed events are kept that do not fit into their error events; None: for ever.
    failed_events_seconds: float | None = None
    # Where it is recorded what is in flight; None in a process whose end nobody survives.
    recorder: FlightRecorder | None = None


def settings_for(job: Job, settings: RunnerSettings) -> RunnerSettings:
    """The settings for this job: if it writes by a sink, with the batches and attempts of that."""
    writes = job.writes()
    if writes.target is None:
        return settings
    settings = dataclasses.replace(settings, attempts_max=writes.attempts_max)
    if (batch := writes.batch) is None:
        return settings
    return dataclasses.replace(
        settings,
        batch_records_max=batch.rows_max,
        batch_bytes_max=batch.bytes_max,
        batch_seconds_max=batch.seconds_max,
    )
