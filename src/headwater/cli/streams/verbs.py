"""`headwater streams`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "list": ("headwater.cli.streams.list", "List the declared streams."),
    "explain": ("headwater.cli.streams.explain", "Show every setting of a stream, and which layer set it."),
    "ddl": ("headwater.cli.streams.ddl", "Print the table of a stream for Flink SQL."),
    "import": ("headwater.cli.streams.import_", "Convert a legacy stream configuration into stream files."),
    "export": ("headwater.cli.streams.export", "Print the streams in the format of the legacy configuration."),
    "schema": ("headwater.cli.streams.schema", "Print the JSON Schema of the stream file, for editors."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="Work with stream declarations.",
    epilog="Example:  headwater streams explain demo.edit",
)
def command() -> None:
    """Work with stream declarations."""
