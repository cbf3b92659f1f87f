"""Finds the sink that a user names, by its table or by its job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.errors import JobInvalid

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.jobs.job import Job
    from headwater.streams.registry import StreamRegistry

PREFIX = "sink."


def project_sink(project: Path, name: str) -> tuple[Config, StreamRegistry, Job]:
    """The configuration, the streams, and the job of the sink of that name. Raises ConfigInvalid, JobInvalid."""
    from headwater.cli.job.measured import project_jobs

    config, streams, jobs = project_jobs(project)
    return config, streams, _named(name, [job for job in jobs if job.writes().target is not None])


def job_name(project: Path, name: str, *, server: str | None) -> str:
    """The name of the job of a sink; with `server` the project need not be here. Raises ConfigInvalid, JobInvalid."""
    from headwater.config import CONFIG_FILE

    if server is not None and not (project / CONFIG_FILE).is_file():
        return name if name.startswith(PREFIX) else PREFIX + name
    return project_sink(project, name)[2].name


def _named(name: str, jobs: Sequence[Job]) -> Job:
    from headwater.declaration import nearest

    found: dict[str, Job] = {}
    for job in jobs:
        target = job.writes().target
        assert target is not None
        found |= {target.name: job, job.name: job}
    if name not in found:
        near = nearest(name, found)
        hint = f'Did you mean "{near}"?' if near else "`headwater sinks list` prints their names."
        raise JobInvalid(f"The project has no sink {name}.", hint=hint)
    return found[name]
