"""The tables of the lake for queries: their files as of one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from headwater.config import Config
from headwater.connectors.lake.commits import TableDirectory
from headwater.connectors.lake.options import LakeOptions
from headwater.connectors.lake.reader import copy_files, within
from headwater.connectors.lake.storage import file_system
from headwater.errors import QueryInvalid
from headwater.jobs.job import Job
from headwater.processing.lake_jobs import LAKE
from headwater.queries.relations import Between, Spool


def lake_tables(jobs: Iterable[Job]) -> Mapping[str, Job]:
    """The jobs that ingest streams, by the names that queries use, such as `lake.mediawiki_recentchange`."""
    found = {}
    for job in jobs:
        sink = job.writes().sink
        if sink is not None and isinstance(sink.options, LakeOptions):
            found[f"{LAKE}.{sink.options.table}"] = job
    return found


def opened_table(config: Config, job: Job) -> TableDirectory:
    """The table that a job ingests into. Raises ConfigInvalid, ExtraMissing, SinkUnavailable."""
    sink = job.writes().sink
    assert sink is not None
    secrets = config.dereferenced(sink.references, "lake.storage")
    options = replace(sink.options, **secrets)
    return TableDirectory(file_system(options.location, options, config.project_dir), options.table)


def spool_lake(config: Config, job: Job, between: Between, spool: Spool) -> Path:
    """The files of a table in a directory, those of the hours that are asked for.

    Raises QueryInvalid if it has no rows there, and as `opened_table`.
    """
    table = opened_table(config, job)
    directory = spool.directory / f"{LAKE}-{table.path}"
    try:
        rows = copy_files(
            table, directory, spool.wrote, lambda place: within(place, between.since_ms, between.until_ms)
        )
    finally:
        table.files.close()
    if not rows:
        raise QueryInvalid(
            f"The table {LAKE}.{table.path} has no rows there yet.", hint="`headwater up` fills it; widen --since."
        )
    return directory
