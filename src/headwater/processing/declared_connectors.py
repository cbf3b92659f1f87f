"""The sinks and sources that a project's files declare, and its lake, as jobs: read with the installed connectors."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.config import Config
from headwater.connectors.registry import sink_spec, source_spec
from headwater.connectors.schema_columns import SchemaTypes
from headwater.jobs.job import Job
from headwater.jobs.sinks import Known, Refused, sink_jobs
from headwater.processing.lake_jobs import lake_jobs
from headwater.processing.source_files import DeclaredSource, declared_sources, job_of
from headwater.schemas.configured import project_schemas
from headwater.streams.registry import StreamRegistry


def project_sinks(config: Config, streams: StreamRegistry, refused: Refused | None = None) -> Iterator[Job]:
    """A job for each sink of each stream, then one for each stream that is ingested into the lake.

    Raises ConfigInvalid with file and line; if `refused` is given, it is called with each of these errors instead, and
    the invalid sinks are left out.
    """
    known = Known(sink_spec, SchemaTypes(lambda: project_schemas(config)), config.project_dir)
    yield from sink_jobs(streams, known, refused)
    yield from lake_jobs(streams, config.lake, config.project_dir, lambda: project_schemas(config), refused)


def project_sources(config: Config, refused: Refused | None = None) -> Iterator[DeclaredSource]:
    """The sources of the project.

    Raises ConfigInvalid with file and line; if `refused` is given, it is called with each of these errors instead, and
    the invalid sources are left out.
    """
    return declared_sources(config.path(config.sources.path), source_spec, config.project_dir, refused)


def source_jobs(config: Config, refused: Refused | None = None) -> Iterator[Job]:
    """A job `source.NAME` for each source that reads; what is posted to the platform needs none. Raises as above."""
    for source in project_sources(config, refused):
        if not source.configured.spec.pushed:
            yield job_of(source, config.project_dir)


def pushed_jobs(config: Config, refused: Refused | None = None) -> Iterator[Job]:
    """The sources that are posted to, as jobs that nothing runs, for what is asked of both. Raises as above."""
    for source in project_sources(config, refused):
        if source.configured.spec.pushed:
            yield job_of(source, config.project_dir)
