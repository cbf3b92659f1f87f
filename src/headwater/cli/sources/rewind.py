"""`headwater sources rewind`: let a source begin again at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import move, server_option, time_of, yes_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option
from headwater.cli.sources.named import job_of_source


@click.command(
    short_help="Let a source begin again at a time.",
    epilog="Example:  headwater sources rewind recent_changes --to 2026-01-31T12:00:00Z --yes",
)
@click.argument("name")
@click.option("--to", required=True, help="The time of the first event to read again.")
@project_option
@server_option
@key_option
@yes_option
def command(*, name: str, to: str, project: Path, server: str | None, key_file: TextIO | None, yes: bool) -> None:
    """Let the source NAME read again what its upstream has since a time; not every connector can.

    Without --yes only the consequences are printed, and the exit code is 2.
    """
    job, at_ms = job_of_source(project, name), time_of(to)
    move(project, job, "rewind", server=server, key_file=key_file, to_ms=at_ms, yes=yes)
    say(f"The source {name} is to begin again at {to}.")
