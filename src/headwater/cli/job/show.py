"""`headwater job show`: one job as a diagram, and how it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click

from headwater.cli.api_client import ask, headers_with
from headwater.cli.console import called_as, say
from headwater.cli.job.measured import load_measured
from headwater.cli.options import key_option
from headwater.cli.plan import project_option
from headwater.times import brief_duration

COUNTS = ("read", "written", "errors", "late", "dropped", "skipped", "retried", "restarts", "in_flight", "parked")


@click.command(
    short_help="Draw one job: streams, steps, state and table.",
    epilog="""\b
Examples:
  headwater job show page_edits
  headwater job show page_edits --server http://localhost:8080
  headwater job show page_edits --output page_edits.svg""",
)
@click.argument("name")
@project_option
@click.option("--server", help="Address of the running platform, for what it measures: lag, latency, counts.")
@key_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a picture instead: SVG, or a flowchart in Mermaid if FILE ends in .mmd.",
)
def command(*, name: str, project: Path, server: str | None, key_file: TextIO | None, output: Path | None) -> None:
    """Draw the job NAME: the streams it reads, its steps with the size of their state, and what it writes.

    Events, lag and state are those in the log now, also while a server is running. With --server it also says how the
    job runs there.
    """
    from headwater.catalog.job_diagram import diagram_of, diagram_svg, diagram_text
    from headwater.catalog.job_mermaid import diagrams_mermaid

    found = load_measured(project, name)
    diagram = diagram_of(found.jobs[0], found.streams, found.measures.get(name))
    if found.unmeasured:
        say(f"Events, lag and state are not known: {found.unmeasured}")
    request = found.requests.get(name)
    if request is not None and request.paused:
        say(f"It is paused: `{called_as()} job resume {name}` lets it continue.")
    if request is not None and request.exported:
        where = f"runs on {request.runs_on}" if request.runs_on else "was not started elsewhere yet"
        say(f"It was exported and {where}: `{called_as()} job import {name} --state DIR` brings it back.")
    if request is not None and request.stopped:
        say(f"It is stopped: {request.stopped}. After a repair, restart it or: `{called_as()} job resume {name}`")
    if request is not None and request.move is not None:
        say("It is to begin again, which is done when the platform runs it.")
    if output is None:
        click.echo(diagram_text(diagram), nl=False)
        numbers = [str(number) for number, names in enumerate(found.processes, 1) if name in names]
        if numbers and len(found.processes) > 1:
            click.echo(f"\n  runs in job process {', '.join(numbers)} of {len(found.processes)}")
        if server is not None:
            [measured] = ask(server, "/v1/jobs", [("name", name)], headers_with(key_file))["jobs"]
            _print_measured(measured)
    else:
        picture = diagrams_mermaid([diagram]) if output.suffix == ".mmd" else diagram_svg(diagram)
        output.write_text(picture, encoding="utf-8")
        say(f"Written to {output}.")


def _print_measured(job: dict[str, Any]) -> None:
    """How a job runs in a platform, since the process started."""
    from headwater.catalog.job_diagram import size_text

    latency, lag = job["latency"], job["lag"]
    behind = f", {brief_duration(job['lag_seconds'])} behind" if job["lag_seconds"] else ""
    rows = [
        ("state", job["state"].replace("_", " ") + (f": {job['trouble']}" if job["trouble"] else "")),
        ("lag", None if lag is None else f"{lag:,} events{behind}"),
        (
            "latency",
            None
            if latency["p50_ms"] is None
            else f"{brief_duration(latency['p50_ms'] / 1000)} (median),"
            f" {brief_duration(latency['p99_ms'] / 1000)} (99 %)",
        ),
        ("watermark", job["watermark"]),
        ("counts", ", ".join(f"{job[name]:,} {name}" for name in COUNTS if job[name] or name == "read")),
        (
            "state of keys",
            f"{job['state_keys']:,} keys, {size_text(job['state_bytes'])}" if job["state_keys"] else None,
        ),
    ]
    click.echo()
    for name, text in rows:
        if text:
            click.echo(f"{name:<15}{text}")
