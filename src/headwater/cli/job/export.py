"""`headwater job export`: stop a job and write where it is to a directory, from which it is continued elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import say
from headwater.cli.job.moving import show, with_job
from headwater.cli.plan import project_option

if TYPE_CHECKING:
    from headwater.migration.exports import Movable
    from headwater.processing.moving.folder import Manifest


@click.command(
    short_help="Stop a job, and write its state to a directory.",
    epilog="Example:  headwater job export page_edits --to moved",
)
@click.argument("name")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="A new directory for position, state and timers.",
)
@project_option
def command(*, name: str, folder: Path, project: Path) -> None:
    """Stop the job NAME between two commits, and write its position, state and timers to a directory.

    The job does not run embedded any more until it is imported again, on no machine: so it never runs twice.
    A platform that runs it lets it go within seconds, and continues with its other jobs.
    """

    async def export(moved: Movable) -> Manifest:
        from headwater.migration.exports import export_job

        return await export_job(moved, folder)

    manifest = with_job(project, name, "export", export)
    show(manifest)
    say(f"The job {name} has stopped, and is in {folder}.")
