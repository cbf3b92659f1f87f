"""`headwater job list`: the jobs of a project, what they read and write, and how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.cli.console import print_json, say
from headwater.cli.job.measured import load_measured
from headwater.cli.plan import project_option


@click.command(short_help="List the jobs of a project.", epilog="Example:  headwater job list --json")
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per job.")
def command(*, project: Path, as_json: bool) -> None:
    """List the jobs: what each reads and writes, how many records it has not processed, how many events failed."""
    found = load_measured(project)
    rows: list[dict[str, Any]] = []
    for job in found.jobs:
        writes, measures = job.writes(), found.measures.get(job.name)
        request = found.requests.get(job.name)
        table = () if writes.table_name is None else (f"table {writes.table_name}",)
        inputs = job.reads() if job.input is None else (f"{job.input.spec.name} {job.input.name}",)
        made = {
            "name": job.name,
            "reads": [*inputs, *(f"table {name}" for name in job.tables)],
            "writes": [*writes.outputs, *table],
            "steps": [step.name for step in job.steps],
            "keeps_state": job.keeps_state,
            "lag": None if measures is None else measures.lag,
            "errors": None if measures is None else measures.events.get(writes.errors),
            "rows": None if measures is None else measures.rows,
            "state_keys": None if measures is None else sum(size.keys for size in measures.state.values()),
            "paused": None if request is None else request.paused,
            "stopped": None if request is None else request.stopped or None,
            "begins_again": None if request is None else request.move is not None,
            "place": str(job.place),
            "summary": job.summary,
        }
        rows.append(made)
        if as_json:
            print_json(made)
    if found.unmeasured:
        say(f"Lag, failed events and state are not known: {found.unmeasured}")
    if not as_json:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    if not rows:
        say("The project has no jobs: `headwater job new NAME` makes one.")
        return
    flows = [f"{', '.join(row['reads'])} → {', '.join(row['writes']) or 'nothing'}" for row in rows]
    widths = max(len(row["name"]) for row in rows), max(map(len, flows))
    for row, flow in zip(rows, flows, strict=True):
        asked = [
            words
            for name, words in (("paused", "paused"), ("stopped", "stopped"), ("begins_again", "begins again"))
            if row[name]
        ]
        counts = asked + [
            f"{word} {row[name]:,}"
            for name, word in (("lag", "lag"), ("errors", "failed"), ("state_keys", "keys"), ("rows", "rows"))
            if row[name] or (name == "lag" and row[name] is not None)
        ]
        click.echo(f"{row['name']:<{widths[0]}}  {flow:<{widths[1]}}  {', '.join(counts)}".rstrip())
