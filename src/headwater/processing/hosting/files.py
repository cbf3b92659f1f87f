"""What jobs use besides the log: the files of their tables and their state, and what they read and fill."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, assert_never

from headwater.config import Config
from headwater.connectors.contract import EventShape, Sink, Source, TableShape
from headwater.connectors.discarding import OnDiscarded
from headwater.connectors.evolution import without_change
from headwater.connectors.evolving import Target, evolving
from headwater.connectors.isolated import IsolatedSink, isolated
from headwater.connectors.lake.options import OnStored, ReportsStored
from headwater.connectors.registry import table_sink
from headwater.connectors.schema_columns import SchemaTypes
from headwater.connectors.secrets import Secrets
from headwater.connectors.source_spec import ConfiguredSource, SourceContext
from headwater.errors import SinkUnavailable
from headwater.jobs.job import Job
from headwater.processing.stores.outbox import state_file
from headwater.schemas.configured import project_schemas


def file_of(config: Config, job: Job) -> Path | None:
    """The file that a job writes in addition to the log: its table, or its state; None if its sink fills none."""
    writes = job.writes()
    if writes.sink is not None:
        return writes.sink.file(config.project_dir)
    if writes.table is not None:
        return config.path(config.jobs.tables_path)
    return state_file(config.path(config.jobs.state_path), job.name)


def sink_of(
    config: Config,
    job: Job,
    on_discarded: OnDiscarded = lambda what, count: None,
    *,
    on_stored: OnStored | None = None,
    changes_agreed: bool = False,
) -> Sink:
    """The sink of `job`, which has one; opening it is left to the caller. `on_discarded` counts what it leaves out.

    `on_stored`: to which a sink reports what is in the lake. `changes_agreed`: somebody has agreed to the changes of
    its table, which a contract `freeze` waits for.

    Raises ConfigInvalid, ExtraMissing.
    """
    writes = job.writes()
    if writes.sink is None:
        assert writes.table is not None
        return table_sink(config.path(config.jobs.tables_path), writes.table)
    secrets = _secrets_of(config, job)
    match writes.target:
        case TableShape() as shape:
            types = SchemaTypes(lambda: project_schemas(config))
            sink = writes.sink
            if changes_agreed and sink.contract == "freeze":
                sink = dataclasses.replace(sink, contract="evolve")
            return evolving(Target(sink, secrets, config.project_dir, types), shape, on_discarded)
        case EventShape() as events:
            made = writes.sink.made(events, secrets, config.project_dir)
            if on_stored is not None and isinstance(made, ReportsStored):
                made.on_stored = on_stored
            return made
        case None:
            raise AssertionError(f"The job {job.name} has a sink and gives it nothing.")
        case _:
            assert_never(writes.target)


def table_of(config: Config, job: Job) -> Sink:
    """The sink of a table for reading it as it is, with the columns that it has; opening it is left to the caller.

    Raises ConfigInvalid, ExtraMissing, SinkUnavailable, also if the table is not there yet.
    """
    writes = job.writes()
    assert writes.table is not None
    if writes.sink is None:
        return table_sink(config.path(config.jobs.tables_path), writes.table)
    secrets, shape = _secrets_of(config, job), writes.table
    if writes.sink.spec.describe is not None:
        present = writes.sink.described(shape, secrets, config.project_dir)
        if present is None:
            raise SinkUnavailable(f"The table {shape.name} is not there yet.", hint="`headwater up` creates it.")
        shape = without_change(shape, present).shape
    return writes.sink.made(shape, secrets, config.project_dir)


def isolated_table(config: Config, job: Job, seconds_max: float) -> IsolatedSink:
    """As `table_of`, on a thread of its own; each call may take so long."""
    secrets = Secrets(_secrets_of(config, job).values())
    return isolated(lambda: table_of(config, job), job.name, seconds_max=seconds_max, secrets=secrets)


def isolated_sink(
    config: Config,
    job: Job,
    on_discarded: OnDiscarded = lambda what, count: None,
    *,
    on_stored: OnStored | None = None,
    seconds_max: float | None = None,
) -> IsolatedSink:
    """As `sink_of`, on a thread of its own, and with errors that have no secrets. `seconds_max`: of each call."""
    return isolated(
        lambda: sink_of(config, job, on_discarded, on_stored=on_stored),
        job.name,
        seconds_max=config.jobs.sink_call_seconds_max if seconds_max is None else seconds_max,
        secrets=Secrets(_secrets_of(config, job).values()),
    )


def agreed_sink(config: Config, job: Job) -> IsolatedSink:
    """As `isolated_sink`, to whose changes of its table somebody has agreed."""
    return isolated(
        lambda: sink_of(config, job, changes_agreed=True),
        job.name,
        seconds_max=config.jobs.sink_call_seconds_max,
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
    secrets = secrets_of(config, job.input)
    try:
        return job.input.made(secrets, source_context(config, job.input.name))
    except Exception as error:
        raise Secrets(secrets.values()).clean(error) from None


def kept_secrets(config: Config, source: ConfiguredSource | None) -> Secrets:
    """What errors of this source must not show. Raises ConfigInvalid."""
    return Secrets(() if source is None else secrets_of(config, source).values())


def secrets_of(config: Config, source: ConfiguredSource) -> dict[str, Any]:
    """The secret options of a source, references resolved. Raises ConfigInvalid."""
    return config.dereferenced(source.references, f"{source.place}: the source {source.name}")


def source_context(config: Config, name: str) -> SourceContext:
    """What a source of this name is made with."""
    return SourceContext(name, config.project_dir, config.intake.event_bytes_max, config.lookups.contact)
