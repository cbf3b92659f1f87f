"""Finds the jobs of a project: every Job at the top of a Python file in its jobs directory."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from headwater.errors import JobInvalid
from headwater.processing.job import Job, ToTable


def load_jobs(directory: Path) -> list[Job]:
    """The jobs in `directory`, by file and then in order of definition; none where there is no such directory.

    The files are run, as Python files are when they are imported. Raises JobInvalid with file and line.
    """
    found: dict[str, tuple[Job, Path]] = {}
    tables: dict[str, Path] = {}
    for path in sorted(directory.glob("*.py")):
        if path.name.startswith("_"):
            continue
        for job in _jobs_in(path):
            if job.name in found and found[job.name][0] is not job:
                other = found[job.name][1]
                raise JobInvalid(f"{path.name} and {other.name} both have a job {job.name}.", hint="Rename one.")
            if isinstance(job.output, ToTable) and tables.setdefault(job.output.shape.name, path) != path:
                raise JobInvalid(f"{path.name} fills the table {job.output.shape.name}, as another file does.")
            found[job.name] = (job, path)
    return [job for job, _ in found.values()]


def _jobs_in(path: Path) -> list[Job]:
    name = f"headwater_jobs.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise JobInvalid(f"{path.name} cannot be loaded as Python.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name while they are made.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise JobInvalid(f"{path.name}:{_line_of(error, path)}: {type(error).__name__}: {error}") from error
    return [value for value in vars(module).values() if isinstance(value, Job)]


def _line_of(error: Exception, path: Path) -> int:
    """The last line of `path` on the way to the error."""
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (lines[-1] if lines else None) or 1
