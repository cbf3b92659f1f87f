"""What is told of the jobs: how each is and what is wrong with it, and of those on private streams only that."""

from __future__ import annotations

from typing import Any

from headwater.jobs.job import Job
from headwater.platform import Platform
from headwater.processing.stack import without_paths
from headwater.streams.seen import SeenStreams

PRIVATE_NAME = "a job of private streams"


def jobs_told(platform: Platform, seen: SeenStreams) -> list[dict[str, Any]]:
    """`[{name, place, state, read, written, errors, late, restarts, trouble}]`, as who sees these streams is told.

    `trouble` is None where all is well.
    """
    return [_told(platform, job, seen) for job in platform.jobs]


def jobs_in_trouble(platform: Platform, seen: SeenStreams) -> list[dict[str, Any]]:
    """Those of them with which something is wrong now."""
    return [job for job in jobs_told(platform, seen) if job["trouble"] is not None]


def _told(platform: Platform, job: Job, seen: SeenStreams) -> dict[str, Any]:
    report = platform.runners[job.name].report()
    name, place, trouble = job.name, report.place, report.trouble
    if not seen.visibility.names_job(job.name, seen.sight):
        name, place = PRIVATE_NAME, None
    if trouble is not None:
        # What an exception says may be part of an event.
        readable = seen.visibility.reads_job(job.name, seen.sight)
        trouble = without_paths(trouble, job.project) if readable else trouble.partition(":")[0]
    return {
        "name": name,
        "place": place,
        "state": report.state,
        "read": report.read,
        "written": report.written,
        "errors": report.errors,
        "late": report.late,
        "restarts": report.restarts,
        "trouble": trouble,
    }
