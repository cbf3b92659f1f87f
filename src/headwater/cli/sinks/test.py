"""`headwater sinks test`: find out whether a sink can write to its target, without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import print_json
from headwater.cli.plan import project_option
from headwater.cli.sinks.named import project_sink

if TYPE_CHECKING:
    from headwater.connectors.contract import Shape, Sink
    from headwater.processing.sink_probe import Trial


@click.command(
    short_help="Find out whether a sink can write to its target.",
    epilog="Example:  headwater sinks test edits --write",
)
@click.argument("name")
@project_option
@click.option("--write", is_flag=True, help="Also write a marked row, and delete it again.")
@click.option(
    "--wait", "seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds for each call."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per trial.")
def command(*, name: str, project: Path, write: bool, seconds: float, as_json: bool) -> None:
    """Connect to the target of the sink NAME, and create or open what it writes to; needs no running platform.

    With --write a marked row is written and deleted again, or why not is printed. The exit code is 1 if anything
    failed.
    """
    found = _found(project, name, writes=write, seconds=seconds)
    for one in found:
        if as_json:
            print_json({"tried": one.what, "outcome": one.outcome, "detail": one.detail or None, "hint": one.hint})
        else:
            click.echo(f"{one.outcome:<10} {one.what}{f': {one.detail}' if one.detail else ''}")
            if one.hint:
                click.echo(f"{'':<10} {one.hint}")
    if any(one.outcome == "failed" for one in found):
        raise SystemExit(1)


def _found(project: Path, name: str, *, writes: bool, seconds: float) -> list[Trial]:
    from headwater.jobs.job import with_target
    from headwater.processing.hosting.files import isolated_sink
    from headwater.processing.sink_probe import probe

    config, _, job = project_sink(project, name)
    target = job.writes().target
    assert target is not None

    def new_sink(shape: Shape) -> Sink:
        return isolated_sink(config, with_target(job, shape), seconds_max=seconds)

    return asyncio.run(probe(new_sink, target, writes=writes))
