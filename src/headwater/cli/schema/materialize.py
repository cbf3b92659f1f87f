"""`headwater schema materialize`: writes the version files of schemas from their current files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json, report_error, say
from headwater.cli.schema.repository_option import folder_named, repository_options
from headwater.cli.verbs import EXIT_OPERATOR

if TYPE_CHECKING:
    from headwater.schemas.workspace.materialize import Materialized
    from headwater.schemas.workspace.materialize_all import MaterializeResult
    from headwater.schemas.workspace.version_files import VersionFile
    from headwater.schemas.workspace.working_copy import WorkingCopy


@click.command(
    short_help="Write version files from current files.",
    epilog="""\b
Examples:
  headwater schema materialize                      every schema of the repository
  headwater schema materialize page/edit            one, by its title, directory or file
  headwater schema materialize --modified           those that are not committed yet
  headwater schema materialize --check              fail if anything would change; write nothing
  headwater schema materialize - --stdout < current.yaml""",
)
@click.argument("names", nargs=-1, metavar="[SCHEMA]...")
@click.option(
    "-m",
    "--modified",
    is_flag=True,
    help="Schemas whose current file has uncommitted changes; stages the version files.",
)
@click.option("-s", "--staged", is_flag=True, help="Schemas whose current file is staged; stages the version files.")
@click.option("--no-git-add", is_flag=True, help="Stage nothing, regardless of the settings.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 if something would change.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be written; write nothing.")
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the text instead of writing it.")
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write into this directory, not next to the schema.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
@repository_options
def command(copy: WorkingCopy, names: tuple[str, ...], **options: Any) -> None:
    """Write the version files of every SCHEMA (default: all of the repository; - is standard input).

    If any schema fails, nothing is written. Schemas that others refer to are materialized first, so that a repository
    can be built from its current files alone.
    """
    only_check, dry_run = options["only_check"], options["dry_run"] or copy.settings.dry_run
    if names == ("-",):
        made = [_from_stdin(copy, options)]
    else:
        result = _materialized(copy, names, options)
        _report_failures(result)
        made = list(result.made)
    if options["to_stdout"]:
        _print(copy, made)
        return
    files = [file for one in made for file in _files(copy, one, options["output_dir"])]
    from headwater.schemas.workspace.version_files import write_changed

    states = {file.path: file.state for file in files}
    changed = write_changed(files, dry_run=only_check or dry_run)
    for file in changed:
        _say_changed(copy, file, states[file.path], written=not (only_check or dry_run), as_json=options["as_json"])
    if (options["modified"] or options["staged"]) and not (only_check or dry_run):
        _stage(copy, files, options)
    if any(file.content is not None and states[file.path] == "different" for file in changed) and not only_check:
        say("Existing versions would change. If one is released, restore it and use `headwater schema bump`.")
    if not options["as_json"]:
        _summarize(len(made), len(changed), only_check=only_check, dry_run=dry_run)
    raise SystemExit(1 if only_check and changed else 0)


def _materialized(copy: WorkingCopy, names: Sequence[str], options: dict[str, Any]) -> MaterializeResult:
    from headwater.schemas.workspace.materialize_all import materialize_all

    if options["modified"] or options["staged"]:
        if names:
            raise click.UsageError("Name schemas, or use --modified or --staged, but not both.")
        return materialize_all(copy, _changed_titles(copy, staged=options["staged"]))
    if not names:
        return materialize_all(copy)
    return materialize_all(copy, list(dict.fromkeys(folder_named(copy, name).title for name in names)))


def _changed_titles(copy: WorkingCopy, *, staged: bool) -> list[str]:
    from headwater.schemas.workspace.git_changes import changed_files, partly_staged

    files = [file for file in changed_files(copy.base, staged=staged) if file.name == copy.settings.current_file]
    if staged:
        for file in partly_staged(copy.base, files):
            say(f"{copy.shown(file)} has unstaged changes; the file on disk is materialized.")
    titles = [file.parent.relative_to(copy.base).as_posix() for file in files if file.parent != copy.base]
    return [title for title in titles if title in copy.schemas]


def _from_stdin(copy: WorkingCopy, options: dict[str, Any]) -> Materialized:
    from headwater.cli.schema.dereference import source_from_stdin
    from headwater.schemas.workspace.materialize import Materializer

    if not options["to_stdout"] and options["output_dir"] is None:
        raise click.UsageError("A schema from standard input needs --stdout, or --output-dir.")
    source = source_from_stdin(copy)
    title = source.content.get(copy.settings.title_field)
    return Materializer(copy).document(source, title if isinstance(title, str) else "stdin")


def _report_failures(result: MaterializeResult) -> None:
    for _, error in result.failures:
        report_error(error.message, error.hint)
    if result.failures:
        count = len(result.failures)
        say(f"{count} {'schema' if count == 1 else 'schemas'} could not be materialized, so nothing was written.")
        raise SystemExit(EXIT_OPERATOR)


def _files(copy: WorkingCopy, made: Materialized, output_dir: Path | None) -> list[VersionFile]:
    from headwater.schemas.workspace.version_files import version_files

    return version_files(made, output_dir or copy.base / made.title, copy.settings)


def _print(copy: WorkingCopy, made: Sequence[Materialized]) -> None:
    for one in made:
        if len(made) > 1 and copy.settings.content_types[0] == "yaml":
            click.echo("---")
        click.echo(
            one.texts[copy.settings.content_types[0]], nl=not one.texts[copy.settings.content_types[0]].endswith("\n")
        )


def _say_changed(copy: WorkingCopy, file: VersionFile, state: str, *, written: bool, as_json: bool) -> None:
    shown = copy.shown(file.path)
    if as_json:
        print_json({"file": shown, "state": state, "written": written, "link_to": file.target})
        return
    word = "new" if state == "absent" else "changed"
    click.echo(f"{word}: {shown}{f' → {file.target}' if file.target else ''}")


def _stage(copy: WorkingCopy, files: Sequence[VersionFile], options: dict[str, Any]) -> None:
    from headwater.schemas.workspace.git_changes import add_to_index

    if copy.settings.git_add and not options["no_git_add"]:
        add_to_index(copy.base, [file.path for file in files])


def _summarize(schemas: int, changed: int, *, only_check: bool, dry_run: bool) -> None:
    counted = f"{schemas} {'schema' if schemas == 1 else 'schemas'}"
    files = f"{changed} {'file' if changed == 1 else 'files'}"
    if not changed:
        say(f"{counted}: nothing to change.")
    elif only_check:
        say(f"{counted}: {files} out of date. Run `headwater schema materialize`.")
    elif dry_run:
        say(f"{counted}: {files} would be written.")
    else:
        say(f"{counted}: {files} written.")
