"""`headwater job resume`: let a paused job continue."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import control, server_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option


@click.command(short_help="Let a paused job continue.", epilog="Example:  headwater job resume page_edits")
@click.argument("name")
@project_option
@server_option
@key_option
@click.option("--force", is_flag=True, help="Also if the job was exported, and may run elsewhere.")
def command(*, name: str, project: Path, server: str | None, key_file: TextIO | None, force: bool) -> None:
    """Let the job NAME continue where it was paused."""
    control(project, name, "resume", server=server, key_file=key_file, force=force)
    say(f"The job {name} is resumed.")
