"""Shared by the verbs that edit current files: printing an edit, writing it, and materializing its version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headwater.errors import SchemaUnavailable

if TYPE_CHECKING:
    from headwater.schemas.workspace.fragment_upgrade import CurrentEdit
    from headwater.schemas.workspace.working_copy import WorkingCopy


def show_edit(copy: WorkingCopy, edit: CurrentEdit) -> None:
    """The changes as `file:line: old → new`."""
    for value, new in edit.changes:
        click.echo(f"{copy.shown(edit.file)}:{value.line}: {value.value} → {new}")


def write_edits(copy: WorkingCopy, edits: Sequence[CurrentEdit], *, materialize: bool) -> None:
    """Write the current files and, if asked, their version files. Raises SchemaUnavailable."""
    from headwater.schemas.workspace.version_files import VersionFile, version_files, write_changed

    files = [VersionFile(edit.file, content=edit.text.encode("utf-8")) for edit in edits]
    if any(edit.file.is_symlink() for edit in edits):
        raise SchemaUnavailable("A current file is a symbolic link.", hint="Edit the file that it points to.")
    if materialize:
        files += [file for edit in edits for file in version_files(edit.made, copy.base / edit.title, copy.settings)]
    written = write_changed(files)
    edited = {edit.file for edit in edits}
    for file in written:
        if file.path not in edited:
            click.echo(f"written: {copy.shown(file.path)}")
