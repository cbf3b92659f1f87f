"""What a project declares: its streams, also those for errors, its jobs, and how its topics are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import chain

from headwater.config import Config
from headwater.errors import ConfigInvalid
from headwater.intake.topics import settings_of
from headwater.jobs.flow import origins
from headwater.jobs.job import Job
from headwater.jobs.loader import load_jobs
from headwater.jobs.settings import with_settings
from headwater.log.contract import TopicSettings
from headwater.processing.declared_connectors import project_sinks, source_jobs
from headwater.streams.layers import Scope
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.streams.visibility import Access, Flow


def declarations(
    config: Config, refused: Callable[[ConfigInvalid], None] | None = None
) -> tuple[StreamRegistry, list[Job]]:
    """The project's streams, including error streams, and its jobs.

    Raises ConfigInvalid, JobInvalid; if `refused` is given, it is called with what is wrong with jobs and sinks
    instead, and these are left out.
    """
    path = config.path(config.streams.path)
    scope = Scope(site=config.streams.site, realm=config.streams.realm)
    declared = StreamRegistry.load(path, scope=scope) if path.exists() else StreamRegistry(scope=scope)
    sinks = project_sinks(config, declared, refused)
    jobs = load_jobs(
        config.path(config.jobs.path), config.project_dir, refused, others=chain(sinks, source_jobs(config, refused))
    )
    # Where jobs are left out, a setting may be that of one of them.
    known = {job.name for job in jobs}
    written = {name: one for name, one in config.jobs.settings.items() if refused is None or name in known}
    jobs = with_settings(jobs, written)
    return with_error_streams(config, declared, jobs), jobs


def with_error_streams(config: Config, declared: StreamRegistry, jobs: Sequence[Job]) -> StreamRegistry:
    """The declared streams and the error streams that need no declaration. Raises JobInvalid for unknown sources."""
    added = []
    wanted = {config.intake.error_stream_name: "Events the intake refused, and why."}
    for job in jobs:
        wanted[job.writes().errors] = f"Events the job {job.name} could not process, and why."
    for name, summary in wanted.items():
        if name not in declared:
            added.append(Stream(name=name, schema_title="error", deduplicate=False, summary=summary))
    return declared.extended(added).with_access(_access(config, jobs))


def _access(config: Config, jobs: Sequence[Job]) -> Access:
    """What the configuration and the jobs determine about who may see the streams."""
    flows = []
    for job in jobs:
        writes = job.writes()
        flows.append(
            Flow(
                job.name,
                origins(job, jobs),
                output=writes.output,
                late=writes.late,
                error=writes.errors,
                table=writes.table_name,
                emitted=writes.emitted,
                is_connector=job.input is not None,
            )
        )
    return Access(
        opened=frozenset(config.consumption.allowed_streams or ()),
        error_streams=frozenset({config.intake.error_stream_name}),
        flows=tuple(flows),
        sends_with_key=config.intake.keys == "required",
        reads_with_key=config.consumption.keys == "required",
    )


def topic_settings(config: Config, stream: Stream) -> TopicSettings:
    """How the topics of a stream are retained: as it declares, else as the log is configured."""
    settings = settings_of(stream)
    if settings.retention_seconds is None and not settings.compact:
        return dataclasses.replace(settings, retention_seconds=config.log.retention_seconds_default)
    return settings


def failed_events_seconds(config: Config, jobs: Sequence[Job], streams: StreamRegistry) -> float:
    """How long events that failed are kept: as long as the error stream that keeps its events longest."""
    found = [streams.find(job.writes().errors) for job in jobs]
    kept = [stream.retention_seconds for stream in found if stream is not None and stream.retention_seconds]
    return max([*kept, config.log.retention_seconds_default])
