"""`headwater job import`: let a job continue here where an export of it is."""

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
    short_help="Let a job continue here from an exported state.",
    epilog="Example:  headwater job import page_edits --state moved",
)
@click.argument("name")
@click.option(
    "--state",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The directory that `headwater job export` has written.",
)
@click.option("--force", is_flag=True, help="Also if the job was continued, or exported again, since that export.")
@project_option
def command(*, name: str, folder: Path, force: bool, project: Path) -> None:
    """Let the job NAME continue in this project where an export of it is, with its state and timers.

    What it keeps here is replaced, all or nothing, and compared with the export. It continues when a platform runs, or
    at once if one does.
    """

    async def import_(moved: Movable) -> Manifest:
        from headwater.migration.exports import import_job

        return await import_job(moved, folder, force=force)

    manifest = with_job(project, name, "import", import_)
    show(manifest)
    say(f"The job {name} continues here.")
