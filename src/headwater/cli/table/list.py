"""`headwater table list`: the materialized tables of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.cli.console import print_json, say
from headwater.cli.plan import project_option
from headwater.cli.table.stored import served_in, stored_reader, tables_in
from headwater.errors import StateUnavailable


@click.command(short_help="List the materialized tables of a project.", epilog="Example:  headwater table list --json")
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per table.")
def command(*, project: Path, as_json: bool) -> None:
    """List the tables that jobs keep with `@table`: their keys, the streams they are made of, and how many rows."""
    from headwater.served_tables.tables import ServedTables

    config, jobs = tables_in(project)
    served = ServedTables(served_in(config, jobs.values()), lambda stream: None)
    rows: list[dict[str, Any]] = []
    for name, job in sorted(jobs.items()):
        table = job.writes().materialized
        assert table is not None
        try:
            count = sum(1 for _ in stored_reader(config, job))
        except StateUnavailable:
            count = None
        made = {
            "name": name,
            "key": list(table.key_names),
            "reads": list(job.reads()),
            "rows": count,
            "place": str(job.place),
            "summary": job.summary,
            "served": [one.path for one in served.of_table(name)],
        }
        rows.append(made)
        if as_json:
            print_json(made)
    if as_json:
        return
    if not rows:
        say("The project has no materialized tables: @table(source=…, key=…) declares one.")
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        shown = "not there yet" if row["rows"] is None else f"rows {row['rows']:,}"
        key = ", ".join(row["key"]) or "a function"
        click.echo(f"{row['name']:<{width}}  {', '.join(row['reads'])} by {key}  {shown}{_served(row['served'])}")


def _served(paths: list[str]) -> str:
    return f"  served at {', '.join(paths)}" if paths else ""
