"""The order in which events flow through a project's jobs, starting with those that read no stream of another job."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.jobs.job import Job


def in_order_of_flow(jobs: Sequence[Job]) -> list[Job]:
    """Each job after those whose streams it reads, and, if that is possible, after those whose tables it reads.

    Raises JobInvalid for a cycle of streams.
    """
    ordered: list[Job] = []
    waiting = list(jobs)
    while waiting:
        pending = {name for job in waiting for name in job.writes().outputs}
        ready = [job for job in waiting if pending.isdisjoint(job.reads())]
        if not ready:
            circle = _that_come_round(waiting)
            raise circle[0].invalid(
                f"These jobs read each other's streams in a circle: {', '.join(job.label for job in circle)}."
            )
        kept = {table.name for job in waiting if (table := job.writes().materialized) is not None}
        # A table may be made of what a reader of it writes: that is no cycle in which events circulate.
        first = [job for job in ready if kept.isdisjoint({*job.tables} - {job.name})] or ready
        ordered += first
        waiting = [job for job in waiting if job not in first]
    return ordered


def origins(job: Job, jobs: Sequence[Job]) -> tuple[str, ...]:
    """The streams whose events may be part of what it writes: those it reads, and those its tables are made of."""
    keeping = {table.name: one for one in jobs if (table := one.writes().materialized) is not None}
    reading, seen = [job], {job.name}
    found = dict.fromkeys(job.reads())
    while reading:
        for name in reading.pop().tables:
            keeper = keeping.get(name)
            if keeper is not None and keeper.name not in seen:
                seen.add(keeper.name)
                reading.append(keeper)
                found.update(dict.fromkeys(keeper.reads()))
    return tuple(found)


def _that_come_round(waiting: Sequence[Job]) -> list[Job]:
    """The jobs of the cycle, without those that only read its output."""
    circle = list(waiting)
    while True:
        read = {source for job in circle for source in job.reads()}
        left = [job for job in circle if not read.isdisjoint(job.writes().outputs)]
        if len(left) == len(circle):
            return circle
        circle = left
