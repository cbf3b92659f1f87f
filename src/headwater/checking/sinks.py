"""What is asked of the sinks of stream files: whether the files that they fill can be, and are nobody else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from headwater.checking.jobs import about_job, undeclared
from headwater.checking.places import why_not_made
from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.checking.settings import own_places
from headwater.connectors.registry import SUFFIXES
from headwater.jobs.job import Job


def paths_are_declared(project: Project) -> Iterator[Problem]:
    """The key and the version of each sink, and what says which events delete, are fields that a schema declares."""
    for job in project.jobs:
        writes = job.writes()
        if writes.sink is None or writes.target is None:
            continue
        deleting = [path for path, _ in writes.target.delete_when]
        yield from _undeclared(project, job, deleting, "its `delete_when` has {}")
        if writes.events is not None:
            yield from _undeclared(project, job, writes.events.key, "its key has {}")
            yield from _undeclared(project, job, filter(None, (writes.events.version,)), "its version is {}")


def _undeclared(project: Project, job: Job, paths: Iterable[str], what: str) -> Iterator[Problem]:
    for path in paths:
        yield from undeclared(project, job, path, what.format(path))


def files_can_be_made(project: Project) -> Iterator[Problem]:
    """The file that a sink fills is there, or can be made."""
    for job, file, _ in _files(project):
        if why := "it is a directory" if file.is_dir() else why_not_made(file):
            yield about_job(job, f"its file {file} cannot be made: {why}.", "Name a place that can be written.")


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


def _one(file: Path) -> str:
    """Where file names ignore case, capital letters make no difference."""
    return str(file.resolve()).lower()


def _files(project: Project) -> Iterator[tuple[Job, Path, str]]:
    """The sinks that fill a local file: the job, the file and the connector."""
    for job in project.jobs:
        sink = job.writes().sink
        if sink is not None and (file := sink.file(project.config.project_dir)) is not None:
            yield job, file, sink.spec.name
