"""`headwater schema upgrade-fragment`: changes every schema that uses a fragment to another version of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headwater.cli.console import report_error, say
from headwater.cli.schema.edit import show_edit, write_edits
from headwater.cli.schema.repository_option import folder_named, repository_options
from headwater.cli.verbs import EXIT_OPERATOR
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from headwater.schemas.workspace.fragment_upgrade import CurrentEdit
    from headwater.schemas.workspace.working_copy import WorkingCopy


@click.command(
    short_help="Change schemas to another version of a fragment.",
    epilog="""\b
Examples:
  headwater schema upgrade-fragment fragment/common --dry-run
  headwater schema upgrade-fragment fragment/common --to 2.0.0 --in page/edit""",
)
@click.argument("fragment")
@click.option("--to", "version", metavar="VERSION", help="Version to refer to.  [default: the latest]")
@click.option("--in", "names", multiple=True, metavar="SCHEMA", help="Only in this schema; may be repeated.")
@click.option("--no-materialize", is_flag=True, help="Edit the current files and write no version files.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would change; write nothing.")
@repository_options
def command(copy: WorkingCopy, fragment: str, version: str | None, names: tuple[str, ...], **options: bool) -> None:
    """Change every reference to FRAGMENT, and give each schema the version number that the change requires.

    Comments and layout of the current files are preserved. If any schema fails, nothing is written.
    """
    from headwater.schemas.workspace.fragment_upgrade import greatest_version
    from headwater.schemas.workspace.working_copy import version_text

    title = folder_named(copy, fragment).title
    wanted = greatest_version(copy, title, version)
    titles = [folder_named(copy, name).title for name in names] or list(copy.schemas)
    edits = _edits(copy, titles, title, wanted)
    for edit in edits:
        show_edit(copy, edit)
        for reason in edit.advice.reasons if edit.advice.level == "major" else ():
            say(f"  {edit.title}: {reason}")
    if not options["dry_run"]:
        write_edits(copy, edits, materialize=not options["no_materialize"])
    done = "would refer" if options["dry_run"] else "now refer"
    say(f"{len(edits)} schemas {done} to /{title}/{version_text(wanted)}.")


def _edits(copy: WorkingCopy, titles: list[str], fragment: str, version: tuple[int, int, int]) -> list[CurrentEdit]:
    from headwater.schemas.workspace.fragment_upgrade import with_reference_moved

    edits, failed = [], 0
    for title in titles:
        folder = copy.folder(title)
        if folder.current is None or title == fragment:
            continue
        try:
            edit = with_reference_moved(copy, folder, fragment, version)
        except HeadwaterError as error:
            report_error(f"{title}: {error.message}", error.hint)
            failed += 1
            continue
        if edit is not None:
            edits.append(edit)
    if failed:
        say(f"{failed} schemas cannot use that version, so nothing was written.")
        raise SystemExit(EXIT_OPERATOR)
    return edits
