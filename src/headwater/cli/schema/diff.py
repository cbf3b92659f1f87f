"""`headwater schema diff`: what changed between two versions of a schema, field by field, and with what effect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json, say
from headwater.cli.schema.comparison_inputs import Side, side_of_file, sides_of_title
from headwater.cli.schema.compat import compare_sides, print_comparison
from headwater.cli.schema.repository_option import folder_named, repository_options

if TYPE_CHECKING:
    from headwater.schemas.compatibility.semantic_diff import Change
    from headwater.schemas.workspace.working_copy import WorkingCopy

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red")}


@click.command(
    short_help="Show what changed between two versions of a schema, field by field.",
    epilog="""\b
Examples:
  headwater schema diff page/edit                   the latest version and the current file
  headwater schema diff page/edit 1.0.0             version 1.0.0 and the latest
  headwater schema diff page/edit 1.0.0 1.2.0
  headwater schema diff old.yaml new.yaml --json""",
)
@click.argument("schema", metavar="SCHEMA_OR_FILE")
@click.argument("old", required=False, metavar="[VERSION|FILE]")
@click.argument("new", required=False, metavar="[VERSION]")
@click.option("--verdicts/--no-verdicts", default=True, help="Whether to print the effect on data and tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@repository_options
def command(copy: WorkingCopy, schema: str, old: str | None, new: str | None, **options: Any) -> None:
    """Show the changes of a schema, or between two files.

    A version is a number, `latest`, or `current` for the file its author edits (materialized first). The exit code is 0
    whether or not something changed.
    """
    from headwater.schemas.compatibility.semantic_diff import changes

    before, after = _sides(copy, schema, old, new)
    found = changes(before.document, after.document)
    comparison = compare_sides((before, after), "NONE", "declared")[0] if options["verdicts"] else None
    if options["as_json"]:
        print_json(
            {
                "old": before.name,
                "new": after.name,
                "changes": [change.as_json() for change in found],
                "comparison": comparison.as_json() if comparison else None,
            }
        )
        return
    say(f"{before.name} → {after.name}")
    _print(found)
    if comparison is not None and found:
        click.echo()
        print_comparison(comparison)


def _sides(copy: WorkingCopy, schema: str, old: str | None, new: str | None) -> tuple[Side, Side]:
    if old is not None and new is None and Path(schema).is_file() and Path(old).is_file():
        return side_of_file(Path(schema)), side_of_file(Path(old))
    return sides_of_title(copy, folder_named(copy, schema), old, new)


def _print(found: Sequence[Change]) -> None:
    if not found:
        click.echo("Nothing changed.")
    for change in found:
        sign, colour = _SIGNS.get(change.kind.rpartition(" ")[2], ("~", "yellow"))
        click.secho(f"{sign} {change.sentence}", fg="bright_black" if change.is_annotation else colour)
