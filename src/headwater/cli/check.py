"""`headwater check`: validates everything in a project and prints file, line and hint of each problem."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json
from headwater.cli.problems import counted, print_problem, watch_compiling
from headwater.cli.up.up import require_project

if TYPE_CHECKING:
    from headwater.checking import Problem, Project


@click.command(
    short_help="Validate everything in a project.",
    epilog="""\b
Examples:
  headwater check --project my-platform --json
  headwater check --production""",
)
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Project directory (default: current directory).",
)
@click.option("--notes", is_flag=True, help="Print notes too: possible improvements that are not faults.")
@click.option("--production", is_flag=True, help="Also ask what a project needs before people depend on it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per problem.")
def command(project: Path, notes: bool, production: bool, as_json: bool) -> None:
    """Check settings, schemas, streams and jobs of a project. The exit code is 1 when there are errors.

    --production also asks the checklist of production: keys, backups, owners, alerts, tests and more. What only people
    know is stated in production.yaml.
    """
    from headwater.checking import check_settings
    from headwater.checking.production import missing

    require_project(project)
    report = check_settings(project, watch_compiling)
    problems = [problem for problem in report.problems if notes or problem.severity != "note"]
    asked = report.project if production else None
    lacking = [] if asked is None else missing(asked, datetime.date.today())
    for problem in (*problems, *lacking):
        if as_json:
            print_json(_as_json(problem))
        else:
            print_problem(problem)
    errors = sum(problem.severity == "error" for problem in problems)
    if not as_json:
        _print_verdict(problems, errors, report.project)
        if asked is not None:
            _print_met(lacking)
    raise SystemExit(1 if errors or any(one.severity == "error" for one in lacking) else 0)


def _as_json(problem: Problem) -> dict[str, Any]:
    found = asdict(problem)
    # Only the checklist gives reasons.
    return {name: value for name, value in found.items() if name != "why" or value is not None}


def _print_met(lacking: Sequence[Problem]) -> None:
    from headwater.checking.production import REQUIREMENTS

    unmet = {problem.rule for problem in lacking}
    count = sum(one.id not in unmet for one in REQUIREMENTS)
    is_met = not any(problem.severity == "error" for problem in lacking)
    message = f"{count} of {len(REQUIREMENTS)} requirements of production are met."
    click.secho(message, fg="green" if is_met else "red")


def _print_verdict(problems: Sequence[Problem], errors: int, project: Project | None) -> None:
    looked_at = "the settings" if project is None else _looked_at(project)
    verdict = f"{counted(errors, 'error')} in" if errors else "No errors in"
    counts = [(sum(one.severity == name for one in problems), name) for name in ("warning", "note")]
    others = "".join(f" {counted(count, name)}." for count, name in counts if count)
    click.secho(f"{verdict} {looked_at}.{others}", fg="red" if errors else "green")


def _looked_at(project: Project) -> str:
    streams = 0 if project.streams is None else len(project.streams.all()) + len(project.streams.families())
    counts = ((project.schemas_count, "schema"), (streams, "stream"), (len(project.jobs), "job"))
    schemas, others = counted(*counts[0]), [counted(*one) for one in counts[1:]]
    return f"{schemas}, {' and '.join(others)}"
