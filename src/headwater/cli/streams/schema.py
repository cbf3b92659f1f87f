"""`headwater streams schema`: the JSON Schema of the stream file, from the same table the check uses."""

from __future__ import annotations

import json

import click


@click.command(
    short_help="Print the JSON Schema of the stream file, for editors.",
    epilog="Example:  headwater streams schema > .stream-file.schema.json",
)
def command() -> None:
    """Print the JSON Schema (draft-07) of the stream file, for editors that complete and check while you type."""
    from headwater.streams.stream_format import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
