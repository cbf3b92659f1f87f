"""`headwater connectors`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "list": ("headwater.cli.connectors.list", "List the connectors, and whether their drivers are installed."),
    "show": ("headwater.cli.connectors.show", "Show what a connector can do, its options and an example."),
    "new": ("headwater.cli.connectors.new", "Create a package with a connector of your own and its tests."),
}

# What people look for → what there is.
OTHER_WORDS = {
    "create": "connectors new",
    "describe": "connectors show",
    "help": "connectors show",
    "init": "connectors new",
    "ls": "connectors list",
}


@click.command(
    cls=Verbs,
    table=VERBS,
    other_words=OTHER_WORDS,
    short_help="List, show and create connectors to other systems.",
    epilog="Example:  headwater connectors show duckdb",
)
def command() -> None:
    """Find out which systems events can go to and come from, and how; or add one of your own."""
