"""`headwater sinks resume`: let a paused sink continue."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import control, server_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option
from headwater.cli.sinks.named import job_name


@click.command(
    short_help="Let a paused sink continue.",
    epilog="Example:  headwater sinks resume edits --server http://localhost:8080",
)
@click.argument("name")
@project_option
@server_option
@key_option
def command(*, name: str, project: Path, server: str | None, key_file: TextIO | None) -> None:
    """Let the sink NAME continue after a pause, or after it has stopped in front of an event."""
    control(project, job_name(project, name, server=server), "resume", server=server, key_file=key_file)
    say(f"The sink {name} is to continue.")
