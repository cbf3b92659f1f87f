"""Changes `$ref`s of current files to another version of a fragment, and the versions of those files accordingly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headwater.errors import SchemaInvalid, SchemaNotFound
from headwater.schemas.source import read_source
from headwater.schemas.uri import version_of
from headwater.schemas.workspace.fragment_use import named_by
from headwater.schemas.workspace.materialize import Materialized, Materializer
from headwater.schemas.workspace.next_version import NOTHING_CHANGED, BumpAdvice, advise_bump, next_version
from headwater.schemas.workspace.working_copy import SchemaFolder, Version, WorkingCopy, version_text
from headwater.schemas.workspace.yaml_edit import TextValue, replaced


@dataclass(frozen=True, slots=True)
class CurrentEdit:
    """A current file after the edit: its whole `text`, the changes as (value, new value), and the materialized
    result.
    """

    title: str
    file: Path
    text: str
    changes: Sequence[tuple[TextValue, str]]
    made: Materialized
    advice: BumpAdvice = NOTHING_CHANGED


def with_reference_moved(
    copy: WorkingCopy, folder: SchemaFolder, fragment: str, version: Version
) -> CurrentEdit | None:
    """The edit that makes a schema use `version` of `fragment`; None if it refers to no other version of it."""

    def moved(value: TextValue) -> str | None:
        if not value.pointer.endswith("/$ref"):
            return None
        used, old = named_by(value.value)
        if used != fragment or old is None:
            return None
        return value.value.replace(f"/{version_text(old)}", f"/{version_text(version)}", 1)

    edit = _edited(copy, folder, moved)
    return None if edit is None else with_bump(copy, folder, edit)


def edit_of(copy: WorkingCopy, folder: SchemaFolder) -> CurrentEdit:
    """The current file as it is, as the start of an edit. Raises SchemaNotFound, SchemaInvalid."""
    file, text = _current(copy, folder)
    return CurrentEdit(folder.title, file, text, (), _made(copy, text, file, folder.title))


def with_bump(copy: WorkingCopy, folder: SchemaFolder, edit: CurrentEdit) -> CurrentEdit:
    """The edit with the version that the size of the change requires, unless it already has that or a greater one."""
    if folder.latest is None:
        return edit
    advice = advise_bump(copy.read(folder.versions[folder.latest]), edit.made.document)
    edit = replace(edit, advice=advice)
    wanted = next_version(folder.latest, advice.level)
    if advice.level == "none" or edit.made.version >= wanted:
        return edit
    return with_version(copy, folder, edit, wanted)


def with_version(copy: WorkingCopy, folder: SchemaFolder, edit: CurrentEdit, version: Version) -> CurrentEdit:
    """The edit with this version in its version field. Raises SchemaInvalid if it cannot be written there."""
    field = "/" + copy.settings.version_field.replace(".", "/")

    def named(value: TextValue) -> str | None:
        if value.pointer != field:
            return None
        return value.value.rpartition("/")[0] + "/" + version_text(version)

    text, changes = replaced(edit.text, copy.shown(edit.file), named, copy.limits)
    made = _made(copy, text, edit.file, folder.title)
    if made.version != version:
        raise SchemaInvalid(
            f"The version of {copy.shown(edit.file)} cannot be changed in its `{copy.settings.version_field}`.",
            hint=f"Write {version_text(version)} there by hand.",
        )
    return replace(edit, text=text, changes=[*edit.changes, *changes], made=made)


def greatest_version(copy: WorkingCopy, title: str, asked: str | None) -> Version:
    """The version `asked` for, or the latest one of a schema. Raises SchemaNotFound, SchemaInvalid."""
    folder = copy.folder(title)
    version = version_of(asked) if asked else folder.latest
    if version is None or version not in folder.files:
        known = ", ".join(version_text(one) for one in folder.files) or "none"
        raise SchemaNotFound(
            f"The schema {title} has no version {asked or 'yet'}.", hint=f"Released versions: {known}."
        )
    # A fragment that is not a schema is refused, even if no file would change.
    copy.source(folder.versions[version])
    return version


def _edited(copy: WorkingCopy, folder: SchemaFolder, change: Callable[[TextValue], str | None]) -> CurrentEdit | None:
    file, old = _current(copy, folder)
    text, changes = replaced(old, copy.shown(file), change, copy.limits)
    if not changes:
        return None
    return CurrentEdit(folder.title, file, text, changes, _made(copy, text, file, folder.title))


def _current(copy: WorkingCopy, folder: SchemaFolder) -> tuple[Path, str]:
    if folder.current is None:
        raise SchemaNotFound(f"The schema {folder.title} has no {copy.settings.current_file}.")
    # Decoded here, not read as text, so that line ends stay as they are.
    return folder.current, copy.source(folder.current).data.decode()


def _made(copy: WorkingCopy, text: str, file: Path, title: str) -> Materialized:
    return Materializer(copy).document(read_source(text.encode(), copy.shown(file), copy.limits), title)
