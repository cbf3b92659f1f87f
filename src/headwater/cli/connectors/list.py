"""`headwater connectors list`: all sinks and sources, our own and those of installed packages."""

from __future__ import annotations

import click

from headwater.cli.connectors.facts import features_in_words, known_connectors
from headwater.cli.console import print_json


@click.command(short_help="List the connectors.", epilog="Example:  headwater connectors list --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per connector.")
def command(*, as_json: bool) -> None:
    """List the sinks that stream files can name, and the sources of files in `sources/`, with those of other packages.

    One whose driver is not installed is listed with what to install.
    """
    rows = [("connector", "kind", "of", "summary")]
    for one in known_connectors():
        spec = one.spec
        if as_json:
            print_json(
                {
                    "name": one.name,
                    "kind": one.side,
                    "installed": spec is not None,
                    "missing": one.missing,
                    "form": one.form,
                    "summary": None if spec is None else spec.summary,
                    "extra": None if spec is None else spec.extra,
                    "features": [] if spec is None else features_in_words(spec),
                }
            )
        elif spec is None:
            rows.append((one.name, one.side, "-", f"Not installed: {one.missing}"))
        else:
            rows.append((one.name, one.side, "rows" if one.form == "table" else "events", spec.summary))
    if as_json:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for place, row in enumerate(rows):
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        click.secho(line, bold=place == 0)
