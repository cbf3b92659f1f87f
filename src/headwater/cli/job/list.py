"""`headwater job list`: the jobs of a project, what they read and write, and how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click

from headwater.cli.api_client import jobs_at
from headwater.cli.console import print_json, say
from headwater.cli.job.measured import load_measured
from headwater.cli.options import key_option
from headwater.cli.plan import project_option

# What was asked of a job, by its name in a row.
_ASKED = (("paused", "paused"), ("exported", "exported"), ("stopped", "stopped"), ("begins_again", "begins again"))


@click.command(short_help="List the jobs of a project.", epilog="Example:  headwater job list --json")
@project_option
@click.option("--server", help="Address of the running platform, for the state of the jobs there, and their lag.")
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per job.")
def command(*, project: Path, server: str | None, key_file: TextIO | None, as_json: bool) -> None:
    """List the jobs: what each reads and writes, how many records it has not processed, how many events failed.

    With --server also how each of them runs there: its state, and what is wrong with it. How jobs on Flink are doing,
    their clusters are asked without it.
    """
    found = load_measured(project)
    running = {} if server is None else jobs_at(server, key_file)
    rows: list[dict[str, Any]] = []
    for job in found.jobs:
        writes, measures = job.writes(), found.measures.get(job.name)
        request = found.requests.get(job.name)
        table = () if writes.table_name is None else (f"table {writes.table_name}",)
        if writes.events is not None and writes.sink is not None:
            table = (f"{writes.sink.spec.name} {writes.events.name}",)
        inputs = job.reads() if job.input is None else (f"{job.input.spec.name} {job.input.name}",)
        made: dict[str, Any] = {
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
            "exported": None if request is None else bool(request.exported),
            "begins_again": None if request is None else request.move is not None,
            "place": str(job.place),
            "summary": job.summary,
        }
        if server is not None:
            made |= _as_it_runs(running.get(job.name), made["lag"])
        elif (look := found.on_flink.get(job.name)) is not None:
            made |= {"state": look.state, "trouble": look.trouble}
        rows.append(made)
        if as_json:
            print_json(made)
    if found.unmeasured:
        say(f"Lag, failed events and state are not known: {found.unmeasured}")
    if not as_json:
        _print(rows)


def _as_it_runs(job: dict[str, Any] | None, lag: int | None) -> dict[str, Any]:
    if job is None:
        return {"state": None, "trouble": None}
    return {"state": job["state"], "trouble": job["trouble"], "lag": lag if job["lag"] is None else job["lag"]}


def _print(rows: list[dict[str, Any]]) -> None:
    if not rows:
        say("The project has no jobs: `headwater job new NAME` makes one.")
        return
    flows = [f"{', '.join(row['reads'])} → {', '.join(row['writes']) or 'nothing'}" for row in rows]
    widths = max(len(row["name"]) for row in rows), max(map(len, flows))
    for row, flow in zip(rows, flows, strict=True):
        asked = [words for name, words in _ASKED if row[name]]
        state = row.get("state")
        asked += [state.replace("_", " ")] if state not in (None, "running", "paused") else []
        counts = asked + [
            f"{word} {row[name]:,}"
            for name, word in (("lag", "lag"), ("errors", "failed"), ("state_keys", "keys"), ("rows", "rows"))
            if row[name] or (name == "lag" and row[name] is not None)
        ]
        click.echo(f"{row['name']:<{widths[0]}}  {flow:<{widths[1]}}  {', '.join(counts)}".rstrip())
        if row.get("trouble"):
            click.secho(f"  {row['trouble']}", fg="yellow")
