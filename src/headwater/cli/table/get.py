"""`headwater table get`: the row of one key of a materialized table."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.console import print_json
from headwater.cli.plan import project_option
from headwater.cli.table.stored import reader_in
from headwater.errors import RowUnknown


@click.command(
    short_help="Print the row of one key.",
    epilog="""\b
Examples:
  headwater table get current_pages enwiki 7
  headwater table get current_pages '["enwiki", 7]'""",
)
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@project_option
def command(*, name: str, key: tuple[str, ...], project: Path) -> None:
    """Print the row of KEY in the table NAME as JSON: its parts one by one, or as one JSON list.

    A part is JSON, or text as it is. The exit code is 1 if there is no row.
    """
    from headwater.jobs.tables.written_keys import find_row

    found = find_row(reader_in(project, name), key)
    if found.row is None:
        raise RowUnknown(f"The table {name} has no row with the key {' '.join(key)}.")
    print_json(found.row)
