"""The check before a start: an error found by `headwater check` stops `up` and `demo`, unless they are forced."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headwater.cli.console import say
from headwater.cli.problems import counted, print_problem, watch_compiling
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.checking import Problem, Project
    from headwater.config import Config

PROBLEMS_SHOWN_MAX = 20

force_option = click.option(
    "--force", is_flag=True, help="Start even if `headwater check` finds errors; files that cannot be read are ignored."
)


def checked(config: Config, *, force: bool) -> Project:
    """The project, read once for the check and for the start. Raises ConfigInvalid for errors, unless forced.

    Errors and warnings about public access are printed; other warnings are counted in one line.
    """
    from headwater.checking import OPEN_TO_STRANGERS, check_project

    report = check_project(config, watch_compiling)
    assert report.project is not None
    _show(report.errors)
    if report.errors and not force:
        count = counted(len(report.errors), "error")
        raise ConfigInvalid(
            f"The project has {count} and was not started.",
            hint="Run `headwater check` to list what to fix, or use `--force` to start anyway.",
        )
    if report.errors:
        say(f"Started with --force despite {counted(len(report.errors), 'error')}: the affected parts will fail.")
    for problem in report.warnings:
        if problem.rule == OPEN_TO_STRANGERS:
            print_problem(problem, to=sys.stderr)
    if report.warnings:
        say(f"{counted(len(report.warnings), 'warning')}: run `headwater check` to list them.")
    return report.project


def _show(errors: Sequence[Problem]) -> None:
    for problem in errors[:PROBLEMS_SHOWN_MAX]:
        print_problem(problem, to=sys.stderr)
    if len(errors) > PROBLEMS_SHOWN_MAX:
        say(f"… and {counted(len(errors) - PROBLEMS_SHOWN_MAX, 'more error')}.")
