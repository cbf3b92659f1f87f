"""`headwater job pause`: pause a job until it is resumed, across restarts."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import control, server_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option


@click.command(
    short_help="Pause a job until it is resumed, across restarts.",
    epilog="Example:  headwater job pause page_edits --server http://localhost:8080",
)
@click.argument("name")
@project_option
@server_option
@key_option
def command(*, name: str, project: Path, server: str | None, key_file: TextIO | None) -> None:
    """Pause the job NAME: it commits what it has completed, and processes nothing more until it is resumed."""
    control(project, name, "pause", server=server, key_file=key_file)
    say(f"The job {name} is paused.")
