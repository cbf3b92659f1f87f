"""`headwater sinks`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "list": ("headwater.cli.sinks.list", "List the sinks of a project, and how they are doing."),
    "test": ("headwater.cli.sinks.test", "Find out whether a sink can write to its target."),
    "pause": ("headwater.cli.sinks.pause", "Pause a sink until it is resumed, across restarts."),
    "resume": ("headwater.cli.sinks.resume", "Let a paused sink continue."),
    "rewind": ("headwater.cli.sinks.rewind", "Let a sink begin again at a time, or at the beginning."),
    "backfill": ("headwater.cli.sinks.backfill", "Write events of files, or of the log, to a target once more."),
}

# What people look for → what there is.
OTHER_WORDS = {
    "check": "sinks test",
    "ls": "sinks list",
    "ping": "sinks test",
    "replay": "sinks rewind",
    "reset": "sinks rewind",
    "start": "sinks resume",
    "status": "sinks list",
    "stop": "sinks pause",
    "suspend": "sinks pause",
}


@click.command(
    cls=Verbs,
    table=VERBS,
    other_words=OTHER_WORDS,
    short_help="List, test and control the sinks of a project.",
    epilog="Example:  headwater sinks test edits --write",
)
def command() -> None:
    """Work with the sinks of a project: what writes its streams to other systems."""
