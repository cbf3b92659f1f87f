"""What is asked of a project's jobs: whatever would keep one from starting, or fail its first event."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.errors import StreamUnknown
from headwater.processing.job import Job, ToStream


def streams_are_declared(project: Project) -> Iterator[Problem]:
    """Every stream a job reads, writes or sends late events to must be declared."""
    if project.streams is None:
        return
    for job in project.jobs:
        for name in _streams_of(job):
            try:
                project.streams.get(name)
            except StreamUnknown as error:
                if name not in project.unread_streams:
                    yield _about(project, job, error.message, error.hint)


def _streams_of(job: Job) -> Iterator[str]:
    yield from job.sources
    if isinstance(job.output, ToStream):
        yield job.output.stream
    if job.late_stream:
        yield job.late_stream


def _about(project: Project, job: Job, message: str, hint: str | None = None) -> Problem:
    file, line = job.place or (project.config.jobs.path, None)
    return Problem(f"the job {job.name}: {message}", file, line, hint)
