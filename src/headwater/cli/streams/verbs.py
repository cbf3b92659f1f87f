"""`headwater streams`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "list": ("headwater.cli.streams.list", "List the declared streams."),
    "explain": ("headwater.cli.streams.explain", "Show what a stream is made of, and which layer set what."),
    "import": ("headwater.cli.streams.import_", "Make stream files of a legacy stream configuration."),
    "export": ("headwater.cli.streams.export", "Print the streams in the shape of the legacy configuration."),
    "schema": ("headwater.cli.streams.schema", "Print the JSON Schema of the stream file, for editors."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="Work with the declarations of streams.",
    epilog="Example:  headwater streams explain demo.edit",
)
def command() -> None:
    """Work with the declarations of streams."""
