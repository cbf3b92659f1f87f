"""`headwater sources rewind`: let a source begin again at a time, or with the oldest that its upstream has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import move, server_option, time_of, yes_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option
from headwater.cli.sources.named import source_that_reads
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.processing.source_files import DeclaredSource

OLDEST = "oldest"


@click.command(
    short_help="Let a source begin again at a time, or with the oldest.",
    epilog="""\b
Examples:
  headwater sources rewind recent_changes --to 2026-01-31T12:00:00Z --yes
  headwater sources rewind recent_changes --to oldest --yes""",
)
@click.argument("name")
@click.option(
    "--to",
    required=True,
    metavar="TIME|oldest",
    help="The time of the first event to read again, or `oldest`: all that the upstream still has.",
)
@project_option
@server_option
@key_option
@yes_option
def command(*, name: str, to: str, project: Path, server: str | None, key_file: TextIO | None, yes: bool) -> None:
    """Let the source NAME read again what its upstream has since a time, or all of it.

    Not every connector can begin at a time: `headwater connectors show` names those that can. With `oldest` it begins
    with the oldest also if its file has `start: newest`, if its connector can begin at a time; others are refused then.

    Without --yes only the consequences are printed, and the exit code is 2.
    """
    source = source_that_reads(project, name)
    verb, to_ms = _beginning(source, to)
    move(project, source.job_name, verb, server=server, key_file=key_file, to_ms=to_ms, yes=yes)
    say(f"The source {name} is to begin again {'with the oldest' if to == OLDEST else f'at {to}'}.")


def _beginning(source: DeclaredSource, to: str) -> tuple[str, int | None]:
    """The verb that moves the source there, and the time. Raises ConfigInvalid if its connector cannot begin there."""
    spec, options = source.configured.spec, source.configured.options
    seeks = spec.features.seeks_time
    if to == OLDEST:
        if seeks:
            return "rewind", 0
        if getattr(options, "start", OLDEST) != OLDEST:
            raise ConfigInvalid(
                f"The source {source.name} ({source.place}) has `start: newest`, and the connector {spec.name} cannot"
                " begin at a time.",
                hint="Write `start: oldest`, restart the server, and rewind it then.",
            )
        return "reset", None
    at_ms = time_of(to)
    if not seeks:
        raise ConfigInvalid(
            f"The connector {spec.name} of the source {source.name} cannot begin at a time.",
            hint=f"`headwater sources rewind {source.name} --to {OLDEST}` lets it read all that its upstream has.",
        )
    return "rewind", at_ms
