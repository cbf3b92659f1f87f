"""`headwater errors`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "list": ("headwater.cli.errors.list", "List the errors of jobs, grouped by cause."),
    "show": ("headwater.cli.errors.show", "Show one error: its stack, and the event that failed."),
    "redrive": ("headwater.cli.errors.redrive", "Let a job process events again that failed."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="Find out why events failed, and process them again.",
    epilog="Example:  headwater errors list",
)
def command() -> None:
    """Find out why events failed, and let jobs process them again.

    The verbs work on the project's log, also while `headwater up` is using it.
    """
