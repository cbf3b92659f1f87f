"""`headwater sources`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "list": ("headwater.cli.sources.list", "List the sources of a project, and how they are doing."),
    "test": ("headwater.cli.sources.test", "Try a source: connect, and show what its events would become."),
    "pause": ("headwater.cli.sources.pause", "Pause a source until it is resumed, across restarts."),
    "resume": ("headwater.cli.sources.resume", "Let a paused or stopped source continue."),
    "reset": ("headwater.cli.sources.reset", "Let a source begin again at its beginning."),
    "rewind": ("headwater.cli.sources.rewind", "Let a source begin again at a time, or with the oldest."),
}

# What people look for → what there is.
OTHER_WORDS = {
    "check": "sources test",
    "ls": "sources list",
    "restart": "sources reset",
    "show": "sources list",
    "start": "sources resume",
    "status": "sources list",
    "stop": "sources pause",
    "try": "sources test",
}


@click.command(
    cls=Verbs,
    table=VERBS,
    other_words=OTHER_WORDS,
    short_help="List, try and control the sources of a project.",
    epilog="Example:  headwater sources test recent_changes",
)
def command() -> None:
    """Work with the sources of a project, which read events from other systems."""
