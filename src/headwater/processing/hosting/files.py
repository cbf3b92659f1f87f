"""What jobs use besides the log: the files of their tables and their state, and what they read and fill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.config import Config
from headwater.connectors.contract import Sink, Source
from headwater.connectors.isolated import IsolatedSink, isolated
from headwater.connectors.registry import table_sink
from headwater.connectors.secrets import Secrets
from headwater.connectors.source_spec import ConfiguredSource, SourceContext
from headwater.jobs.job import Job
from headwater.processing.stores.outbox import state_file


def file_of(config: Config, job: Job) -> Path | None:
    """The file that a job writes in addition to the log: its table, or its state; None if its sink fills none."""
    writes = job.writes()
    if writes.sink is not None:
        return writes.sink.file(config.project_dir)
    if writes.table is not None:
        return config.path(config.jobs.tables_path)
    return state_file(config.path(config.jobs.state_path), job.name)


def sink_of(config: Config, job: Job) -> Sink:
    """The sink of `job`, which has one; opening it is left to the caller.

    Raises ConfigInvalid, ExtraMissing.
    """
    writes = job.writes()
    if writes.sink is None:
        assert writes.table is not None
        return table_sink(config.path(config.jobs.tables_path), writes.table)
    assert writes.target is not None
    secrets = _secrets_of(config, job)
    return writes.sink.made(writes.target, secrets, config.project_dir)


def isolated_sink(config: Config, job: Job, *, seconds_max: float | None = None) -> IsolatedSink:
    """As `sink_of`, on a thread of its own, and with errors that have no secrets. `seconds_max`: of each call."""
    return isolated(
        lambda: sink_of(config, job),
        job.name,
        seconds_max=config.jobs.sink_call_seconds_max if seconds_max is None else seconds_max,
        secrets=Secrets(_secrets_of(config, job).values()),
    )


def _secrets_of(config: Config, job: Job) -> dict[str, Any]:
    """The secret options of the sink of `job`, with their values."""
    writes = job.writes()
    if writes.sink is None or writes.target is None:
        return {}
    return config.dereferenced(writes.sink.references, f"{writes.sink.place}: the sink of {writes.target.name}")


def connector_of(config: Config, job: Job) -> Source | None:
    """The closed source that `job` reads instead of streams; None if it reads streams.

    Raises ConfigInvalid, ExtraMissing.
    """
    if job.input is None:
        return None
    return job.input.made(secrets_of(config, job.input), source_context(config, job.input.name))


def secrets_of(config: Config, source: ConfiguredSource) -> dict[str, Any]:
    """The secret options of a source, references resolved. Raises ConfigInvalid."""
    where = f"{source.place}: the source {source.name}"
    found = {}
    for key, written in source.references.items():
        if isinstance(written, Mapping):
            found[key] = config.dereferenced(written, f"{where}: {key}")
        else:
            found |= config.dereferenced({key: written}, where)
    return found


def source_context(config: Config, name: str) -> SourceContext:
    """What a source of this name is made with."""
    return SourceContext(name, config.project_dir, config.intake.event_bytes_max, config.lookups.contact)
