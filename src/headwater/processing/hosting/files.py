"""The files that jobs write in addition to the log: their tables and their state."""

from __future__ import annotations

from pathlib import Path

from headwater.config import Config
from headwater.connectors.contract import Sink
from headwater.connectors.registry import table_sink
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
    secrets = config.dereferenced(writes.sink.references, f"{writes.sink.place}: the sink of {writes.target.name}")
    return writes.sink.made(writes.target, secrets, config.project_dir)
