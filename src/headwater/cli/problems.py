"""How findings of a check are printed, by every verb that runs one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

import click

from headwater.cli.console import progress

if TYPE_CHECKING:
    from headwater.checking import Problem

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def watch_compiling(uris: Sequence[str]) -> Iterator[str]:
    """A progress bar over the schemas that are compiled."""
    with progress("Compiling schemas", len(uris), unit="schemas") as advance:
        for uri in uris:
            yield uri
            advance(1, uri)


def print_problem(problem: Problem, to: TextIO | None = None) -> None:
    """A line with place and rule, and one with the hint; on standard output unless `to` is given."""
    severity = "" if problem.severity == "error" else f"{problem.severity}: "
    click.secho(f"{severity}{problem}", file=to, fg=_COLOURS[problem.severity], nl=False)
    click.secho(f" [{problem.rule}]" if problem.rule else "", file=to, dim=True)
    if problem.why:
        click.echo(f"  because: {problem.why}", file=to)
    if problem.hint:
        click.echo(f"  → {problem.hint}", file=to)


def counted(count: int, name: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {name}{'' if count == 1 else 's'}"
