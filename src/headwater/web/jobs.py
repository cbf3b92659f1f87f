"""What is told of the jobs: how each is and what is wrong with it, and of those on private streams only that."""

from __future__ import annotations

from typing import Any

from headwater.errors import StreamUnknown
from headwater.platform import Platform
from headwater.processing.job import Job, ToStream

PRIVATE_NAME = "a job of private streams"


def jobs_told(platform: Platform) -> list[dict[str, Any]]:
    """`[{name, place, state, read, written, errors, late, restarts, trouble}]`; `trouble` is None where all is well."""
    return [_told(platform, job) for job in platform.jobs]


def jobs_in_trouble(platform: Platform) -> list[dict[str, Any]]:
    """Those of them with which something is wrong now."""
    return [job for job in jobs_told(platform) if job["trouble"] is not None]


def _told(platform: Platform, job: Job) -> dict[str, Any]:
    report = platform.runners[job.name].report()
    name, place, trouble = job.name, report.place, report.trouble
    if _is_private(platform, job):
        # What an exception says may be part of an event.
        name, place, trouble = PRIVATE_NAME, None, None if trouble is None else trouble.partition(":")[0]
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


def _is_private(platform: Platform, job: Job) -> bool:
    names = [*job.sources, *([job.output.stream] if isinstance(job.output, ToStream) else [])]
    for name in [*names, *([job.late_stream] if job.late_stream else []), job.error_stream]:
        try:
            if platform.streams.get(name).is_private:
                return True
        except StreamUnknown:
            continue
    return False
