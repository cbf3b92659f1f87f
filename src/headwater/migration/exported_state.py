"""An exported directory as the state that a log, or the file of a job, is given: by namespace, in the order of keys.

How this works: the entries come in any order, and a store is compared in one order; so they go through a file of their
own, as a job has one, which has them sorted, together with the indexes of timers. It is deleted afterwards.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

from headwater.errors import StateMismatch
from headwater.jobs.cells import Cell
from headwater.jobs.job import Job
from headwater.jobs.steps import NO_WATERMARK
from headwater.migration.job_state import ROWS_AT_ONCE, Rows
from headwater.processing.embedded.batches import PROGRESS_KEY, progress_of
from headwater.processing.embedded.keyed_state import timer_entries
from headwater.processing.embedded.watermark import Watermarks
from headwater.processing.moving.entries import StepSum, entry_of, stored_in
from headwater.processing.moving.folder import Manifest, check_parts, entries_of
from headwater.processing.moving.owner import require_of
from headwater.processing.stores.state_file import StateFile


class ExportedState:
    """What a directory has of one job. Close it in any case."""

    def __init__(self, job: Job, folder: Path, manifest: Manifest) -> None:
        self._job = job
        self._prefix = f"job/{job.name}/"
        self._folder = folder
        self._manifest = manifest
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._file: StateFile | None = None

    async def open(self) -> None:
        """Read all of it. Raises StateMismatch if it is not what was exported, or not of this job."""
        require_of(self._job, self._manifest)
        await asyncio.to_thread(self._read)

    async def rows(self) -> AsyncGenerator[tuple[str, Rows]]:
        """The state, by namespace."""
        file = self._file
        assert file is not None
        for namespace in await asyncio.to_thread(file.namespaces):
            after = b""
            while rows := await asyncio.to_thread(file.scan, namespace, after, ROWS_AT_ONCE):
                yield namespace, rows
                after = rows[-1][0]

    async def close(self) -> None:
        """Delete what was made; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
        place, self._place = self._place, None
        if place is not None:
            place.cleanup()

    def _read(self) -> None:
        check_parts(self._folder, self._manifest)
        self._place = tempfile.TemporaryDirectory(prefix="headwater-import-")
        file = self._file = StateFile(Path(self._place.name) / "state.db", durability="os")
        file.begin_replacing()
        for entry in entries_of(self._folder, self._manifest):
            namespace, key = stored_in(self._prefix, entry)
            file.put(namespace, [(key, entry.value)])
            if entry.kind == "cell":
                timers = timer_entries(entry.key, Cell.decode(entry.value))
                file.put(f"{self._prefix}{entry.step}/timers", [(one, b"1") for one in timers])
        progress = self._progress()
        if progress is not None:
            file.put(progress_of(self._job), [(PROGRESS_KEY, progress)])
        file.end_replacing(self._manifest.position.token())
        # As they are stored: a key that was there twice is so once.
        if self._sums(file) != dict(self._manifest.steps):
            raise StateMismatch(f"The entries in {self._folder} are not those of its manifest.")

    def _sums(self, file: StateFile) -> dict[str, StepSum]:
        found: dict[str, StepSum] = {}
        for namespace in file.namespaces():
            after = b""
            while rows := file.scan(namespace, after, ROWS_AT_ONCE):
                for key, value in rows:
                    if (entry := entry_of(self._prefix, namespace, key, value)) is not None:
                        found.setdefault(entry.step, StepSum()).add(entry)
                after = rows[-1][0]
        return found

    def _progress(self) -> bytes | None:
        """What the embedded runner stores of event time."""
        if self._manifest.progress is not None:
            return self._manifest.progress.encode()
        if self._manifest.watermark_ms == NO_WATERMARK:
            return None
        return Watermarks().encode(self._manifest.watermark_ms)
