"""`headwater job reset`: delete what a job keeps, and let it begin again at the oldest event."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import Place, move, server_option, yes_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option


@click.command(
    short_help="Delete what a job keeps, and let it begin again.",
    epilog="Example:  headwater job reset page_edits --yes",
)
@click.argument("name")
@project_option
@server_option
@key_option
@yes_option
def command(*, name: str, project: Path, server: str | None, key_file: TextIO | None, yes: bool) -> None:
    """Delete the position, the state, the timers and the parked events of the job NAME: it processes everything again.

    Without --yes only the consequences are printed, and the exit code is 2.
    """
    move(project, name, "reset", server=server, key_file=key_file, where=Place(None), yes=yes)
    say(f"The job {name} is to begin again.")
