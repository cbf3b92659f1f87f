"""Typed tables for programs that are written with PyFlink: `headwater.flink` offers these two functions."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pyflink.table import StreamTableEnvironment, Table

from headwater.config import load_config
from headwater.errors import ConfigInvalid, JobInvalid
from headwater.jobs.durations import milliseconds
from headwater.jobs.job import Job, OnError
from headwater.jobs.sql.program import named_stream, reading_program, writing_program
from headwater.processing.declarations import declarations, with_error_streams
from headwater.processing.flink.loading import Loaded
from headwater.processing.flink.preparation import prepare
from headwater.processing.flink.sql.assembly import Assembly, Reading
from headwater.processing.flink.sql.columns import typed_stream
from headwater.processing.flink.sql.read_settings import ReadSettings, check_choice, checked
from headwater.processing.flink.tables import Guarantee
from headwater.schemas.configured import project_schemas

_MODE = "python.execution-mode"
_ZONE = "table.local-time-zone"
# The streams that programs of this process read, by the name of the program.
_read: defaultdict[str, list[str]] = defaultdict(list)


def table(env: StreamTableEnvironment, stream: str, *, name: str, project: Path | str, settings: ReadSettings) -> Table:
    """See `headwater.flink.table`."""
    checked(settings)
    of, version = named_stream(stream)
    job = reading_program(
        name,
        of,
        Path(project).resolve(),
        on_error=settings.get("on_error", "error_event"),
        canaries=settings.get("canaries", False),
        start=settings.get("start", "oldest"),
    )
    loaded = _loaded(job)
    typed = typed_stream(loaded.streams, project_schemas(loaded.config), of, version)
    assembly, namespace = _assembly(env, loaded, None)
    if of not in _read[name]:
        _read[name].append(of)
    reading = Reading(
        f"{namespace}{job.group}",
        milliseconds(settings.get("out_of_order", 0)),
        milliseconds(settings.get("idle", "10s")),
        job.start,
        is_bounded=settings.get("until_end", False),
    )
    return assembly.read(typed, reading)


def sink(
    rows: Table,
    stream: str,
    *,
    name: str,
    project: Path | str = ".",
    id_columns: Sequence[str] = (),
    on_error: OnError = "error_event",
    guarantee: Guarantee | None = None,
) -> None:
    """See `headwater.flink.sink`."""
    check_choice("on_error", on_error, get_args(OnError))
    loaded = _loaded(writing_program(name, _read[name], stream, Path(project).resolve(), on_error=on_error))
    typed = typed_stream(loaded.streams, project_schemas(loaded.config), *named_stream(stream))
    assembly, _ = _assembly(rows._t_env, loaded, guarantee)
    assembly.write(rows, typed, id_columns)


def _loaded(job: Job) -> Loaded:
    """The program in its project. Raises ConfigInvalid."""
    assert job.project is not None
    config = load_config(job.project)
    refused: list[ConfigInvalid] = []
    streams, jobs = declarations(config, refused.append)
    if any(one.name == job.name for one in jobs):
        raise JobInvalid(
            f"The project has a job {job.name}: position and ids of the program would be those of the job.",
            hint="Give the program another name.",
        )
    errors = job.writes().errors
    if job.on_error == "error_event" and errors not in streams:
        raise ConfigInvalid(
            f"The stream {errors}, for what the program cannot process, is not declared.",
            hint=f'Declare it, with "schema_title: error", or let {job.name} stop or skip: on_error="stop".',
        )
    return Loaded(config, with_error_streams(config, streams, [*jobs, job]), job, jobs)


def _assembly(tables: StreamTableEnvironment, loaded: Loaded, guarantee: Guarantee | None) -> tuple[Assembly, str]:
    """What adds tables for the program, and what the names of all topics and groups begin with."""
    if not isinstance(tables, StreamTableEnvironment):
        raise ConfigInvalid(
            f"A table of a stream needs a StreamTableEnvironment, not {type(tables).__name__}.",
            hint="StreamTableEnvironment.create(StreamExecutionEnvironment.get_execution_environment())",
        )
    settings = tables.get_config()
    if settings.get(_MODE, "process") != "process":
        raise ConfigInvalid(
            f"{_MODE} is {settings.get(_MODE, '')}: Flink gives functions of tables no NULL for an array then.",
            hint=f"Leave {_MODE} at process.",
        )
    # Texts of times without a zone are in UTC.
    settings.set(_ZONE, "UTC")
    prepared = asyncio.run(prepare(loaded, is_program=True))
    chosen = guarantee or loaded.config.flink.guarantee
    made = Assembly(tables, loaded.config, prepared, loaded.job, start=uuid.uuid4().hex, guarantee=chosen)
    return made, prepared.namespace
