"""`headwater sinks rewind`: let a sink begin again at a time, or at the beginning of the log."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import Place, move, server_option, time_of, yes_option
from headwater.cli.options import RenamedOption, key_option
from headwater.cli.plan import project_option
from headwater.cli.sinks.named import job_name


@click.command(
    short_help="Let a sink begin again at a time, or at the beginning.",
    epilog="Example:  headwater sinks rewind edits --since 2026-01-31T12:00:00Z --yes",
)
@click.argument("name")
@click.option(
    "--since",
    cls=RenamedOption,
    old_names=("--to",),
    help="The time of receipt of the first event to write again.  [default: the beginning of the log]",
)
@project_option
@server_option
@key_option
@yes_option
def command(
    *, name: str, since: str | None, project: Path, server: str | None, key_file: TextIO | None, yes: bool
) -> None:
    """Let the sink NAME write again what was received since a time, or everything that the log has.

    The rows stay, and are replaced by key. Without --yes only the consequences are printed, and the exit code is 2.
    """
    verb, to_ms = ("reset", None) if since is None else ("rewind", time_of(since))
    job = job_name(project, name, server=server)
    move(project, job, verb, server=server, key_file=key_file, where=Place(to_ms), yes=yes)
    say(f"The sink {name} is to begin again at {since or 'the beginning'}.")
