"""`headwater job verify-state`: compare an export with its checksums, and with another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import say
from headwater.cli.job.moving import show

if TYPE_CHECKING:
    from headwater.processing.moving.folder import Manifest

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    short_help="Compare an exported state with its checksums, or another one.",
    epilog="Example:  headwater job verify-state moved moved-back",
)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.argument("other", metavar="[OTHER]", required=False, type=_FOLDER)
def command(*, folder: Path, other: Path | None) -> None:
    """Check the files of an export in DIR against its manifest, and print what it has by step.

    With OTHER, another export of the job, both are checked and compared; the exit code is 1 if they differ.
    """
    from headwater.processing.moving.folder import read_manifest, sums_of

    first = read_manifest(folder)
    sums_of(folder, first)
    show(first)
    if other is None:
        return
    second = read_manifest(other)
    sums_of(other, second)
    differences = list(_differences(first, second))
    for text in differences:
        say(text)
    if differences:
        raise click.exceptions.Exit(1)
    say(f"{folder} and {other} are the same.")


def _differences(first: Manifest, second: Manifest) -> list[str]:
    if first.job != second.job:
        return [f"They are of two jobs: {first.job} and {second.job}."]
    found = []
    for name in sorted(first.steps.keys() | second.steps.keys()):
        one, other = first.steps.get(name), second.steps.get(name)
        if one != other:
            counts = [
                f"{each.keys:,} keys, {each.timers:,} timers, {each.rows:,} rows" if each else "nothing"
                for each in (one, other)
            ]
            found.append(f"{name or '(parked events)'} differs: {counts[0]} — {counts[1]}.")
    if first.position != second.position:
        found.append(f"The positions differ: {first.position.token()} — {second.position.token()}.")
    return found
