"""Runs SQL over the streams and tables of a project, and over files."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.config import Config, load_config
from headwater.connectors.spec import TableSink
from headwater.errors import QueryInvalid, SinkUnavailable
from headwater.processing.declarations import declarations
from headwater.processing.hosting.files import table_of
from headwater.queries.engine import Engine, QueryResult
from headwater.queries.lake import lake_tables, spool_lake
from headwater.queries.materialized import spool_materialized
from headwater.queries.parsing import parse_query
from headwater.queries.relations import Between, Spool, spool_streams, spool_table, stream_columns
from headwater.schemas.repository import open_repositories

MEMORY_BYTES_MAX = 1_073_741_824
SPOOL_BYTES_MAX = 20_000_000_000


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """How much memory DuckDB may use, and how much of streams and tables may be copied to temporary files, in bytes."""

    memory_bytes_max: int = MEMORY_BYTES_MAX
    spool_bytes_max: int = SPOOL_BYTES_MAX


class ProjectTables:
    """What SQL can name in a project: its streams, the tables of its jobs, and those of its lake."""

    def __init__(self, project: Path) -> None:
        """Raises ConfigInvalid, JobInvalid."""
        self.config: Config = load_config(project)
        self.streams, jobs = declarations(self.config)
        self.tables = {name: job for job in jobs if (name := job.writes().table_name) is not None}
        taken = {*self.streams.names(), *self.tables}
        self.lake = {name: job for name, job in lake_tables(jobs).items() if name not in taken}

    def names(self) -> list[str]:
        """Their names, streams first. A family of streams is left out: name a stream of it."""
        return [*self.streams.names(), *self.tables, *self.lake]


@dataclass(frozen=True, slots=True)
class Query:
    """One statement whose views are made: run it, or write its rows to a file. `notes`: remarks on what was read."""

    text: str
    engine: Engine
    known: tuple[str, ...]
    notes: tuple[str, ...]

    def run(self) -> QueryResult:
        """Raises QueryInvalid."""
        return self.engine.run(self.text, self.known)

    def arrow(self) -> Any:
        """The rows as a pyarrow.Table. Raises QueryInvalid, ExtraMissing."""
        return self.engine.arrow(self.text, self.known)

    def write(self, path: Path) -> None:
        """Write the rows to `path`, of a kind in FILE_OPTIONS. Raises QueryInvalid."""
        self.engine.write(self.text, path, self.known)


@contextmanager
def querying(
    text: str,
    tables: ProjectTables | None,
    between: Between | None = None,
    *,
    typed: bool = True,
    limits: QueryLimits | None = None,
) -> Iterator[Query]:
    """One query, with everything that it names read; its result can be read until the block ends.

    `tables` None: only files can be named. `between` limits what is read of streams, by time of receipt. `typed`: the
    types of events come from their schemas. Raises QueryInvalid, ExtraMissing, LogUnavailable, SinkUnavailable.
    """
    limits = limits or QueryLimits()
    known = tuple(tables.names()) if tables is not None else ()
    parsed = parse_query(text, known)
    with tempfile.TemporaryDirectory(prefix="headwater-sql-") as directory:
        spool = Spool(Path(directory), limits.spool_bytes_max)
        engine = Engine(Path(directory), memory_bytes_max=limits.memory_bytes_max)
        try:
            if tables is not None:
                _make_views(engine, tables, parsed.names, between or Between(), spool, typed=typed)
            yield Query(parsed.text, engine, known, tuple(spool.notes))
        finally:
            engine.close()


def _make_views(
    engine: Engine, tables: ProjectTables, names: tuple[str, ...], between: Between, spool: Spool, *, typed: bool
) -> None:
    config = tables.config
    streams = [tables.streams.get(name) for name in names if name not in tables.tables and name not in tables.lake]
    if streams:
        repository = open_repositories(
            tuple(config.schemas.base_uris), root=config.project_dir, extension=config.schemas.file_extension
        )
        files = in_new_loop(spool_streams(config, streams, between, spool))
        for stream, file in zip(streams, files, strict=True):
            columns = stream_columns(stream, repository, spool.notes) if typed else None
            engine.view(stream.name, file, columns)
    for name in names:
        if (job := tables.lake.get(name)) is not None:
            engine.files_view(name, spool_lake(config, job, between, spool))
        elif (job := tables.tables.get(name)) is not None:
            writes = job.writes()
            if writes.materialized is not None:
                engine.view(name, *spool_materialized(config, writes.materialized, spool))
                continue
            shape = writes.table
            assert shape is not None
            file = config.path(config.jobs.tables_path)
            if writes.sink is None and not file.exists():
                # Opening it would create it, and a query changes nothing.
                raise QueryInvalid(f"The table {name} is not there yet.", hint="`headwater up` creates and fills it.")
            try:
                sink = table_of(config, job)
            except SinkUnavailable as error:
                raise QueryInvalid(error.message, hint=error.hint) from error
            if not isinstance(sink, TableSink):
                raise QueryInvalid(
                    f"The table {name} cannot be read from its target.", hint=f"Read its stream, {job.reads()[0]}."
                )
            engine.view(name, *in_new_loop(spool_table(sink, sink.shape, spool)))


def in_new_loop(work: Any) -> Any:
    """The result of a coroutine, run in a thread: where this is called, as in a notebook, a loop may be running."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((asyncio.run(work), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="sql-read")
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result
