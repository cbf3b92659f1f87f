"""Takes a job out of the embedded runner, into a directory, and puts it back: position and state, together.

How this works: first it is noted in the log that the job belongs to an export, by its id. A process that runs the job
sees that within seconds, ends its batch, and does not begin another; nor does a later one. Then nothing changes any
more, what was committed goes to the log, and position and state are read. To continue the job takes the same id, so
that of several copies of a job only one runs. An import writes everything or nothing, and compares what was written.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from headwater.config import Config
from headwater.errors import ChangeRefused, StateMismatch, StateUnavailable, TokenInvalid
from headwater.jobs.job import Job
from headwater.log.contract import Log, Position
from headwater.migration.exported_state import ExportedState
from headwater.migration.job_state import UNFINISHED, FileJobState, JobState, LogJobState, digest_of
from headwater.processing.control import JobControl, JobRequest
from headwater.processing.embedded.batches import PROGRESS_KEY, progress_of
from headwater.processing.embedded.watermark import Watermarks
from headwater.processing.moving.entries import StepSum, entry_of
from headwater.processing.moving.folder import ExportWriter, Manifest, read_manifest
from headwater.processing.moving.owner import require_owner
from headwater.processing.stores.outbox import state_file
from headwater.processing.stores.partitions import UnpartitionedStore, committed_position, reposition_groups
from headwater.processing.supervisor import LOOK_SECONDS, PATIENCE_TURNS, TURN_SECONDS
from headwater.streams.registry import StreamRegistry
from headwater.times import utc_text

# How long a runner may take to see that it is to stop, and to end its batch.
STOP_SECONDS = LOOK_SECONDS + PATIENCE_TURNS * TURN_SECONDS
WAIT_SECONDS_MAX = 60.0
PAUSE_SECONDS = 0.2
BY = "`headwater job export`"
HOW_BACK = "`headwater job import {name} --state DIR` brings it back."


@dataclass(frozen=True, slots=True)
class Movable:
    """A job that can be taken elsewhere, with its open log.

    `stop_seconds`: how long others who run it may take to stop, where they hold no lock; 0 if the log belongs to this
    process alone.
    """

    config: Config
    job: Job
    streams: StreamRegistry
    log: Log
    stop_seconds: float = STOP_SECONDS

    @property
    def control(self) -> JobControl:
        return JobControl(self.log, self.job, self.topics)

    @property
    def topics(self) -> list[str]:
        return [topic for name in self.job.reads() for topic in self.streams.get(name).topics]

    @property
    def is_shared(self) -> bool:
        """Whether processes may share it, each with partitions of its own."""
        return self.log.features.shares_partitions and not self.job.keeps_state

    def state(self) -> JobState:
        """Where the embedded runner keeps it."""
        if self.log.features.keyed_state or not self.job.keeps_state:
            return LogJobState(self.log, self.job.name)
        path = state_file(self.config.path(self.config.jobs.state_path), self.job.name)
        return FileJobState(self.log, self.job.name, path)


def require_movable(job: Job) -> None:
    """Raise ChangeRefused for a job of which the position is not in the log."""
    if job.input is not None:
        raise ChangeRefused(f"{job.name} reads another system, which only runs embedded.")
    if job.writes().target is not None:
        raise ChangeRefused(
            f"The job {job.name} fills a table, where its position is kept; such jobs only run embedded.",
            hint="Let it write a stream, and a sink of that stream fill the table.",
        )


async def export_job(moved: Movable, folder: Path, *, wait_seconds_max: float = WAIT_SECONDS_MAX) -> Manifest:
    """Stop the job, and write where it is to a new directory. From then on only the export's owner runs it.

    If that fails, the job continues as before. Raises ChangeRefused, StateUnavailable, StateMismatch, LogUnavailable.
    """
    require_movable(moved.job)
    control = moved.control
    before = await control.read()
    _require_here(moved.job, before)
    writer = ExportWriter(folder)
    await control.export(writer.id, by=BY)
    try:
        return await _export(moved, writer, wait_seconds_max)
    except BaseException:
        writer.discard()
        await control.export("", by=before.by)
        raise


async def import_job(moved: Movable, folder: Path, *, force: bool = False) -> Manifest:
    """Let the embedded runner continue where an export is. `force`: also if the job does not belong to that export.

    What the job kept here is replaced, and checked. Raises ChangeRefused, StateMismatch, StateUnavailable, CopyRefused,
    LogUnavailable.
    """
    require_movable(moved.job)
    manifest = read_manifest(folder)
    source = ExportedState(moved.job, folder, manifest)
    try:
        await source.open()
        await require_owner(moved.log, moved.job, manifest, force=force)
        await _import(moved, source, manifest)
    finally:
        await source.close()
    await moved.control.export("", by="`headwater job import`")
    return manifest


async def _export(moved: Movable, writer: ExportWriter, wait_seconds_max: float) -> Manifest:
    state = moved.state()
    try:
        if moved.is_shared:
            token = (await _settled(moved)).token()
        else:
            await _until_free(state, wait_seconds_max)
            await state.flush()
            began = await state.snapshot()
            token = began.token or Position().token()
        if token == UNFINISHED:
            raise StateMismatch(f"The state of {moved.job.name} is half of a copy: {UNFINISHED}.")
        position, progress = Position.parse(token), await _write(moved, state, writer)
        if not moved.is_shared and await state.snapshot() != began:
            raise StateUnavailable(f"The job {moved.job.name} still runs.", hint="Stop what runs it, and export again.")
    except TokenInvalid as error:
        raise StateMismatch(f"The position of {moved.job.name} is not one in streams: {error.message}") from error
    finally:
        await state.close()
    watermark_ms = Watermarks(progress).watermark_ms
    return writer.finish(
        Manifest(
            writer.id,
            moved.job.name,
            "embedded",
            utc_text(int(time.time() * 1000)),
            position,
            await moved.log.topic_ids(position.topics()),
            watermark_ms,
            None if progress is None else progress.decode(),
        )
    )


async def _write(moved: Movable, state: JobState, writer: ExportWriter) -> bytes | None:
    """Write all entries; the progress in event time, which is not one of them."""
    prefix, progress = f"job/{moved.job.name}/", None
    async with aclosing(state.rows()) as pages:
        async for namespace, rows in pages:
            if namespace == progress_of(moved.job):
                progress = dict(rows).get(PROGRESS_KEY)
                continue
            for key, value in rows:
                if (entry := entry_of(prefix, namespace, key, value)) is not None:
                    writer.add(entry)
    return progress


async def _until_free(state: JobState, wait_seconds_max: float) -> None:
    deadline = time.monotonic() + wait_seconds_max
    while True:
        try:
            await state.open()
            return
        except StateUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PAUSE_SECONDS)


async def _settled(moved: Movable) -> Position:
    """Where a job is that processes may share, when all have stopped: its position does not change any more."""
    began = time.monotonic()
    while True:
        store = UnpartitionedStore(moved.log, moved.job.group)
        token = await store.open()
        await store.close()
        await moved.log.release(moved.job.group)
        position = Position() if token is None else Position.parse(token)
        await asyncio.sleep(min(LOOK_SECONDS, moved.stop_seconds))
        found = await committed_position(moved.log, moved.job.group, moved.topics)
        if (found is None or found == position) and time.monotonic() - began >= moved.stop_seconds:
            return position


async def _import(moved: Movable, source: ExportedState, manifest: Manifest) -> None:
    if moved.is_shared:
        await reposition_groups(moved.log, moved.job.group, manifest.position)
        return
    target = moved.state()
    try:
        await target.open()
        digest = await digest_of(source.rows())

        async def is_still() -> bool:
            return True

        await target.replace(manifest.position, source.rows, digest, is_still)
    finally:
        await target.close()


def _require_here(job: Job, request: JobRequest) -> None:
    if request.exported:
        raise ChangeRefused(
            f"The job {job.name} was exported before, by {request.by}"
            + (f", and runs on {request.runs_on}." if request.runs_on else "."),
            hint=HOW_BACK.format(name=job.name),
        )
    if request.move is not None:
        raise ChangeRefused(
            f"The job {job.name} is to begin again at another position, which is done when it runs.",
            hint="Start the platform, and export it afterwards.",
        )


def steps_of(manifest: Manifest) -> list[tuple[str, StepSum]]:
    """What was exported, by step, as it is shown."""
    return [(name or "(parked events)", one) for name, one in sorted(manifest.steps.items())]
