"""`headwater errors redrive`: lets a job process events again that failed, after the cause was repaired."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import importlib
import platform as machine
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json, progress, report_error, say
from headwater.cli.errors.chosen import Chosen, group_options
from headwater.cli.plan import project_option
from headwater.errors import ConfigInvalid
from headwater.foreign import contain, described

if TYPE_CHECKING:
    from headwater.processing.failures.redrive import Outcome, Redriver
    from headwater.processing.failures.redriving import Pace
    from headwater.processing.failures.selection import Selection


@click.command(
    short_help="Let a job process events again that failed.",
    epilog="""\b
Examples:
  headwater errors redrive page_edits --group 3f0c9a51b2de --dry-run
  headwater errors redrive page_edits --where error_type=TIMEOUT --since 2026-01-31
  headwater errors redrive page_edits --map repairs:with_title --rate 100""",
)
@click.argument("job")
@group_options
@click.option(
    "--map",
    "mapper_name",
    metavar="MODULE:FUNCTION",
    help="A function that gets each event and returns the one to process instead, or None to leave it out. The module"
    " is a file in the project.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be redriven.")
@click.option("--limit", type=click.IntRange(1), help="Redrive at most this many events.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="At most this many events per second.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@project_option
def command(*, job: str, project: Path, as_json: bool, dry_run: bool, mapper_name: str | None, **given: Any) -> None:
    """Let JOB process the events again about which it has written error events, in the order in which they failed.

    Only this job gets them, before or between the other events of its streams; its outputs have the ids that they
    would have had. An error that was redriven before is left out, so an interrupted command continues when it is
    repeated; an event that fails again is a new error, of the next attempt. The job processes them while `headwater up`
    runs, or as soon as it does. The exit code is 1 if an event cannot be redriven.
    """
    from headwater.processing.failures.redriving import Pace
    from headwater.processing.failures.selection import selection

    limit, rate = given.pop("limit"), given.pop("rate")
    chosen, wanted = Chosen.of(project, [job]), selection(**given)
    mapper = _mapper(mapper_name, project) if mapper_name else None
    redriver = _redriver(chosen, {**given, "limit": limit}, mapper_name, mapper)
    run = _run(chosen, redriver, wanted, Pace(dry_run, limit, rate), quiet=as_json)
    try:
        asyncio.run(run)
    except KeyboardInterrupt:
        say(f"Stopped after {redriver.outcome.events:,} events. Repeat the command to continue.")
        raise click.exceptions.Exit(130) from None
    _show(redriver.outcome, job, dry=dry_run, as_json=as_json)
    raise SystemExit(1 if redriver.outcome.impossible else 0)


def _redriver(
    chosen: Chosen, filters: dict[str, Any], mapper_name: str | None, mapper: Callable[[Any], Any] | None
) -> Redriver:
    from headwater.processing.failures.redrive import Order, Redriver

    kept = {name: list(text) if isinstance(text, tuple) else text for name, text in filters.items() if text}
    order = Order(chosen.jobs[0].name, f"{getpass.getuser()}@{machine.node()}", kept, mapper_name)
    return Redriver(chosen.platform.log, order, mapper=mapper)


async def _run(chosen: Chosen, redriver: Redriver, wanted: Selection, pace: Pace, *, quiet: bool) -> None:
    from headwater.log.open import redriving_alone
    from headwater.processing.failures.redriving import redrive
    from headwater.processing.failures.selection import selected_errors

    job = chosen.jobs[0]
    alone = contextlib.nullcontext() if pace.dry else redriving_alone(chosen.platform.config)
    with alone, progress("Redriving", None, quiet=quiet) as advance:
        async with chosen.opened() as log:
            await redrive(redriver, selected_errors(log, job.name, chosen.topics(job), wanted), pace, advance)


def _mapper(name: str, project: Path) -> Callable[[Any], Any]:
    """The function `module:function`, of a file in the project or of a package. Raises ConfigInvalid."""
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise ConfigInvalid(f"--map: {name!r} is not MODULE:FUNCTION.", hint="Such as repairs:with_title.")
    sys.path.insert(0, str(project.absolute()))
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:  # the project's code
        contain(error)
        raise ConfigInvalid(
            f"--map: {module_name} cannot be imported: {described(error)}.",
            hint=f"It is looked for in {project.absolute()}, and among the installed packages.",
        ) from error
    found: Callable[[Any], Any] | None = getattr(module, function_name, None)
    if not callable(found):
        raise ConfigInvalid(
            f"--map: {module_name} has no function {function_name!r}.",
            hint="Define it there: it gets an event and returns it.",
        )
    return found


def _show(outcome: Outcome, job: str, *, dry: bool, as_json: bool) -> None:
    from headwater.processing.failures.redriving import described_outcome

    if as_json:
        print_json(described_outcome(outcome, job, dry=dry))
        return
    if not outcome.seen:
        click.echo("No such errors.")
        return
    rows = [
        ("would be redriven" if dry else "redriven", outcome.events),
        ("redriven before", outcome.before),
        ("left out by --map", outcome.left_out),
        ("impossible", outcome.impossible),
    ]
    for name, count in rows:
        if count or name == rows[0][0]:
            click.echo(f"{name:<20}{count:>10,}")
    for error, why in outcome.reasons:
        report_error(f"{error}: {why}.")
