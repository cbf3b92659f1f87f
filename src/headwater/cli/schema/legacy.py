"""`headwater schema legacy`: the verbs and flags of jsonschema-tools, so that scripts and hooks keep working.

How this works: the verbs are thin. Each reads the settings files as the original does (from the working directory, with
no search upwards), overrides them with its flags, and calls the same code as our own verbs. The defects of the original
are not reproduced: short flags work, `--dry-run` writes nothing anywhere, an unknown verb is an error.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import report_error, say
from headwater.errors import SchemaInvalid

if TYPE_CHECKING:
    from headwater.schemas.workspace.materialize import Materialized
    from headwater.schemas.workspace.version_files import VersionFile
    from headwater.schemas.workspace.working_copy import WorkingCopy

_EXIT_FAILED = 1
_HOOK = """\
#!/bin/sh
# Materializes staged schemas. Commits must work without the tool, too.
if ! command -v headwater >/dev/null 2>&1; then
    echo "headwater is not installed, so no schemas are materialized." >&2
    exit 0
fi
exec headwater schema legacy materialize-modified --staged {base}
"""


@click.group(
    name="legacy",
    short_help="The verbs and flags of jsonschema-tools.",
    epilog="Example:  headwater schema legacy materialize-modified --staged",
)
def command() -> None:
    """The verbs of jsonschema-tools under their own names, with their flags and settings file."""


def _split(_: click.Context, __: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    """Lists may be separated by commas, or the flag may be repeated."""
    return tuple(dict.fromkeys(part for value in values for part in value.split(",") if part))


_FLAGS: dict[str, Callable[[Any], Any]] = {
    "output_dir": click.option("-o", "--output-dir", type=click.Path(file_okay=False, path_type=Path)),
    "schema_version_field": click.option("-V", "--schema-version-field", metavar="FIELD"),
    "schema_base_uris": click.option("-u", "--schema-base-uris", multiple=True, callback=_split, metavar="URIS"),
    "content_types": click.option("-c", "--content-types", multiple=True, callback=_split, metavar="TYPES"),
    "current_name": click.option("-N", "--current-name", metavar="NAME"),
    "no_dereference": click.option("-D", "--no-dereference", is_flag=True),
    "no_symlink_extensionless": click.option("-S", "--no-symlink-extensionless", is_flag=True),
    "no_symlink_latest": click.option("-L", "--no-symlink-latest", is_flag=True),
    "dry_run": click.option("-n", "--dry-run", is_flag=True, help="Print what would be written; write nothing."),
    "verbose": click.option("-v", "--verbose", is_flag=True),
    "config_paths": click.option("-C", "--config-paths", multiple=True, callback=_split, metavar="FILES"),
    "staged": click.option("-s", "--staged", is_flag=True, help="Only files that are staged."),
    "no_git_add": click.option("-G", "--no-git-add", is_flag=True, help="Stage nothing."),
}
_MAKING = tuple(name for name in _FLAGS if name not in ("staged", "no_git_add"))
_SETTING_OF = {
    "schema_version_field": "schemaVersionField",
    "current_name": "currentName",
    "schema_base_uris": "schemaBaseUris",
    "content_types": "contentTypes",
}
_SWITCHED_OFF = {
    "no_dereference": "shouldDereference",
    "no_symlink_extensionless": "shouldSymlinkExtensionless",
    "no_symlink_latest": "shouldSymlinkLatest",
    "no_git_add": "shouldGitAdd",
}


def _with_flags(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda wrapped, name: _FLAGS[name](wrapped), reversed(names), function)

    return decorate


def _opened(flags: dict[str, Any], base_path: Path | None = None) -> WorkingCopy:
    from headwater.schemas.workspace.working_copy import WorkingCopy
    from headwater.schemas.workspace.working_settings import (
        SETTINGS_FILE,
        original_settings,
        read_settings,
        with_values,
    )

    root = Path.cwd()
    files = [root / name for name in flags.get("config_paths") or (SETTINGS_FILE,)]
    settings = read_settings(files, root=root) if any(file.is_file() for file in files) else original_settings(root)
    values: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value
        for name, key in _SETTING_OF.items()
        if (value := flags.get(name))
    }
    values |= {key: False for name, key in _SWITCHED_OFF.items() if flags.get(name)}
    if base_path is not None:
        values["schemaBasePath"] = str(base_path)
    settings = with_values(settings, values, root=root)
    if not settings.base_path.is_dir():
        raise SchemaInvalid(f"There is no directory {settings.base_path}.", hint="Use the base path of the schemas.")
    return WorkingCopy(root, settings)


@command.command("dereference", short_help="Print schemas without $ref and allOf.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@_with_flags("verbose", "schema_base_uris", "content_types", "config_paths")
def dereference(paths: tuple[Path, ...], **flags: Any) -> None:
    """Print every schema file (standard input when none is named) with its references filled in; several as a list."""
    from headwater.cli.schema.dereference import dereferenced, print_text

    copy = _opened(flags)
    documents = dereferenced(copy, tuple(str(path) for path in paths))
    content_type = flags["content_types"][0] if flags["content_types"] else "yaml"
    print_text(documents[0] if len(documents) == 1 else documents, content_type)


@command.command("materialize", short_help="Materialize the given current files.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("-O", "--stdout", "to_stdout", is_flag=True, help="Print the text; write nothing.")
@_with_flags(*_MAKING)
def materialize(paths: tuple[Path, ...], to_stdout: bool, **flags: Any) -> None:
    """Materialize each schema file; standard input when none is named, which needs --output-dir."""
    from headwater.schemas.workspace.materialize import Materializer
    from headwater.schemas.workspace.working_copy import parse_file

    copy = _opened(flags)
    materializer = Materializer(copy)
    if not paths:
        if flags["output_dir"] is None and not to_stdout:
            raise SchemaInvalid("A schema from standard input needs --output-dir, or --stdout.")
        made = [(_from_stdin(copy), flags["output_dir"])]
    else:
        made = []
        for path in paths:
            source = parse_file(path.resolve(), str(path), copy.limits)
            folder = path.resolve().parent
            title = folder.relative_to(copy.base).as_posix() if folder.is_relative_to(copy.base) else folder.name
            made.append((materializer.document(source, title), flags["output_dir"] or folder))
    if to_stdout:
        for one, _ in made:
            click.echo(one.texts[copy.settings.content_types[0]], nl=False)
        return
    _write(copy, made, flags)


def _from_stdin(copy: WorkingCopy) -> Materialized:
    from headwater.cli.schema.dereference import source_from_stdin
    from headwater.schemas.workspace.materialize import Materializer

    source = source_from_stdin(copy)
    return Materializer(copy).document(source, str(source.content.get("title", "stdin")))


@command.command("materialize-all", short_help="Materialize every current file.")
@click.argument("base_path", required=False, type=click.Path(file_okay=False, path_type=Path))
@_with_flags(*(name for name in _MAKING if name != "output_dir"))
def materialize_every(base_path: Path | None, **flags: Any) -> None:
    """Materialize every schema below BASE_PATH."""
    copy = _opened(flags, base_path)
    _write(copy, _made(copy, None), flags)


@command.command("materialize-modified", short_help="Materialize changed current files.")
@click.argument("base_path", required=False, type=click.Path(file_okay=False, path_type=Path))
@_with_flags(*(name for name in _MAKING if name != "output_dir"), "staged", "no_git_add")
def materialize_modified(base_path: Path | None, **flags: Any) -> None:
    """Materialize schemas whose current file `git diff` lists, and stage the version files.

    These are files that differ from the index, or with --staged files in the index: new files must be staged first. The
    setting ignoreSchemas applies to checks only. `headwater schema materialize --modified` finds new files, too.
    """
    from headwater.schemas.workspace.git_changes import add_to_index, modified_files
    from headwater.schemas.workspace.working_copy import WorkingCopy

    opened = _opened(flags, base_path)
    copy = WorkingCopy(opened.root, replace(opened.settings, ignore_schemas=()), opened.limits)
    staged = flags["staged"] or copy.settings.git_staged
    files = [file for file in modified_files(copy.base, staged=staged) if file.name == copy.settings.current_file]
    titles = [file.parent.relative_to(copy.base).as_posix() for file in files]
    written = _write(copy, _made(copy, [title for title in titles if title in copy.schemas]), flags)
    if copy.settings.git_add and not (flags["dry_run"] or copy.settings.dry_run):
        add_to_index(copy.base, [file.path for file in written])


@command.command("install-git-hook", short_help="Materialize staged schemas before each commit.")
@click.argument("base_path", required=False, type=click.Path(file_okay=False, path_type=Path))
@_with_flags("dry_run", "verbose", "config_paths")
def install_git_hook(base_path: Path | None, **flags: Any) -> None:
    """Write the pre-commit hook of this Git repository; an existing hook is kept next to it."""
    from shlex import quote

    from headwater.schemas.workspace.git_changes import git_path
    from headwater.schemas.workspace.version_files import VersionFile

    copy = _opened(flags, base_path)
    file = git_path(copy.base, "hooks") / "pre-commit"
    text = _HOOK.replace("{base}", quote(str(base_path)) if base_path else "").encode()
    if flags["dry_run"]:
        say(f"{file} would be written.")
        return
    if file.exists() and file.read_bytes() != text:
        kept = file.with_name("pre-commit.before-headwater")
        file.replace(kept)
        say(f"The previous hook is kept as {kept}.")
    VersionFile(file, content=text).write()
    file.chmod(0o755)
    say(f"{file} written.")


@command.command("diff", short_help="Compare changed version files with the versions before them.")
@click.argument("base_path", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("-d", "--diff-command", default="diff --unified=0", help="How to compare.  [default: diff --unified=0]")
@click.option("-T", "--commit", default="HEAD^", help="Version files changed since this commit.  [default: HEAD^]")
@_with_flags("content_types", "verbose", "config_paths")
def diff(base_path: Path | None, diff_command: str, commit: str, **flags: Any) -> None:
    """Print how each version file that has changed since a commit differs from the version before it."""
    from shlex import split

    from headwater.schemas.workspace.git_changes import files_changed_since

    copy = _opened(flags, base_path)
    changed = set(files_changed_since(copy.base, commit))
    for folder in copy.schemas.values():
        files = list(folder.versions.values())
        for before, file in pairwise(files):
            if file in changed:
                names = [str(one.relative_to(copy.base)) for one in (before, file)]
                found = subprocess.run([*split(diff_command), *names], cwd=copy.base, capture_output=True, check=False)
                click.echo(found.stdout.decode(errors="replace"), nl=False)


def _made(copy: WorkingCopy, titles: Sequence[str] | None) -> list[tuple[Materialized, Path]]:
    from headwater.schemas.workspace.materialize_all import materialize_all

    result = materialize_all(copy, titles)
    for _, error in result.failures:
        report_error(error.message, error.hint)
    if result.failures:
        say("Nothing was written.")
        raise SystemExit(_EXIT_FAILED)
    return [(made, copy.base / made.title) for made in result.made]


def _write(copy: WorkingCopy, made: Sequence[tuple[Materialized, Path]], flags: dict[str, Any]) -> list[VersionFile]:
    from headwater.schemas.workspace.version_files import version_files, write_changed

    files = [file for one, directory in made for file in version_files(one, directory, copy.settings)]
    dry_run = flags["dry_run"] or copy.settings.dry_run
    for file in write_changed(files, dry_run=dry_run):
        click.echo(f"{'would write' if dry_run else 'written'}: {copy.shown(file.path)}")
    return files
