"""`headwater sources rewind`: let a source begin again at a time, or with the oldest that its upstream has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from headwater.cli.console import say
from headwater.cli.job.control import Place, move, server_option, time_of, yes_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option
from headwater.cli.sources.named import source_that_reads
from headwater.errors import ConfigInvalid
from headwater.times import time_ms

if TYPE_CHECKING:
    from headwater.processing.source_files import DeclaredSource

OLDEST = "oldest"


@click.command(
    short_help="Let a source begin again at a time, or with the oldest.",
    epilog="""\b
Examples:
  headwater sources rewind recent_changes --to 2026-01-31T12:00:00Z --yes
  headwater sources rewind recent_changes --to oldest --yes
  headwater sources rewind orders --to 0-1-1234 --yes""",
)
@click.argument("name")
@click.option(
    "--to",
    required=True,
    metavar="TIME|oldest|POSITION",
    help="The time of the first event to read again; `oldest`: all that the upstream still has; or a position of the"
    " upstream, after which it continues.",
)
@project_option
@server_option
@key_option
@yes_option
def command(*, name: str, to: str, project: Path, server: str | None, key_file: TextIO | None, yes: bool) -> None:
    """Let the source NAME read again what its upstream has since a time, or all of it, or after a position.

    Not every connector can begin at a time or after a position: `headwater connectors show` says what each can. A
    position is tried before anything is changed. With `oldest` it begins
    with the oldest also if its file has `start: newest`, if its connector can begin at a time; others are refused then.

    Without --yes only the consequences are printed, and the exit code is 2.
    """
    source = source_that_reads(project, name)
    verb, to_ms, position = _beginning(project, source, to)
    move(
        project,
        source.job_name,
        verb,
        server=server,
        key_file=key_file,
        where=Place(to_ms, position),
        yes=yes,
    )
    where = "with the oldest" if to == OLDEST else f"after {to}" if position else f"at {to}"
    say(f"The source {name} is to begin again {where}.")


def _beginning(project: Path, source: DeclaredSource, to: str) -> tuple[str, int | None, str | None]:
    """The verb that moves the source there, and the time or the position.

    Raises ConfigInvalid if its connector cannot begin there, TokenInvalid for a text that is no position, and whatever
    prevents asking the upstream for it.
    """
    spec, options = source.configured.spec, source.configured.options
    seeks = spec.features.seeks_time
    if to == OLDEST:
        if seeks:
            return "rewind", 0, None
        if getattr(options, "start", OLDEST) != OLDEST:
            raise ConfigInvalid(
                f"The source {source.name} ({source.place}) has `start: newest`, and the connector {spec.name} cannot"
                " begin at a time.",
                hint="Write `start: oldest`, restart the server, and rewind it then.",
            )
        return "reset", None, None
    if spec.features.seeks_position and time_ms(to) is None:
        asyncio.run(_require_position(project, source, to))
        return "rewind", None, to
    at_ms = time_of(to)
    if not seeks:
        raise ConfigInvalid(
            f"The connector {spec.name} of the source {source.name} cannot begin at a time.",
            hint=f"`headwater sources rewind {source.name} --to {OLDEST}` lets it read all that its upstream has.",
        )
    return "rewind", at_ms, None


async def _require_position(project: Path, source: DeclaredSource, position: str) -> None:
    """Raise TokenInvalid if the connector does not know the position."""
    from headwater.config import load_config
    from headwater.connectors.contract import SeeksPosition
    from headwater.processing.hosting.files import connector_of, kept_secrets
    from headwater.processing.source_files import job_of

    config = load_config(project)
    connector = connector_of(config, job_of(source, config.project_dir))
    secrets = kept_secrets(config, source.configured)
    assert connector is not None
    try:
        if isinstance(connector, SeeksPosition):
            await secrets.kept_by(connector.token_of(position))
    finally:
        await secrets.kept_by(connector.close())
