"""The sinks of a project's stream files and its lake, as jobs: read with the installed connectors and the schemas."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.config import Config
from headwater.connectors.registry import sink_spec
from headwater.connectors.schema_columns import SchemaTypes
from headwater.jobs.job import Job
from headwater.jobs.sinks import Known, Refused, sink_jobs
from headwater.processing.lake_jobs import lake_jobs
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
