"""The jobs of a project with what its log knows of them, for the verbs that show jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli.up.up import require_project
from headwater.errors import HeadwaterError, JobInvalid

if TYPE_CHECKING:
    from headwater.catalog.job_diagram import JobMeasures
    from headwater.config import Config
    from headwater.jobs.job import Job
    from headwater.log.contract import Log
    from headwater.processing.control import JobRequest
    from headwater.processing.flink.cluster.job_state import FlinkLook
    from headwater.streams.registry import StreamRegistry


# How long a target may take to say how many rows it has.
TABLE_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class MeasuredJobs:
    """`measures` and `requests`, what was asked of a job, by its name; empty, with the reason, if the log could not be
    read.
    """

    streams: StreamRegistry
    jobs: Sequence[Job]
    measures: dict[str, JobMeasures]
    requests: dict[str, JobRequest]
    unmeasured: str = ""
    # How the jobs on Flink are doing whose cluster has an address, by name.
    on_flink: dict[str, FlinkLook] = field(default_factory=dict)
    # The jobs of each process of a platform that runs; empty if they run in the process that accepts events.
    processes: Sequence[Sequence[str]] = ()


def project_jobs(project: Path, name: str | None = None) -> tuple[Config, StreamRegistry, list[Job]]:
    """The configuration, the streams and the jobs of the project, or the job of that name.

    Raises ConfigInvalid, JobInvalid.
    """
    from headwater.config import load_config
    from headwater.processing.declarations import declarations

    require_project(project)
    config = load_config(project)
    streams, jobs = declarations(config)
    return config, streams, list(jobs) if name is None else [_named(name, jobs)]


def _named(name: str, jobs: Sequence[Job]) -> Job:
    from headwater.declaration import nearest

    found = {job.name: job for job in jobs}
    if name not in found:
        near = nearest(name, found)
        hint = f'Did you mean "{near}"?' if near else "`headwater job list` prints their names."
        raise JobInvalid(f"The project has no job {name}.", hint=hint)
    return found[name]


def load_measured(project: Path, name: str | None = None) -> MeasuredJobs:
    """The jobs of the project, or the one of that name. Raises ConfigInvalid, JobInvalid."""
    from headwater.processing.hosting.division import division_of

    config, streams, known = project_jobs(project)
    jobs = known if name is None else [_named(name, known)]
    try:
        found = asyncio.run(_measured(config, jobs, streams))
    except HeadwaterError as error:
        found = MeasuredJobs(streams, jobs, {}, {}, error.message)
    return replace(found, processes=division_of(config, known))


async def _measured(config: Config, jobs: Sequence[Job], streams: StreamRegistry) -> MeasuredJobs:
    from headwater.catalog.job_measures import measures_of
    from headwater.log.open import log_at, log_of
    from headwater.processing.control import JobControl

    log = log_of(config) if config.log.is_kafka else log_at(f"sqlite:///{config.log_path}")
    await log.open()
    try:
        requests = {job.name: await JobControl(log, job, ()).read() for job in jobs}
        measures = {job.name: await measures_of(log, job, streams, rows=await _rows(config, job, log)) for job in jobs}
        on_flink = [job for job in jobs if job.name in config.flink.jobs]
        for name, lag in (await _lags(config, log, streams, on_flink)).items():
            measures[name] = replace(measures[name], lag=lag)
        return MeasuredJobs(streams, jobs, measures, requests, on_flink=await _looks(config, on_flink))
    finally:
        await log.close()


async def _lags(config: Config, log: Log, streams: StreamRegistry, jobs: Sequence[Job]) -> dict[str, int]:
    """The lag of jobs on Flink, as their consumer groups have it."""
    from headwater.log.kafka.consumer_groups import ConsumerGroups
    from headwater.processing.flink.cluster.lag import lag_of

    if not jobs or not config.log.is_kafka:
        return {}
    groups = ConsumerGroups.of(config)
    return {job.name: await lag_of(log, groups, streams, job) for job in jobs}


async def _looks(config: Config, jobs: Sequence[Job]) -> dict[str, FlinkLook]:
    """How these jobs are doing on their clusters."""
    from headwater.processing.flink.cluster.client import FlinkCluster
    from headwater.processing.flink.cluster.job_state import look_at

    found: dict[str, FlinkLook] = {}
    for job in jobs:
        if (url := config.flink.url_of(job.name)) is not None:
            async with FlinkCluster(url, request_seconds_max=config.flink.request_seconds_max) as cluster:
                found[job.name] = await look_at(cluster, job.name)
    return found


async def _rows(config: Config, job: Job, log: Log) -> int | None:
    """The rows of the table that it fills or keeps; None without one, or if it cannot be read now."""
    from headwater.connectors.contract import Readable
    from headwater.processing.hosting.files import isolated_table
    from headwater.processing.tables import tables_of

    writes = job.writes()
    if (kept := writes.materialized) is not None:
        try:
            return sum(1 for _ in tables_of({kept.name: kept}, log, config.path(config.jobs.state_path))(kept.name))
        except HeadwaterError:
            return None
    if writes.table is None or (writes.sink is None and not config.path(config.jobs.tables_path).exists()):
        return None
    try:
        async with asyncio.timeout(TABLE_SECONDS_MAX):
            table = await asyncio.to_thread(isolated_table, config, job, TABLE_SECONDS_MAX)
    except (HeadwaterError, TimeoutError):
        return None
    if not isinstance(table, Readable):
        return None
    try:
        await table.open()
        return (await asyncio.to_thread(table.view, 1)).rows_total
    except HeadwaterError:
        return None
    finally:
        await table.close()
