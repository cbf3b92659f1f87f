"""`headwater schema bump`: suggests the next version of a schema and writes it into its current file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json, say
from headwater.cli.schema.edit import show_edit, write_edits
from headwater.cli.schema.repository_option import folder_named, repository_options

if TYPE_CHECKING:
    from headwater.schemas.workspace.fragment_upgrade import CurrentEdit
    from headwater.schemas.workspace.working_copy import SchemaFolder, Version, WorkingCopy


@click.command(
    short_help="Suggest and write the next version.",
    epilog="""\b
Examples:
  headwater schema bump page/edit
  headwater schema bump page/edit --suggest --json
  headwater schema bump page/edit --to 2.0.0 --materialize""",
)
@click.argument("name", metavar="SCHEMA")
@click.option("--to", "version", metavar="VERSION", help="This version, regardless of the suggestion.")
@click.option("--major", "level", flag_value="major", help="The next major version.")
@click.option("--minor", "level", flag_value="minor", help="The next minor version.")
@click.option("--patch", "level", flag_value="patch", help="The next patch version.")
@click.option("--suggest", is_flag=True, help="Print the suggestion and the reasons; write nothing.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be written; write nothing.")
@click.option("--materialize", is_flag=True, help="Materialize the version file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@repository_options
def command(copy: WorkingCopy, name: str, **options: Any) -> None:
    """Compare SCHEMA's current file with its latest version and write the version that the change calls for.

    Major if events of the latest version would be refused or its tables could not be kept; patch if only documentation
    differs; otherwise minor.
    """
    from headwater.schemas.workspace.fragment_upgrade import edit_of

    folder = folder_named(copy, name)
    edit = _bumped(copy, folder, edit_of(copy, folder), options)
    will_write = bool(edit.changes) and not options["suggest"] and not options["dry_run"]
    if options["as_json"]:
        print_json(_as_json(folder, edit, written=will_write))
    else:
        _say(folder, edit)
        show_edit(copy, edit)
    if will_write or (options["materialize"] and not options["suggest"] and not options["dry_run"]):
        write_edits(copy, [edit], materialize=options["materialize"])


def _bumped(copy: WorkingCopy, folder: SchemaFolder, edit: CurrentEdit, options: dict[str, Any]) -> CurrentEdit:
    from headwater.schemas.workspace.fragment_upgrade import with_bump, with_version
    from headwater.schemas.workspace.next_version import next_version

    version = _asked(options["version"])
    if version is not None and options["level"]:
        raise click.UsageError("Use --to, or one of --major, --minor and --patch, but not both.")
    if options["level"]:
        version = next_version(folder.latest, options["level"]) if folder.latest else (1, 0, 0)
    if version is None:
        return with_bump(copy, folder, edit)
    if folder.latest is not None and version <= folder.latest:
        raise click.UsageError(f"{options['version']} is not greater than the latest version of {folder.title}.")
    return with_version(copy, folder, edit, version) if edit.made.version != version else edit


def _asked(text: str | None) -> Version | None:
    from headwater.schemas.uri import version_of

    if text is None:
        return None
    version = version_of(text)
    if version is None:
        raise click.UsageError(f"{text!r} is not a version; write it like 1.2.3.")
    return version


def _say(folder: SchemaFolder, edit: CurrentEdit) -> None:
    from headwater.schemas.workspace.working_copy import version_text

    if folder.latest is None:
        say(f"{folder.title} has no released version yet; its first one is {version_text(edit.made.version)}.")
        return
    for reason in edit.advice.reasons:
        say(reason)
    if not edit.changes:
        say(f"{folder.title}: {version_text(edit.made.version)} unchanged, after {version_text(folder.latest)}.")
    elif edit.advice.level != "none":
        say(f"{folder.title}: a {edit.advice.level} change of {version_text(folder.latest)}.")


def _as_json(folder: SchemaFolder, edit: CurrentEdit, *, written: bool) -> dict[str, Any]:
    from headwater.schemas.workspace.working_copy import version_text

    return {
        "title": folder.title,
        "latest": version_text(folder.latest) if folder.latest else None,
        "level": edit.advice.level,
        "version": version_text(edit.made.version),
        "reasons": list(edit.advice.reasons),
        "written": written,
    }
