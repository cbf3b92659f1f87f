"""`headwater sources list`: the sources of a project, where their events go, and how they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click

from headwater.cli.api_client import jobs_at
from headwater.cli.console import print_json, say
from headwater.cli.job.measured import load_measured
from headwater.cli.options import key_option
from headwater.cli.plan import project_option
from headwater.cli.sources.named import project_sources


@click.command(
    short_help="List the sources of a project, and how they are doing.",
    epilog="Example:  headwater sources list --server http://localhost:8080",
)
@project_option
@click.option("--server", help="Address of the running platform, for the state of the sources there.")
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per source.")
def command(*, project: Path, server: str | None, key_file: TextIO | None, as_json: bool) -> None:
    """List the sources: the connector of each, the streams it writes, how many events were refused.

    With --server also how each of them runs there: its state, how many events its connector has delivered and the
    upstream still has, how long ago the last one was, which were refused and what was withheld, and why.
    """
    _, sources = project_sources(project)
    if not sources:
        say("The project has no sources: a file in its directory of sources declares one.")
        return
    measured = load_measured(project)
    running = {} if server is None else jobs_at(server, key_file)
    rows: list[dict[str, Any]] = []
    for source in sources:
        measures, request = measured.measures.get(source.job_name), measured.requests.get(source.job_name)
        row = {
            "name": source.name,
            "connector": source.configured.spec.name,
            "writes": list(source.streams),
            "job": None if source.configured.spec.pushed else source.job_name,
            "errors": None if measures is None else measures.events.get(f"{source.job_name}.error"),
            "paused": None if request is None else request.paused,
            "stopped": None if request is None else request.stopped or None,
            "begins_again": None if request is None else request.move is not None,
            "place": str(source.place),
        }
        if server is not None:
            job = running.get(source.job_name, {})
            row |= {name: job.get(name) for name in ("state", "read", "lag", "trouble", "source", "error_groups")}
        rows.append(row)
        if as_json:
            print_json(row)
    if measured.unmeasured:
        say(f"Refused events are not known: {measured.unmeasured}")
    if not as_json:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    flows = [f"{row['connector']} → {', '.join(row['writes'])}" for row in rows]
    widths = max(len(row["name"]) for row in rows), max(map(len, flows))
    for row, flow in zip(rows, flows, strict=True):
        running = row.get("source")
        notes = _notes_of_running(running) if running is not None else []
        notes += [f"{row['lag']:,} not read yet"] if row.get("lag") is not None else []
        notes += [f"is posted to /v1/webhooks/{row['name']}"] if row["job"] is None else []
        notes += [f"refused {row['errors']:,}"] if row["errors"] else []
        notes += ["paused"] if row["paused"] else []
        notes += ["begins again"] if row["begins_again"] else []
        notes += [f"stopped: {row['stopped']}"] if row["stopped"] else []
        click.echo(f"{row['name']:<{widths[0]}}  {flow:<{widths[1]}}  {', '.join(notes)}".rstrip())
        if row.get("trouble"):
            click.secho(f"  {row['trouble']}", fg="yellow")
        for one in row.get("error_groups") or ():
            click.echo(f"  refused {one['count']:,} ×: {one['error_type']}: {one['message']}")
        for what, times in running["withheld"].items() if running is not None else ():
            click.echo(f"  withheld {times:,} ×: {what}")


def _notes_of_running(source: dict[str, Any]) -> list[str]:
    seconds, waits = source["seconds_since_event"], source["waiting_since"]
    notes = [source["state"].replace("_", " ")] if source["state"] != "paused" else []
    notes += [f"since {waits}"] if waits else []
    notes += [f"delivered {source['delivered']:,}"]
    return notes + ([f"the last {seconds:,.0f} s ago"] if seconds is not None else [])
