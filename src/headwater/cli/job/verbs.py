"""`headwater job`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "list": ("headwater.cli.job.list", "List the jobs of a project."),
    "show": ("headwater.cli.job.show", "Draw one job: streams, steps, state and table."),
    "run": ("headwater.cli.job.run", "Run one job over files, without a server."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="List, draw and run the jobs of a project.",
    epilog="Example:  headwater job run page_edits --from edits.jsonl.gz --to out.jsonl",
)
def command() -> None:
    """Work with the jobs of a project."""
