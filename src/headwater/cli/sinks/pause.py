"""`headwater sinks pause`: pause a sink until it is resumed, across restarts."""

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
    short_help="Pause a sink until it is resumed, across restarts.",
    epilog="Example:  headwater sinks pause edits --server http://localhost:8080",
)
@click.argument("name")
@project_option
@server_option
@key_option
def command(*, name: str, project: Path, server: str | None, key_file: TextIO | None) -> None:
    """Pause the sink NAME: the batch that is under way is written, and nothing more until it is resumed."""
    control(project, job_name(project, name, server=server), "pause", server=server, key_file=key_file)
    say(f"The sink {name} is paused.")
