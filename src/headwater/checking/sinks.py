"""What is asked of the sinks of stream files: whether the files that they fill can be, and are nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import assert_never

from headwater.checking.fields import field_in_any
from headwater.checking.jobs import about_job, documents_of, undeclared
from headwater.checking.places import why_not_made
from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.checking.settings import own_places
from headwater.connectors.contract import EventShape, Shape, TableShape
from headwater.connectors.registry import SUFFIXES
from headwater.connectors.spec import ConfiguredSink
from headwater.jobs.job import Job


def paths_are_declared(project: Project) -> Iterator[Problem]:
    """The key and the version of each sink, what says which events delete, and the fields that its options name are
    fields that a schema declares."""
    for job, shape, sink in _sinks(project):
        yield from _undeclared(project, job, [path for path, _ in shape.delete_when], "its `delete_when` has {}")
        yield from _undeclared(
            project, job, sink.spec.fields(sink.options), f"the connector {sink.spec.name} reads {{}}"
        )
        match shape:
            case EventShape(key=key, version=version):
                yield from _undeclared(project, job, key, "its key has {}")
                yield from _undeclared(project, job, filter(None, (version,)), "its version is {}")
            case TableShape():
                pass  # Its columns are looked up by the checks of tables.
            case _:
                assert_never(shape)


def _undeclared(project: Project, job: Job, paths: Iterable[str], what: str) -> Iterator[Problem]:
    for path in paths:
        yield from undeclared(project, job, path, what.format(path))


def files_can_be_made(project: Project) -> Iterator[Problem]:
    """The file that a sink fills is there, or can be made."""
    for job, file, _ in _files(project):
        try:
            why = "it is a directory" if file.is_dir() else why_not_made(file)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
        if why:
            yield about_job(
                job, f"its file {str(file)[:200]} cannot be made: {why}.", "Name a place that can be written."
            )


def files_are_databases_of_their_own(project: Project) -> Iterator[Problem]:
    """No sink fills a file in which the platform keeps something else, and no two connectors fill one file."""
    config = project.config
    taken = {_one(path): f"{section}.{key}" for section, key, path in own_places(config) if key != "tables_path"}
    tables = config.path(config.jobs.tables_path)
    kinds = {_one(tables): SUFFIXES.get(tables.suffix)}
    for job, file, kind in _files(project):
        if (other := taken.get(_one(file))) is not None:
            yield about_job(job, f"its file is that of {other}, {file}.", "Name another file.")
        elif (known := kinds.setdefault(_one(file), kind)) != kind:
            message = f"its file {file} is filled by {known}, too, and not only by {kind}."
            yield about_job(job, message, "Give each kind of database a file of its own.")


def deletions_can_happen(project: Project) -> Iterator[Problem]:
    """No sink deletes by a value that its field can never have."""
    for job, shape, _ in _sinks(project):
        documents = documents_of(project, job)
        for path, values in shape.delete_when:
            field = field_in_any(documents, path)
            if field is None or not field.values:
                continue
            for value in values:
                if value is not None and not _types_of(value) & field.values:
                    message = f"delete_when waits until {path} is {json.dumps(value)}, and it is {field.words}."
                    yield about_job(job, message, "YAML reads only `true` and `false` as such, and 5 as a number.")


def _types_of(value: str | bool | int) -> set[str]:
    if isinstance(value, str):
        return {"string"}
    return {"boolean"} if isinstance(value, bool) else {"integer", "number"}


def _sinks(project: Project) -> Iterator[tuple[Job, Shape, ConfiguredSink]]:
    for job in project.jobs:
        writes = job.writes()
        if writes.sink is not None and writes.target is not None:
            yield job, writes.target, writes.sink


def _one(file: Path) -> str:
    """Where file names ignore case, capital letters make no difference."""
    return str(file.resolve()).lower()


def _files(project: Project) -> Iterator[tuple[Job, Path, str]]:
    """The sinks that fill a local file: the job, the file and the connector."""
    for job in project.jobs:
        sink = job.writes().sink
        if sink is not None and (file := sink.file(project.config.project_dir)) is not None:
            yield job, file, sink.spec.name
