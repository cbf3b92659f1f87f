"""`headwater errors list`: the errors of jobs, grouped by cause."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import called_as, print_json
from headwater.cli.errors.chosen import Chosen, group_options
from headwater.cli.plan import project_option
from headwater.times import utc_seconds

if TYPE_CHECKING:
    from headwater.processing.failures.selection import Selection

MESSAGE_CHARS = 100


@click.command(
    short_help="List the errors of jobs, grouped by cause.",
    epilog="""\b
Examples:
  headwater errors list
  headwater errors list page_edits --since 2026-01-31 --json | jq .count""",
)
@click.argument("jobs", metavar="[JOB]…", nargs=-1)
@group_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one group per line.")
@project_option
def command(
    *,
    jobs: tuple[str, ...],
    group: str | None,
    where: tuple[str, ...],
    since: str | None,
    until: str | None,
    as_json: bool,
    project: Path,
) -> None:
    """List the errors of each JOB (default: of all jobs), one line for each cause, with a command to redrive them.

    A cause is counted for as long as its error events are in the log.
    """
    from headwater.processing.failures.selection import selection

    chosen, wanted = Chosen.of(project, jobs), selection(group, where, since, until)
    rows = asyncio.run(_groups(chosen, wanted))
    if as_json:
        for row in rows:
            print_json(row)
        return
    _print(rows)


async def _groups(chosen: Chosen, wanted: Selection) -> list[dict[str, Any]]:
    from headwater.processing.failures.descriptions import described_groups

    async with chosen.opened() as log:
        return [row for job in chosen.jobs for row in await described_groups(log, job.name, chosen.topics(job), wanted)]


def _print(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        click.echo("No errors.")
        return
    head = ("job", "group", "cause", "count", "redriven", "first", "last")
    table = [head]
    for row in rows:
        first, last = utc_seconds(row["first_ms"]), utc_seconds(row["last_ms"])
        counts = (f"{row['count']:,}", f"{row['redriven']:,}")
        table.append((row["job"], row["group"], row["error_type"], *counts, first, last))
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    for at, line in enumerate(table):
        texts = [
            text.rjust(width) if column in (3, 4) else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.secho("  ".join(texts).rstrip(), bold=at == 0)
        if at:
            click.secho(f"  {_one_line(rows[at - 1]['message'])}", dim=True)
    ours, first_row = called_as(), rows[0]
    click.echo(f"\nThe event and the stack:  {ours} errors show {first_row['group']}")
    click.echo(
        f"Process them again:       {ours} errors redrive {first_row['job']} --group {first_row['group']} --dry-run"
    )


def _one_line(text: str) -> str:
    first = " ".join(text.split())
    return first if len(first) <= MESSAGE_CHARS else f"{first[:MESSAGE_CHARS]}…"
