"""How the verbs print: results on standard output, everything else on standard error, colour on terminals."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from headwater.event import encode_json, json_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn


def report_error(message: str, hint: str | None = None) -> None:
    """One red line, and a line with the hint."""
    click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
    click.secho(message, fg="red", err=True)
    if hint:
        click.echo(f"  → {hint}", err=True)


def say(message: str) -> None:
    """A line for the person at the terminal, on standard error so that it never mixes with machine-readable output."""
    click.echo(message, err=True)


def date_log_lines() -> None:
    """Add time and level to log messages, which Python otherwise prints to standard error without them."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
        )


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output."""
    try:
        text = encode_json(value)
    except TypeError:
        text = json_bytes(value, default=str)
    click.echo(text.decode())


def has_terminal() -> bool:
    """Whether a person can see our output and answer questions."""
    return sys.stdin.isatty() and sys.stdout.isatty()


# The page that shows the way from a new job to one that runs, in the repository.
FIRST_JOB_PAGE = "docs/tutorials/first-job.md"


def called_as(*, elsewhere: bool = False) -> str:
    """How a shell finds this command: `headwater` if that is this one, else its path.

    `elsewhere`: from a directory other than the current one.
    """
    own = Path(sys.argv[0])
    found = shutil.which("headwater")
    if own.name != "headwater" or (found is not None and Path(found).resolve() == own.resolve()):
        return "headwater"
    return shlex.quote(str(own.absolute() if elsewhere else own))


def output() -> Console:
    """Rich output on standard output (imported late: the import takes longer than most verbs)."""
    from rich.console import Console

    return Console(highlight=False)


class Advance(Protocol):
    """Advances a progress bar by `step` units; `note` is shown next to it."""

    def __call__(self, step: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, total: int | None, *, unit: str = "events", quiet: bool = False) -> Iterator[Advance]:
    """A progress bar on standard error while the block runs; nothing if that is not a terminal.

    `total` None: the total is unknown. `unit` "bytes" counts bytes.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda step, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _count_column(unit),
        TimeRemainingColumn() if total else TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=4,
    ) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(step: int, note: str = "") -> None:
            bar.update(task, advance=step, note=note)

        yield advance


def _count_column(unit: str) -> TextColumn:
    from rich.progress import DownloadColumn, TextColumn

    return DownloadColumn() if unit == "bytes" else TextColumn("{task.completed:,} " + unit)  # type: ignore[return-value]
