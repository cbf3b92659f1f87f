"""`headwater table show`: rows of a materialized table."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.console import print_json, say
from headwater.cli.plan import project_option
from headwater.cli.table.stored import reader_in

COUNT = 20


@click.command(
    short_help="Print rows of a materialized table.",
    epilog="""\b
Examples:
  headwater table show current_pages
  headwater table show current_pages --prefix enwiki --count 1000""",
)
@click.argument("name")
@project_option
@click.option("--count", type=click.IntRange(min=1), default=COUNT, show_default=True, help="How many rows to print.")
@click.option("--prefix", multiple=True, help="Only keys that begin with this part, JSON or text; may be repeated.")
def command(*, name: str, project: Path, count: int, prefix: tuple[str, ...]) -> None:
    """Print rows of the table NAME as JSON, one per line, with their keys, in order of the JSON of these.

    Rows are those committed last, also while a server is running. For anything else: `headwater sql`.
    """
    from headwater.jobs.tables.written_keys import written_value

    reader = reader_in(project, name)
    # One more shows whether there are others.
    for printed, found in enumerate(reader.scan(prefix=[written_value(one) for one in prefix], rows_max=count + 1)):
        if printed == count:
            say(f"There are more rows: --count {count * 10} prints more.")
            break
        print_json(reader.table.flat(found))
