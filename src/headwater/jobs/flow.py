"""The order in which events flow through a project's jobs, starting with those that read no stream of another job."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.jobs.job import Job


def in_order_of_flow(jobs: Sequence[Job]) -> list[Job]:
    """Each job after those whose streams it reads. Raises JobInvalid for a cycle."""
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
        ordered += ready
        waiting = [job for job in waiting if job not in ready]
    return ordered


def _that_come_round(waiting: Sequence[Job]) -> list[Job]:
    """The jobs of the cycle, without those that only read its output."""
    circle = list(waiting)
    while True:
        read = {source for job in circle for source in job.reads()}
        left = [job for job in circle if not read.isdisjoint(job.writes().outputs)]
        if len(left) == len(circle):
            return circle
        circle = left
