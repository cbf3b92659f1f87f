"""Divides jobs over processes: each job to one of them, except those whose partitions processes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from headwater.jobs.job import Job


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
