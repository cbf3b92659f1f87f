"""How many keys a job keeps, and how many bytes: carried on from commit to commit, so that nothing is counted again.

How this works: the sizes are a part of the job's progress, committed with the changes that they include. A progress
without them, which an earlier version has written, has them counted once.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from headwater.jobs.job import Job
from headwater.processing.stores.contract import JobStore

NAME = "state"
PAGE_ROWS = 5_000
# Keys and bytes.
Size = tuple[int, int]


class StateSizes:
    """The sizes of the steps of one run of a job, by name: those that are committed, and those of the next commit."""

    def __init__(self, committed: Mapping[str, Size]) -> None:
        self._committed = dict(committed)
        self._next = self._committed

    @property
    def total(self) -> Size:
        """What is committed, of all steps."""
        sizes = self._committed.values()
        return sum(keys for keys, _ in sizes), sum(size for _, size in sizes)

    def prepare(self, changes: Mapping[str, Size]) -> Mapping[str, Size]:
        """The sizes after the next commit, which changes them by this much."""
        self._next = {
            step: (keys + changes.get(step, (0, 0))[0], size + changes.get(step, (0, 0))[1])
            for step, (keys, size) in self._committed.items()
        }
        return self._next

    def committed(self) -> None:
        """What was prepared is committed."""
        self._committed = self._next


async def sizes_of(job: Job, store: JobStore, progress: bytes | None) -> StateSizes:
    """The sizes in the committed progress; if it has none, by reading the state."""
    kept = orjson.loads(progress).get(NAME, {}) if progress else {}
    return StateSizes(
        {
            step.name: tuple(kept[step.name]) if step.name in kept else await _counted(job.name, step.name, store)
            for step in job.keyed_steps
        }
    )


async def _counted(job: str, step: str, store: JobStore) -> Size:
    keys, size = await _size_of(store, f"job/{job}/{step}/cells")
    _, rows = await _size_of(store, f"job/{job}/{step}/rows", with_names=True)
    return keys, size + rows


async def _size_of(store: JobStore, namespace: str, *, with_names: bool = False) -> Size:
    keys, size, after = 0, 0, b""
    while page := await store.state_scan(namespace, after=after, rows_max=PAGE_ROWS):
        keys += len(page)
        size += sum(len(value) for _, value in page)
        if with_names:
            size += sum(len(key.partition(b"\0")[2].decode()) for key, _ in page)
        after = page[-1][0]
    return keys, size
