"""`headwater job show`: one job as a diagram."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.console import called_as, say
from headwater.cli.job.measured import load_measured
from headwater.cli.plan import project_option


@click.command(
    short_help="Draw one job: streams, steps, state and table.",
    epilog="""\b
Examples:
  headwater job show page_edits
  headwater job show page_edits --output page_edits.svg""",
)
@click.argument("name")
@project_option
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG picture instead.")
def command(*, name: str, project: Path, output: Path | None) -> None:
    """Draw the job NAME: the streams it reads, its steps with the size of their state, and what it writes.

    Events, lag and state are those in the log now, also while a server is running.
    """
    from headwater.catalog.job_diagram import diagram_of, diagram_svg, diagram_text

    found = load_measured(project, name)
    diagram = diagram_of(found.jobs[0], found.streams, found.measures.get(name))
    if found.unmeasured:
        say(f"Events, lag and state are not known: {found.unmeasured}")
    request = found.requests.get(name)
    if request is not None and request.paused:
        say(f"It is paused: `{called_as()} job resume {name}` lets it continue.")
    if request is not None and request.stopped:
        say(f"It is stopped: {request.stopped}. After a repair, restart it or: `{called_as()} job resume {name}`")
    if request is not None and request.move is not None:
        say("It is to begin again, which is done when the platform runs it.")
    if output is None:
        click.echo(diagram_text(diagram), nl=False)
        if numbers := [str(number) for number, names in enumerate(found.processes, 1) if name in names]:
            click.echo(f"\n  runs in job process {', '.join(numbers)} of {len(found.processes)}")
    else:
        output.write_text(diagram_svg(diagram), encoding="utf-8")
        say(f"Written to {output}.")
