"""`headwater codegen`: its table of verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {"python": ("headwater.cli.codegen.python", "Write the types of events for Python.")}


@click.group(cls=Verbs, table=VERBS, short_help="Write code from schemas.", epilog="Example:  headwater codegen python")
def command() -> None:
    """Write code from schemas."""
