"""What the verbs share that take a job elsewhere: its log, and how what was moved is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from headwater.cli.job.measured import project_jobs

if TYPE_CHECKING:
    from headwater.migration.exports import Movable
    from headwater.processing.moving.folder import Manifest

T = TypeVar("T")


def with_job(project: Path, name: str, verb: str, do: Callable[[Movable], Awaitable[T]]) -> T:
    """What `do` makes of the job, with its log open. Raises ConfigInvalid, JobInvalid, LogInUse, LogUnavailable."""
    return asyncio.run(_with_job(project, name, verb, do))


async def _with_job(project: Path, name: str, verb: str, do: Callable[[Movable], Awaitable[T]]) -> T:
    from headwater.log.open import log_of
    from headwater.log.sqlite.owner import LogOwner
    from headwater.migration.exports import STOP_SECONDS, Movable

    config, streams, (job,) = project_jobs(project, name)
    owner = None if config.log.is_kafka else LogOwner(config.log_path)
    if owner is not None:
        owner.acquire(f"job {verb}")
    log = log_of(config)
    try:
        await log.open()
        return await do(Movable(config, job, streams, log, 0.0 if owner is not None else STOP_SECONDS))
    finally:
        await log.close()
        if owner is not None:
            owner.release()


def show(manifest: Manifest) -> None:
    """Print what a job has, for comparing by eye: a line for each step, and where it continues."""
    from headwater.migration.exports import steps_of

    for name, one in steps_of(manifest):
        rows = f", {one.rows:,} rows" if one.rows else ""
        click.echo(f"{name}: {one.keys:,} keys, {one.timers:,} timers{rows}, {one.digest}")
    click.echo(f"position: {manifest.position.token()}")
