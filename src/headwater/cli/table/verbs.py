"""`headwater table`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "list": ("headwater.cli.table.list", "List the materialized tables of a project."),
    "show": ("headwater.cli.table.show", "Print rows of a materialized table."),
    "get": ("headwater.cli.table.get", "Print the row of one key."),
}

# What people look for → what there is.
OTHER_WORDS = {
    "ls": "table list",
    "query": "sql",
    "rebuild": "job reset",
    "reset": "job reset",
    "scan": "table show",
    "select": "sql",
}


@click.command(
    cls=Verbs,
    table=VERBS,
    other_words=OTHER_WORDS,
    short_help="Read the materialized tables of a project.",
    epilog="Example:  headwater table get current_pages enwiki 7",
)
def command() -> None:
    """Read the tables that jobs keep with `@table`, also while a server is running."""
