"""Who may continue from an export: the job that was exported, on its log, as long as it belongs to that export."""

from __future__ import annotations

from headwater.errors import ChangeRefused, StateMismatch
from headwater.jobs.job import Job
from headwater.log.contract import Log
from headwater.processing.control import JobControl
from headwater.processing.moving.entries import NO_STEP
from headwater.processing.moving.folder import Manifest


def require_of(job: Job, manifest: Manifest) -> None:
    """Raise StateMismatch if what was exported does not belong to the job, as it is now."""
    if manifest.job != job.name:
        raise StateMismatch(f"This is the state of the job {manifest.job}, not of {job.name}.")
    keyed = {step.name for step in job.keyed_steps}
    if unknown := sorted(manifest.steps.keys() - keyed - {NO_STEP}):
        raise StateMismatch(
            f"The job {job.name} has no step {unknown[0]} that keeps state, and the export has state of it.",
            hint=f"Its steps with state are: {', '.join(sorted(keyed)) or 'none'}. Import it with its code of then.",
        )


async def require_owner(log: Log, job: Job, manifest: Manifest, *, force: bool) -> None:
    """Raise ChangeRefused unless the job belongs to this export, StateMismatch if it was exported from another log.

    `force`: even so. Raises LogUnavailable.
    """
    ids = await log.topic_ids(manifest.topic_ids)
    for topic, known in manifest.topic_ids.items():
        if ids.get(topic, known) != known:
            raise StateMismatch(
                f"The topic {topic} is another one than the job {job.name} had read when it was exported.",
                hint="Import it where its log is; to another log `headwater log copy` takes it.",
            )
    request = await JobControl(log, job, ()).read()
    if force or request.exported == manifest.id:
        return
    if not request.exported:
        raise ChangeRefused(
            f"The job {job.name} does not belong to this export any more: it was continued since.",
            hint="Export it again, or use --force: then what it has done since the export is done again.",
        )
    raise ChangeRefused(
        f"The job {job.name} was exported again since, as {request.exported}; this is {manifest.id}.",
        hint="Use the directory of the last export, or --force.",
    )
