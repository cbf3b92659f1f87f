"""The materialized tables that a run over history reads: given as files, or as they are in the project's log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from headwater.cli.console import say
from headwater.config import Config
from headwater.declaration import suggestion
from headwater.errors import ConfigInvalid, HeadwaterError, JobInvalid, StateUnavailable
from headwater.event import decode_json
from headwater.event_lines import open_lines
from headwater.jobs.cells import Cell
from headwater.jobs.job import Job
from headwater.jobs.tables.materialized import KEY_COLUMN, ROW, MaterializedTable
from headwater.jobs.tables.reader import TableReader, Tables
from headwater.log.contract import StateReader
from headwater.processing.batch.directory import digest_of
from headwater.processing.batch.inputs import STANDARD_INPUT
from headwater.processing.batch.parquet import SUFFIX as PARQUET
from headwater.processing.batch.parquet import parquet_rows
from headwater.processing.stores.state_file import StateFile
from headwater.processing.tables import materialized_tables, stored_state

ROWS_AT_ONCE = 1_000


class RunTables:
    """The tables of one run. `given`: NAME=FILE each."""

    def __init__(self, config: Config, job: Job, jobs: Iterable[Job], given: Iterable[str]) -> None:
        """Raises ConfigInvalid for a table or a file that there is not, and for one that is read from nowhere."""
        self._config = config
        self._known = materialized_tables(jobs)
        self._files = dict(self._given(text) for text in given)
        self._open: list[StateFile] = []
        for name in job.tables:
            if name in self._known and name not in self._files:
                self._require_state(name)
                say(f"The table {name} is read as it is in the project's log.")

    def open(self, directory: Path) -> Tables:
        """The tables, with the files copied into the directory. Raises ConfigInvalid for rows without a key."""
        loaded = {name: self._loaded(self._known[name], directory) for name in self._files}

        def reader(table: MaterializedTable) -> TableReader:
            state = loaded[table.name] if table.name in loaded else self._require_state(table.name)
            return TableReader(table, state.get, state.scan)

        return Tables(self._known, reader)

    def close(self) -> None:
        """Release the copies; idempotent."""
        for state in self._open:
            state.close()
        self._open.clear()

    def identity(self) -> dict[str, str]:
        """What the files contain: a run that is resumed must have the same."""
        return {name: digest_of([path]) for name, path in sorted(self._files.items())}

    def _given(self, text: str) -> tuple[str, Path]:
        name, equals, file = text.partition("=")
        if not equals or not name or not file:
            raise ConfigInvalid(f"--table {text} is not NAME=FILE.", hint="Such as --table pages=pages.jsonl.")
        if name not in self._known:
            raise ConfigInvalid(
                f"--table {text}: the project has no materialized table {name}.", hint=suggestion(name, self._known)
            )
        path = Path(file)
        if file == STANDARD_INPUT or not path.is_file():
            raise ConfigInvalid(f"--table {text}: there is no file {file}.")
        return name, path

    def _require_state(self, name: str) -> StateReader:
        try:
            return stored_state(self._config, self._known[name])
        except StateUnavailable as error:
            raise ConfigInvalid(
                f"The job reads the table {name}. {error.message}",
                hint=f"Give its rows: --table {name}=FILE, as `headwater job run {name} --to FILE` writes them.",
            ) from error

    def _loaded(self, table: MaterializedTable, directory: Path) -> StateFile:
        file = self._files[table.name]
        state = StateFile(directory / f"table-{len(self._open)}.sqlite", durability="os")
        self._open.append(state)
        state.begin_replacing()
        rows: list[tuple[bytes, bytes]] = []
        for number, row in enumerate(_rows(file), 1):
            try:
                rows.append((_key(table, row), Cell.of({ROW: row}).encode() or b""))
            except (JobInvalid, TypeError) as error:
                detail = error.detail if isinstance(error, HeadwaterError) else str(error)
                raise ConfigInvalid(f"{file}, row {number}: {detail}") from None
            if len(rows) == ROWS_AT_ONCE:
                state.put(table.namespace, rows)
                rows.clear()
        state.put(table.namespace, rows)
        state.end_replacing("")
        return state


def _rows(file: Path) -> Iterator[Any]:
    if file.suffix == PARQUET:
        yield from map(decode_json, parquet_rows(file))
        return
    with open_lines(file) as source:
        yield from (decode_json(line) for line in source if line.strip())
    if source.damage is not None:
        raise ConfigInvalid(f"{file} cannot be read to its end: {source.damage}")


def _key(table: MaterializedTable, row: Any) -> bytes:
    """The key of a row among its columns, as a run of the table's job writes it."""
    names = table.key_names or (KEY_COLUMN,)
    missing = [name for name in names if not isinstance(row, dict) or row.get(name) is None]
    if missing:
        raise JobInvalid(f"it has no {missing[0]}, which is part of the key.")
    return table.encoded([row[name] for name in names] if table.key_names else row[KEY_COLUMN])
