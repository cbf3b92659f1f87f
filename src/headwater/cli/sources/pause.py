"""`headwater sources pause`: pause a source until it is resumed, across restarts."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import control, server_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option
from headwater.cli.sources.named import job_of_source


@click.command(
    short_help="Pause a source until it is resumed, across restarts.",
    epilog="Example:  headwater sources pause recent_changes --server http://localhost:8080",
)
@click.argument("name")
@project_option
@server_option
@key_option
def command(*, name: str, project: Path, server: str | None, key_file: TextIO | None) -> None:
    """Pause the source NAME: it commits what it has read, and reads nothing more until it is resumed."""
    control(project, job_of_source(project, name), "pause", server=server, key_file=key_file)
    say(f"The source {name} is paused.")
