"""The materialized tables of a project as they are stored now, for the verbs that print them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli.job.measured import project_jobs
from headwater.declaration import suggestion
from headwater.errors import TableUnknown

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.jobs.job import Job
    from headwater.jobs.tables.reader import TableReader
    from headwater.served_tables.declared import ServedTable


def tables_in(project: Path) -> tuple[Config, dict[str, Job]]:
    """The configuration, and the jobs that keep tables, by the name of these. Raises ConfigInvalid, JobInvalid."""
    config, _, jobs = project_jobs(project)
    return config, {table.name: job for job in jobs if (table := job.writes().materialized) is not None}


def served_in(config: Config, jobs: Iterable[Job]) -> list[ServedTable]:
    """The tables of these jobs that are served over HTTP. Raises ConfigInvalid."""
    from headwater.served_tables.declared import project_tables

    return list(project_tables(config, jobs))


def reader_in(project: Path, name: str) -> TableReader:
    """The reader of one table. Raises TableUnknown, StateUnavailable, ConfigInvalid, JobInvalid."""
    config, known = tables_in(project)
    if name not in known:
        hint = suggestion(name, known) if known else "Declare one with @table(source=…, key=…)."
        raise TableUnknown(f"The project has no materialized table {name}.", hint=hint)
    return stored_reader(config, known[name])


def stored_reader(config: Config, job: Job) -> TableReader:
    """The reader of the table that a job keeps. Raises StateUnavailable."""
    from headwater.jobs.tables.reader import TableReader
    from headwater.processing.tables import stored_state

    table = job.writes().materialized
    assert table is not None
    state = stored_state(config, table)
    return TableReader(table, state.get, state.scan)
