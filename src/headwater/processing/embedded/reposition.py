"""Lets a job begin at another position than the first one, or begin again there: then all that it keeps is deleted."""

from __future__ import annotations

from headwater.jobs.job import Job
from headwater.log.contract import StateChange
from headwater.processing.embedded.batches import progress_of
from headwater.processing.embedded.parking import park_of
from headwater.processing.embedded.retries import Retries
from headwater.processing.embedded.source import JobSource
from headwater.processing.stores.contract import JobStore

ROWS_PER_COMMIT = 5_000


async def begin_at_the_end(source: JobSource, store: JobStore, retries: Retries) -> None:
    """Commit the end of what there is now, before anything is read, so that it stays the beginning."""
    end = await source.end()
    await retries.of(lambda: store.commit([], source.token(end), []))
    await source.move(end)


def namespaces_of(job: Job) -> list[str]:
    """The namespaces of everything that the job keeps."""
    steps = [f"job/{job.name}/{step.name}/{part}" for step in job.keyed_steps for part in ("cells", "timers", "rows")]
    return [progress_of(job), park_of(job.name), *steps]


async def reposition(job: Job, store: JobStore, token: str) -> None:
    """Delete what the open store keeps of the job, and commit `token`. May be repeated after an error.

    Large states are deleted in several commits, so the caller repeats this, before the job runs, if it did not end.
    Raises what the store raises.
    """
    for namespace in namespaces_of(job) if store.keeps_state else ():
        while page := await store.state_scan(namespace, rows_max=ROWS_PER_COMMIT):
            await store.commit([], token, [StateChange(namespace, key, None) for key, _ in page])
    await store.commit([], token, [])
    await store.flush()
