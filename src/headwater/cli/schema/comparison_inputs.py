"""Reads the two schemas to compare, given as two files or as a title and two versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.errors import ConfigInvalid, HeadwaterError, SchemaInvalid, SchemaNotFound

if TYPE_CHECKING:
    from headwater.schemas.workspace.working_copy import SchemaFolder, WorkingCopy

CURRENT = "current"
LATEST = "latest"


@dataclass(frozen=True)
class Side:
    """A schema to compare: `name` says where it is from; references to other schemas are resolved."""

    name: str
    document: Mapping[str, Any]


def side_of_file(file: Path) -> Side:
    """The schema in a file; in a schema repository its references are followed, and a current file is materialized."""
    from headwater.schemas.limits import ValidationLimits
    from headwater.schemas.workspace.working_copy import WorkingCopy, parse_file

    try:
        copy = WorkingCopy.open(file.parent)
        folder = copy.folder_of(file)
    except (ConfigInvalid, SchemaNotFound):
        return Side(str(file), parse_file(file, str(file), ValidationLimits()).check().content)
    if folder.current is not None and file.resolve() == folder.current.resolve():
        return Side(str(file), _current(copy, folder))
    return Side(str(file), _whole(copy, folder, file.resolve()))


def sides_of_title(copy: WorkingCopy, folder: SchemaFolder, old: str | None, new: str | None) -> tuple[Side, Side]:
    """Two versions of a schema: those named, by default the latest and the current file. Raises SchemaNotFound."""
    if old is None and new is None:
        # A current file that names the latest version is that version unless it was edited; then compare the edit.
        old, new = LATEST, CURRENT
    elif new is None:
        new = LATEST
    return _version(copy, folder, str(old)), _version(copy, folder, str(new))


def _version(copy: WorkingCopy, folder: SchemaFolder, name: str) -> Side:
    from headwater.schemas.uri import version_of
    from headwater.schemas.workspace.working_copy import version_text

    if name == CURRENT:
        return Side(f"{folder.title} {CURRENT}", _current(copy, folder))
    version = folder.latest if name == LATEST else version_of(name)
    if version is None or version not in folder.versions:
        known = ", ".join(version_text(one) for one in folder.versions) or "none yet"
        raise SchemaNotFound(
            f"{folder.title} has no version {name}.",
            hint=f"It has {known}; `current` is the file that its author edits.",
        )
    return Side(f"{folder.title} {version_text(version)}", _whole(copy, folder, folder.versions[version]))


def _current(copy: WorkingCopy, folder: SchemaFolder) -> Mapping[str, Any]:
    from headwater.schemas.workspace.materialize import Materializer

    return Materializer(copy).folder(folder).document


def _whole(copy: WorkingCopy, folder: SchemaFolder, file: Path) -> Mapping[str, Any]:
    """A version as released; references to other schemas that are left in it are resolved."""
    from headwater.schemas.workspace.materialize import Materializer

    source = copy.source(file)
    if not _refers_outside(source.content):
        return source.content
    try:
        return Materializer(copy).dereferenced(source, f"/{folder.title}/{file.stem}")
    except HeadwaterError as error:
        raise SchemaInvalid(f"{copy.shown(file)} cannot be compared: {error.message}", hint=error.hint) from None


def _refers_outside(value: Any) -> bool:
    if isinstance(value, dict):
        reference = value.get("$ref")
        outside = isinstance(reference, str) and not reference.startswith("#")
        return outside or any(map(_refers_outside, value.values()))
    return isinstance(value, list) and any(map(_refers_outside, value))
