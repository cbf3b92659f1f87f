"""`headwater schema`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "materialize": ("headwater.cli.schema_materialize", "Make version files from current files."),
    "dereference": ("headwater.cli.schema_dereference", "Print schemas without $ref and allOf."),
    "types": ("headwater.cli.schema_types", "A schema's fields in the types of a database or format."),
    "validate": ("headwater.cli.schema_validate", "Judge every event of a file by its schema."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="Work with schemas and judge events by them.",
    epilog="Example:  headwater schema validate events.jsonl",
)
def command() -> None:
    """Work with schemas and judge events by them."""
