"""`headwater streams list`: names, or complete declarations, of the streams of a site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import print_json
from headwater.cli.streams.chosen import scope_options, streams_option

if TYPE_CHECKING:
    from headwater.streams.stream import Stream


@click.command(
    short_help="List the declared streams.",
    epilog="Example:  headwater streams list --where destination_event_service=main",
)
@click.option(
    "--where",
    "constraints",
    metavar="KEY=VALUE",
    multiple=True,
    help="Only streams with this legacy setting, such as consumers[tables][enabled]=1; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one stream per line.")
@scope_options
@streams_option
def command(*, path: Path, constraints: tuple[str, ...], as_json: bool, site: str | None, realm: str) -> None:
    """List the declared streams and families, in order of declaration."""
    from headwater.streams.layers import Scope
    from headwater.streams.legacy.api import select
    from headwater.streams.legacy.constraints import EXPECTATIONS_MAX, TooManyConstraints, parse
    from headwater.streams.registry import StreamRegistry

    entries = StreamRegistry.load(path, scope=Scope(site=site, realm=realm)).entries()
    try:
        wanted = {name for name, _ in select(entries, None, parse(constraints))}
    except TooManyConstraints:
        raise click.UsageError(f"There are more than {EXPECTATIONS_MAX} settings to compare.") from None
    found = [stream for stream in entries if stream.name in wanted]
    if as_json:
        for stream in found:
            print_json(_facts(stream))
        return
    _print_table(found)


def _facts(stream: Stream) -> dict[str, object]:
    return {
        "name": stream.name,
        "schema_title": stream.schema_title,
        "topics": list(stream.topics),
        "owner": stream.owner,
        "privacy_class": stream.privacy_class,
        "summary": stream.summary,
        "file": stream.file,
        "line": stream.line,
    }


def _print_table(found: list[Stream]) -> None:
    rows = [("stream", "schema", "intake", "owner")]
    rows += [
        (one.name, one.schema_title or "-", one.destination_event_service or "-", one.owner or "-") for one in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for place, row in enumerate(rows):
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        click.secho(line, bold=place == 0)
