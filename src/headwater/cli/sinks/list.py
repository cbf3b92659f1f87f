"""`headwater sinks list`: the sinks of a project, what they fill, and how they are doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click

from headwater.cli.api_client import jobs_at
from headwater.cli.console import print_json, say
from headwater.cli.job.control import server_option
from headwater.cli.options import key_option
from headwater.cli.plan import project_option


@click.command(
    short_help="List the sinks of a project, and how they are doing.", epilog="Example:  headwater sinks list --json"
)
@project_option
@server_option
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per sink.")
def command(*, project: Path, server: str | None, key_file: TextIO | None, as_json: bool) -> None:
    """List the sinks: which stream each writes where, by which connector, and what it has not written.

    With --server the platform says more: rows, the age of the oldest unwritten event, and what a sink waits for.
    """
    rows = _of_project(project) if server is None else _of_server(server, key_file)
    if not as_json:
        _print(rows)
        return
    for row in rows:
        print_json(row)


def _of_project(project: Path) -> list[dict[str, Any]]:
    from headwater.cli.job.measured import load_measured

    found = load_measured(project)
    rows = []
    for job in found.jobs:
        writes, measures, request = job.writes(), found.measures.get(job.name), found.requests.get(job.name)
        if writes.target is None:
            continue
        state = None if request is None else "stopped" if request.stopped else "paused" if request.paused else "ready"
        rows.append(
            {
                "name": writes.target.name,
                "job": job.name,
                "connector": "tables" if writes.sink is None else writes.sink.spec.name,
                "reads": list(job.reads()),
                "state": state,
                "stopped": None if request is None else request.stopped or None,
                "lag_events": None if measures is None else measures.lag,
                "errors": None if measures is None else measures.events.get(writes.errors),
                "rows": None if measures is None else measures.rows,
                "place": str(job.place),
            }
        )
    if found.unmeasured:
        say(f"Lag, rows and failed events are not known: {found.unmeasured}")
    return rows


def _of_server(server: str, key_file: TextIO | None) -> list[dict[str, Any]]:
    jobs = jobs_at(server, key_file).values()
    return [{"job": job["name"], **job["sink"], "place": job["place"]} for job in jobs if job.get("sink") is not None]


def _print(rows: list[dict[str, Any]]) -> None:
    if not rows:
        say("There are no sinks: add `sinks:` to the file of a stream.")
        return
    lines = [(row["name"] or row["job"], row["connector"], row["state"] or "unknown", _facts(row)) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for row, (*columns, facts) in zip(rows, lines, strict=True):
        padded = [f"{text:<{width}}" for text, width in zip(columns, widths, strict=True)]
        click.echo("  ".join([*padded, f"({facts})" if facts else ""]).rstrip())
        if error := row.get("last_error") or row.get("stopped"):
            click.secho(f"  {error}", fg="yellow")


def _facts(row: dict[str, Any]) -> str:
    known = [
        ("reads", ", ".join(row.get("reads", ()))),
        ("rows", _count(row.get("rows_written", row.get("rows")))),
        ("deleted", _count(row.get("rows_deleted") or None)),
        ("rejected", _count(row.get("rows_rejected") or row.get("errors") or None)),
        ("discarded", _count(row.get("rows_discarded") or None)),
        ("lag", _count(row.get("lag_events"))),
        ("oldest unwritten", f"{row['lag_seconds']:,.0f} s" if row.get("lag_seconds") else ""),
        ("complete until", row.get("complete_until") or ""),
        ("waiting since", row.get("waiting_since") or ""),
        ("last error at", row.get("last_error_at") or ""),
    ]
    return "; ".join(f"{name} {text}" for name, text in known if text)


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
