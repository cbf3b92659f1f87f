"""`headwater sources reset`: let a source begin again at its beginning."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import Place, move, server_option, yes_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option
from headwater.cli.sources.named import job_of_source


@click.command(
    short_help="Let a source begin again at its beginning.",
    epilog="Example:  headwater sources reset recent_changes --yes",
)
@click.argument("name")
@project_option
@server_option
@key_option
@yes_option
def command(*, name: str, project: Path, server: str | None, key_file: TextIO | None, yes: bool) -> None:
    """Delete the position of the source NAME: it reads everything again that its upstream still has.

    With `start: newest` in its file it begins with what comes from now on instead.

    Without --yes only the consequences are printed, and the exit code is 2.
    """
    move(project, job_of_source(project, name), "reset", server=server, key_file=key_file, where=Place(None), yes=yes)
    say(f"The source {name} is to begin again.")
