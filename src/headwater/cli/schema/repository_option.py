"""The options by which every verb of `headwater schema` finds its schema repository."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headwater.schemas.workspace.working_copy import SchemaFolder, WorkingCopy


def repository_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--repository` and `--settings`; the command gets the opened working copy as `copy`."""

    @click.option(
        "-r",
        "--repository",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        help="Schema repository (default: found from the current directory).",
    )
    @click.option(
        "--settings",
        "settings_files",
        multiple=True,
        type=click.Path(dir_okay=False, exists=True, path_type=Path),
        help="Settings file instead of .jsonschema-tools.yaml; may be repeated: later ones take precedence.",
    )
    @functools.wraps(command)
    def wrapped(repository: Path, settings_files: tuple[Path, ...], **named: Any) -> Any:
        from headwater.schemas.workspace.working_copy import WorkingCopy

        files = [file.resolve() for file in settings_files] or None
        return command(copy=WorkingCopy.open(repository, settings_files=files), **named)

    return wrapped


def folder_named(copy: WorkingCopy, name: str) -> SchemaFolder:
    """The schema with a title, of a directory, or of one of its files. Raises SchemaNotFound."""
    path = Path(name)
    if path.is_file():
        return copy.folder_of(path)
    if path.is_dir() and path.resolve().is_relative_to(copy.base):
        return copy.folder(path.resolve().relative_to(copy.base).as_posix())
    return copy.folder(name)
