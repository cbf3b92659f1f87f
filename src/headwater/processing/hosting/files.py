"""The files that jobs write in addition to the log: their tables and their state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headwater.config import Config
from headwater.connectors.contract import Sink
from headwater.connectors.isolated import IsolatedSink, isolated
from headwater.connectors.registry import table_sink
from headwater.connectors.secrets import Secrets
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


def isolated_sink(config: Config, job: Job) -> IsolatedSink:
    """As `sink_of`, on a thread of its own, and with errors that have no secrets."""
    return isolated(
        lambda: sink_of(config, job),
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
