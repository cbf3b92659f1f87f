"""Divides jobs over processes: each job to one of them, except those whose partitions processes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from headwater.config import Config
from headwater.jobs.job import Job
from headwater.processing.embedded.partitioned import can_share
from headwater.processing.hosting.files import file_of


def shares_partitions(config: Config) -> bool:
    """Whether the processes of a project share the partitions of the jobs where that is possible."""
    return config.log.is_kafka and (config.jobs.shared or config.jobs.processes > 1)


def division_of(config: Config, jobs: Sequence[Job]) -> list[tuple[str, ...]]:
    """The names of the jobs of each process of a project; [] if jobs run in the process that accepts events."""
    if config.jobs.processes == 0:
        return []
    shares = shares_partitions(config)
    return divided(
        jobs,
        config.jobs.processes,
        table_file=lambda job: None if job.writes().target is None else file_of(config, job),
        is_shared=lambda job: shares and can_share(job),
    )


def divided(
    jobs: Sequence[Job], count: int, *, table_file: Callable[[Job], Path | None], is_shared: Callable[[Job], bool]
) -> list[tuple[str, ...]]:
    """The names of the jobs of each process, of at most `count` and of none without jobs.

    Jobs that fill tables in one file go together: only one process can write it. Otherwise the processes get as many
    jobs each as possible, the same ones at every start. Shared jobs go to every process.
    """
    shared = sorted(job.name for job in jobs if is_shared(job))
    groups: dict[object, list[str]] = {}
    for job in jobs:
        if not is_shared(job):
            file = table_file(job)
            groups.setdefault(job.name if file is None else file, []).append(job.name)
    processes: list[list[str]] = [[] for _ in range(count if shared else min(count, len(groups)))]
    for names in sorted(groups.values(), key=lambda names: (-len(names), min(names))):
        min(processes, key=len).extend(names)
    return [tuple(sorted(names) + shared) for names in processes]
