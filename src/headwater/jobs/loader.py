"""Finds the jobs of a project: every Job at the top level of a file in its jobs directory, also inside containers.

A project is a package while its files are run, so that they import its other modules: `from ..content import links` in
`jobs/links.py` reads `content.py` of the project. The name of the package is made of the project's directory: two
projects in one process never get each other's modules.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from headwater.errors import ConfigInvalid, HeadwaterError, JobInvalid
from headwater.foreign import contain, described
from headwater.jobs.arguments import unexpected
from headwater.jobs.job import Job, ToStream, tables_named
from headwater.jobs.operators.dedupe import Dedupe
from headwater.jobs.operators.join import Join
from headwater.jobs.operators.rate import Rate
from headwater.jobs.operators.reorder import Reorder
from headwater.jobs.operators.sessions import session
from headwater.jobs.operators.sliding import sliding
from headwater.jobs.operators.windows import Windows, tumbling
from headwater.jobs.outcomes import Retry
from headwater.jobs.place import relative_file
from headwater.jobs.steps import Await, Each, PerKey, Timer, Transition
from headwater.jobs.tables.reader import no_table

# What job files call: the error for a misspelt argument suggests the right one.
_OURS: Mapping[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (session, sliding, tumbling)},
    "Timer.__new__": Timer,
    **{f"{kind.__name__}.__init__": kind for kind in (Await, Each, Job, PerKey, Retry, ToStream, Transition)},
    **{f"{kind.__name__}.__init__": kind for kind in (Dedupe, Join, Rate, Reorder)},
    **{
        f"Windows.{name}": function
        for name, function in vars(Windows).items()
        if callable(function) and not name.startswith("_")
    },
}
_NO_MORE: Any = object()
# Containers of jobs, and how they are iterated without running the code of a subclass.
_CONTENTS: Mapping[type, Callable[[Any], Iterable[Any]]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    dict: dict.values,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
    deque: deque.__iter__,
}


def load_jobs(
    directory: Path,
    project: Path,
    refused: Callable[[ConfigInvalid], None] | None = None,
    *,
    others: Iterable[Job] = (),
) -> list[Job]:
    """The jobs in `directory`, by file and then in order of definition; [] without the directory.

    The files are run, as Python files are when they are imported. Their places, and those in errors, are relative to
    `project`. `others` are jobs from elsewhere, which come last. Raises JobInvalid with file and line, and
    ConfigInvalid about one of the others; if `refused` is given, it is called with each of these errors instead, and
    the invalid jobs are left out.
    """
    found: dict[str, Job] = {}
    tables: dict[str, Job] = {}
    is_whole = True
    package = _project_package(project, directory)
    for path in sorted(directory.glob("*.py")):
        if path.name.startswith("_"):
            continue
        try:
            for job in _jobs_in(path, project, package):
                _check_names(job, found, tables, project)
                found[job.name] = job
        except JobInvalid as error:
            if refused is None:
                raise
            refused(error)
            is_whole = False
    for job in others:
        try:
            _check_names(job, found, tables, project)
            found[job.name] = job
        except JobInvalid as error:
            # It is no file of jobs that is wrong.
            clash = ConfigInvalid(error.detail, file=error.file, line=error.line, hint=error.hint)
            if refused is None:
                raise clash from None
            refused(clash)
    placed = [_placed(job, project) for job in found.values()]
    return _with_tables(placed, refused, is_whole=is_whole)


def _with_tables(jobs: list[Job], refused: Callable[[ConfigInvalid], None] | None, *, is_whole: bool) -> list[Job]:
    """The jobs with the materialized tables that they read, without those that read one that no job keeps.

    Unless all jobs are there (`is_whole`), one that is not among them may be another's. Raises JobInvalid.
    """
    known = [table.name for job in jobs if (table := job.writes().materialized) is not None]
    sound = []
    for job in jobs:
        used = tables_named(job)
        missing = [name for name in used.names if name in used.certain and name not in known]
        if not missing or not is_whole:
            read = tuple(name for name in used.names if name in known or name in used.certain)
            sound.append(dataclasses.replace(job, tables=read))
            continue
        error = no_table(missing[0], known, "Declare it with @table(source=…, key=…).")
        invalid = job.invalid(f"The job {job.name}: {error.detail}", hint=error.hint)
        if refused is None:
            raise invalid
        refused(invalid)
    return sound


def _check_names(job: Job, found: Mapping[str, Job], tables: dict[str, Job], project: Path) -> None:
    other, writes = found.get(job.name, job), job.writes()
    # The job of a sink is named after its table.
    if other is not job and (writes.sink is None or other.writes().target is None):
        raise _twice(job, other, f"There is another job {job.name}", "Rename one.", project)
    name = writes.table_name if writes.events is None else writes.events.name
    if name is not None:
        filling = tables.setdefault(name, job)
        if filling is not job:
            message = f"The {'table' if writes.events is None else 'sink'} {name} is filled by another job"
            raise _twice(job, filling, message, "Rename one.", project)


def _placed(job: Job, project: Path) -> Job:
    place = None if job.place is None else job.place.within(project)
    return dataclasses.replace(job, place=place, project=project)


def _twice(job: Job, other: Job, message: str, hint: str, project: Path) -> JobInvalid:
    where = f", at {other.place.within(project)}" if other.place is not None else ""
    return _placed(job, project).invalid(f"{message}{where}.", hint=hint)


def _project_package(project: Path, directory: Path) -> str:
    """The package in which the files of `directory` are modules, empty of what an earlier load left there."""
    root = f"headwater_project_{hashlib.sha256(str(project.resolve()).encode()).hexdigest()[:12]}"
    for name in [name for name in sys.modules if name == root or name.startswith(f"{root}.")]:
        del sys.modules[name]
    package = f"{root}.jobs"
    for name, path in ((root, project), (package, directory)):
        module = ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module
    return package


def _jobs_in(path: Path, project: Path, package: str) -> list[Job]:
    name = f"{package}.{path.stem}"
    if (imported := sys.modules.get(name)) is not None:  # by a file before it
        return _jobs_of(imported)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise JobInvalid("cannot be loaded as Python.", file=relative_file(path, project))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up their module by name while they are created.
    sys.modules[name] = module
    try:
        # Standard output and signals belong to the verb that loads the file.
        with contextlib.redirect_stdout(sys.stderr), _own_signals():
            spec.loader.exec_module(module)
    except BaseException as error:  # a job file may do anything
        sys.modules.pop(name, None)
        contain(error)
        raise _refusal(error, spec.origin or str(path), project) from error
    return _jobs_of(module)


def _jobs_of(module: ModuleType) -> list[Job]:
    return list(_jobs_among(value for name, value in vars(module).items() if not name.startswith("__")))


def _jobs_among(values: Iterable[Any]) -> Iterator[Job]:
    """The jobs among these values, and in the lists, tuples, sets and mappings among them, each once, in order."""
    seen: set[int] = set()
    waiting = [iter(values)]
    while waiting:
        value = next(waiting[-1], _NO_MORE)
        if value is _NO_MORE:
            waiting.pop()
            continue
        # `isinstance` would ask each value for its class, and a value made by others may answer with an exception.
        kind = type(value)
        contents = next((how for of, how in _CONTENTS.items() if issubclass(kind, of)), None)
        if (contents is None and not issubclass(kind, Job)) or id(value) in seen:
            continue
        seen.add(id(value))
        if contents is None:
            if not value.is_only_begun:
                yield value
        else:
            waiting.append(iter(list(contents(value))))


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Restore the handlers of Ctrl + C and SIGTERM afterwards, whatever a library has set."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _refusal(error: BaseException, path: str, project: Path) -> JobInvalid:
    """The error to report for the file at `path` whose code raised `error`."""
    file, line = relative_file(Path(path), project), _line_of(error, path)
    if isinstance(error, ConfigInvalid):
        if error.file is None or relative_file(Path(error.file), project) == file:
            return JobInvalid(error.detail, file=file, line=error.line or line, hint=error.hint)
        # It is about another file, which this one reads: the message has that file and its line, too.
        return JobInvalid(error.message, file=file, line=line, hint=error.hint)
    if isinstance(error, HeadwaterError):
        return JobInvalid(error.message, file=file, line=line, hint=error.hint)
    if isinstance(error, TypeError) and (found := unexpected(error, _OURS)) is not None:
        return JobInvalid(found[0], file=file, line=line, hint=found[1])
    if isinstance(error, Exception):
        return JobInvalid(described(error), file=file, line=line)
    return JobInvalid(
        f"{described(error)}: loading the file would end the program.",
        file=file,
        line=line,
        hint='Leave that out, or put it under `if __name__ == "__main__":`.',
    )


def _line_of(error: BaseException, path: str) -> int:
    """The last line of `path` on the way to the error."""
    if isinstance(error, SyntaxError) and error.filename == path and isinstance(error.lineno, int):
        return max(1, error.lineno)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == path]
    return lines[-1] if lines else 1
