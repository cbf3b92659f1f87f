"""`headwater job rewind`: delete what a job keeps, and let it begin again at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import Place, move, server_option, time_of, yes_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option


@click.command(
    short_help="Let a job begin again at a time.",
    epilog="Example:  headwater job rewind page_edits --to 2026-01-31T12:00:00Z --yes",
)
@click.argument("name")
@click.option("--to", required=True, help="The time of receipt of the first event to process again.")
@project_option
@server_option
@key_option
@yes_option
def command(*, name: str, to: str, project: Path, server: str | None, key_file: TextIO | None, yes: bool) -> None:
    """Delete what the job NAME keeps, as `reset` does, and let it process again what was received since a time.

    Without --yes only the consequences are printed, and the exit code is 2.
    """
    move(project, name, "rewind", server=server, key_file=key_file, where=Place(time_of(to)), yes=yes)
    say(f"The job {name} is to begin again at {to}.")
