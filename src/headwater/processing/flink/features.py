"""What Flink supports of what jobs need, so that a job that it cannot run is refused before anything is started."""

from __future__ import annotations

from headwater.config import Config
from headwater.jobs.job import Job
from headwater.processing.contract import RunnerFeatures

FEATURES = RunnerFeatures(
    streams=True,
    keyed_state=True,
    tables=False,
    tables_with_state=False,
    fires_when_idle=False,
    shares_partitions=True,
    awaits=True,
    parks=False,
    reads_tables=False,
    keeps_tables=False,
    flink_sql=True,
)


def unsupported_reasons(job: Job, config: Config) -> tuple[str, ...]:
    """Why Flink cannot run the job, a clause each; () if it can. Asks nobody."""
    reasons = FEATURES.unsupported_reasons(job)
    if not config.log.is_kafka:
        reasons = ("Flink reads and writes Kafka, and the log is on SQLite: set `log`", *reasons)
    return reasons
