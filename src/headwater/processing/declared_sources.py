"""The files of a project's sources as jobs, read with the installed connectors."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.config import Config
from headwater.connectors.registry import source_spec
from headwater.jobs.job import Job
from headwater.processing.source_files import DeclaredSource, Refused, declared_sources, job_of


def project_sources(config: Config, refused: Refused | None = None) -> Iterator[DeclaredSource]:
    """The sources of the project.

    Raises ConfigInvalid with file and line; if `refused` is given, it is called with each of these errors instead, and
    the invalid sources are left out.
    """
    return declared_sources(config.path(config.sources.path), source_spec, config.project_dir, refused)


def source_jobs(config: Config, refused: Refused | None = None) -> Iterator[Job]:
    """A job `source.NAME` for each source that reads; what is posted to the platform needs none. Raises as above."""
    for source in project_sources(config, refused):
        if not source.configured.spec.pushed:
            yield job_of(source, config.project_dir)


def pushed_jobs(config: Config, refused: Refused | None = None) -> Iterator[Job]:
    """The sources that are posted to, as jobs that nothing runs, for what is asked of both. Raises as above."""
    for source in project_sources(config, refused):
        if source.configured.spec.pushed:
            yield job_of(source, config.project_dir)
