"""Where the rows of a project's materialized tables are: in its log, or in the state files of their jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from headwater.config import Config
from headwater.errors import ConfigInvalid, StateUnavailable
from headwater.jobs.job import Job
from headwater.jobs.tables.materialized import MaterializedTable
from headwater.jobs.tables.reader import TableReader, Tables
from headwater.log.contract import Log, StateReader
from headwater.log.open import state_reader_at
from headwater.processing.stores.outbox import state_file
from headwater.processing.stores.state_file import StateFileReader, is_in_use


def materialized_tables(jobs: Iterable[Job]) -> dict[str, MaterializedTable]:
    """The tables that these jobs keep, by name."""
    found = (job.writes().materialized for job in jobs)
    return {table.name: table for table in found if table is not None}


def tables_of(tables: Mapping[str, MaterializedTable], log: Log, state_directory: Path) -> Tables:
    """These tables, by name, to be read by any thread while the log is open.

    `state_directory`: of the state files, if the log keeps no state.
    """

    def reader(table: MaterializedTable) -> TableReader:
        if log.features.keyed_state:
            state = log.state_reader()
            return TableReader(table, state.get, state.scan)
        file = state_file(state_directory, table.name)

        def absent() -> None:
            # An open file without a commit is that of a job which has just begun; otherwise it may run elsewhere.
            if not is_in_use(file):
                raise StateUnavailable(
                    f"The table {table.name} is not on this machine: no job has written {file} yet.",
                    hint="With a log on Kafka, a table can only be read on the machine that runs its job: run both jobs"
                    " there, or read the stream by join=….",
                )

        of_file = StateFileReader(file, absent)
        return TableReader(table, of_file.get, of_file.scan)

    return Tables(tables, reader)


def stored_state(config: Config, table: MaterializedTable) -> StateReader:
    """Reads the state of the table's job without the log being open, also while a server runs.

    Raises StateUnavailable if nothing has been stored on this machine yet.
    """
    if not config.log.is_kafka:
        try:
            return state_reader_at(config.log_path)
        except ConfigInvalid:
            raise StateUnavailable(
                f"The table {table.name} is not there yet.", hint="`headwater up` creates and fills it."
            ) from None

    def absent() -> None:
        raise StateUnavailable(
            f"The table {table.name} is not on this machine.", hint="It is on the machine that runs its job."
        )

    reader = StateFileReader(state_file(config.path(config.jobs.state_path), table.name), absent)
    reader.get(table.namespace, [])
    return reader
